"""One model on all TorchServe servers."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import (
    Model,
    ModelNotChanged,
    ModelNotLoaded,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    WorkerFacts,
    WorkerStatus,
)
from wfmgmt.serving.models.lifetimes import Lifetime, Lifetimes
from wfmgmt.serving.models.torchserve.codec import ModelForgotten
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives
from wfmgmt.serving.models.torchserve.server_model import ServerModel
from wfmgmt.torchserve.failures import ServerFailed

_log = logging.getLogger("wfmgmt.torchserve")


class TorchServeModel(Lifetime):
    """A `LoadedModel` that is registered on every server; requests go round.

    Args:
        model: What is loaded.
        lifetimes: The others of its model server.
        server_models: The model on each server, in the order of the settings.
        pinned: Names its archive.
        queue_size: Requests that may wait.
        on_change: Called whenever its status may have changed.
        on_forgotten: Called when a server turned out not to hold it.

    Attributes:
        server_models: As given.
    """

    def __init__(
        self,
        model: Model,
        lifetimes: "Lifetimes[TorchServeModel]",
        *,
        server_models: Sequence[ServerModel],
        pinned: PinnedArchives,
        queue_size: int,
        on_change: Callable[[], None],
        on_forgotten: Callable[[], None],
    ) -> None:
        super().__init__(model, lifetimes, on_change=on_change)
        self.server_models = server_models
        self._pinned = pinned
        self._max_waiting = max(queue_size, model.settings.batch_size)
        self._on_forgotten = on_forgotten
        self._maximum = model.settings.max_workers
        self._in_flight: set[asyncio.Task[NodeAnswer]] = set()
        self._turn = 0

    @property
    def status(self) -> WorkerStatus:
        """The workers on all servers together; see `LoadedModel.status`."""
        if self.is_gone:
            return WorkerStatus(wanted=0, ready=0)
        scalers = [server_model.scaler for server_model in self.server_models]
        return WorkerStatus(
            wanted=sum(each.minimum for each in scalers),
            ready=sum(each.ready for each in scalers),
            error=next((each.problem for each in scalers if each.problem is not None), None),
        )

    @property
    def workers(self) -> Sequence[WorkerFacts]:
        """None: they are the servers' processes."""
        return ()

    @property
    def queued(self) -> int:
        """Requests beyond those that the workers can have at a time; see `LoadedModel.queued`."""
        at_once = len(self.server_models) * max(self._maximum, 1) * self.model.settings.batch_size
        return max(len(self._in_flight) - at_once, 0)

    @property
    def busy_s(self) -> float | None:
        """None: TorchServe does not say which workers are busy; see `LoadedModel.busy_s`."""
        return None

    def infer(self, request: NodeRequest, *, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a server answer a request; see `LoadedModel.infer`. A `worker` is a server."""
        refusal = self._refusal()
        if refusal is not None:
            answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
            answer.set_exception(NoWorker(refusal))
            return answer
        task = asyncio.create_task(self._answer(request, avoid))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    def _refusal(self) -> str | None:
        """Return why no more requests are accepted, None when they are."""
        if not self.is_ready:
            return self._unload_notice
        if self.queued >= self._max_waiting:
            node = self.model.node
            return f"{self._max_waiting} requests wait for {node} already (WFMGMT_QUEUE_SIZE); try again later."
        return None

    @property
    def _unload_notice(self) -> str:
        return f"{self.model.node} of {self.model.workflow} is being unloaded"

    async def _answer(self, request: NodeRequest, avoid: int | None) -> NodeAnswer:
        """Have one server answer; another one only when that cannot have run the request."""
        reasons = []
        try:
            for server_model in self._in_turn(avoid):
                try:
                    return await server_model.infer(request)
                except ModelForgotten as forgotten:
                    self._on_forgotten()
                    reasons.append(str(forgotten))
                except ServerFailed as failure:
                    reasons.append(failure.reason)
        except asyncio.CancelledError:
            if self.is_ready:
                raise
            raise NoWorker(self._unload_notice) from None
        raise NoWorker(f"{self.model.node} has no worker: {'; '.join(reasons)}")

    def _in_turn(self, avoid: int | None) -> list[ServerModel]:
        """Return the models on the servers in the order in which a request should try them."""
        self._turn = (self._turn + 1) % len(self.server_models)
        turned = [*self.server_models[self._turn :], *self.server_models[: self._turn]]
        return sorted(turned, key=lambda each: (each.server.is_left_out, avoid is not None and each.number == avoid))

    async def scale(self, minimum: int, maximum: int) -> None:
        """Change the numbers of workers on each server; see `LoadedModel.scale`."""
        if not self.is_ready:
            raise ModelNotLoaded(self.model.node, "it is not loaded")
        before = [(server_model.scaler.minimum, server_model.scaler.maximum) for server_model in self.server_models]
        outcomes = await asyncio.gather(
            *(server_model.scale(minimum, maximum) for server_model in self.server_models), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            changed = [index for index, outcome in enumerate(outcomes) if outcome is None]
            undone = (self.server_models[index].scale(*before[index]) for index in changed)
            await asyncio.gather(*undone, return_exceptions=True)
            raise failures[0]
        self._maximum = maximum

    async def change(self, settings: NodeSettings) -> None:
        """Accept the batch size, delay and time-out that hold already; see `LoadedModel.change`.

        Raises:
            ModelNotChanged: They are others. TorchServe reads them when a model is registered, and a model that is
                unregistered to be registered anew answers nothing until its workers have started again.
        """
        if not self.is_ready:
            raise ModelNotLoaded(self.model.node, "it is not loaded")
        held = self.model.settings
        if (settings.batch_size, settings.max_batch_delay_ms, settings.timeout_ms) != (
            held.batch_size,
            held.max_batch_delay_ms,
            held.timeout_ms,
        ):
            raise ModelNotChanged(
                self.model.node,
                "TorchServe reads batch-size, max-batch-delay and timeout-ms only when a model is registered; "
                "register the workflow again",
            )

    async def _bring_up(self) -> None:
        self._on_change()
        await asyncio.to_thread(self._pinned.pin, self.model)
        outcomes = await asyncio.gather(
            *(server_model.bring_up() for server_model in self.server_models), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        for failure in failures:
            if not _is_unreachable(failure) or len(failures) == len(outcomes):
                raise failure
        for server_model, outcome in zip(self.server_models, outcomes, strict=True):
            if isinstance(outcome, ModelNotLoaded):
                _log.warning("%s is left out: %s", server_model.name, outcome.reason)
                server_model.on_problem(outcome.reason)

    async def _take_down(self) -> None:
        for task in self._in_flight:
            task.cancel()
        outcomes = await asyncio.gather(
            *(server_model.take_down() for server_model in self.server_models), return_exceptions=True
        )
        for server_model, outcome in zip(self.server_models, outcomes, strict=True):
            if outcome is not None:
                _log.warning("%s may be left until it can be removed: %s", server_model.name, outcome)
        try:
            await asyncio.to_thread(self._pinned.unpin, self.model)
        except OSError as error:
            _log.warning("%s could not be unpinned: %s", self.model.archive.name, error.strerror)


def _is_unreachable(failure: BaseException) -> bool:
    return isinstance(failure, ModelNotLoaded) and failure.fault in {Fault.UNREACHABLE, Fault.TIMED_OUT}
