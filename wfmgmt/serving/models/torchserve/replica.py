"""One model on one TorchServe: registered, kept as large as requests need, asked."""

import asyncio
import logging
import math
import time
from collections.abc import Callable

from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import DriftKind, Model, ModelNotLoaded, NodeAnswer, NodeRequest, PredictionFailed
from wfmgmt.serving.models.torchserve.connection import CONFLICT, Described, TorchServe
from wfmgmt.serving.models.torchserve.exchange import decode, encode
from wfmgmt.serving.models.torchserve.failures import ServerFailed, ServerRefused

#: As for local models: more workers come when requests have waited for so long that more than chance is at work.
GROW_AFTER_S = 0.05
#: After a worker that did not come up, the wait before the next try doubles between these.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.5, 30.0
#: How often a server that is still starting workers is asked whether they are up.
_POLL_S = 0.1
#: What TorchServe takes at most to replace the worker of a request that took too long, besides rounding to seconds.
_REPLACEMENT_S = 2.0
_METHOD_NOT_ALLOWED, _INTERNAL = 405, 500

_log = logging.getLogger("wfmgmt.torchserve")


class Replica:
    """For the event loop only.

    Args:
        server: Where it is.
        number: Tells the server from the others.
        model: What to run.
        file: Name in the model store that only this registration has.
        is_ours: Tells whether a file in the model store is of this deployment.
        idle_timeout_s: After which workers above the minimum go.
        on_change: Called whenever the number of workers may have changed.

    Attributes:
        server: Where it is.
        name: What the server knows it by.
        file: Name of its archive there.
        ready: Workers that are up, as last known.
        problem: Why it is not as it should be; None while it is.
    """

    def __init__(
        self,
        *,
        server: TorchServe,
        number: int,
        model: Model,
        file: str,
        is_ours: Callable[[str], bool],
        idle_timeout_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self.server = server
        self.name = f"{model.workflow}__{model.node}"
        self.file = file
        self.ready = 0
        self.problem: str | None = None
        self._number = number
        self._model = model
        self._is_ours = is_ours
        self._idle_timeout_s = idle_timeout_s
        self._on_change = on_change
        self._min_workers = model.min_workers
        self._workers = model.min_workers
        self._in_flight = 0
        self._may_ask = asyncio.Event()
        self._may_ask.set()
        self._timer: asyncio.TimerHandle | None = None
        self._resizing: asyncio.Task[None] | None = None
        self._pause_s, self._no_growth_before = _FIRST_PAUSE_S, 0.0

    @property
    def wanted(self) -> int:
        """Workers that are to be up at least."""
        return self._min_workers

    async def bring_up(self) -> None:
        """Have the server run the model: one that is there as it should be is taken up, any other of ours replaced.

        Raises:
            ModelNotLoaded: It does not run there.
        """
        began = time.monotonic()
        try:
            async with self.server.registering:
                there = await self.server.describe(self.name)
                if not all(self._is_ours(version.url) for version in there):
                    raise self._name_taken()
                if len(there) != 1 or self._difference(there[0]) is DriftKind.SETTINGS:
                    await self._remove(there)
                    await self._register()
                await self._resize(max(self._workers, self._min_workers))
        except ServerFailed as failure:
            raise self._not_loaded(failure, time.monotonic() - began) from failure

    async def _register(self) -> None:
        model = self._model
        parameters = {
            "url": self.file,
            "batch_size": model.batch_size,
            "max_batch_delay": model.max_batch_delay_ms,
            "response_timeout": self._response_timeout_s,
            "startup_timeout": math.ceil(model.startup_timeout_s),
            "initial_workers": self._workers,
        }
        await self.server.register(self.name, parameters, startup_s=model.startup_timeout_s)

    @property
    def _response_timeout_s(self) -> int:
        """TorchServe kills a worker after whole seconds."""
        return math.ceil(self._model.timeout_ms / 1000)

    async def _remove(self, versions: list[Described]) -> None:
        """Remove all versions of a model; the first is the default one, which may only go last."""
        for version in reversed(versions):
            await self.server.unregister(self.name, version.version)

    async def take_down(self) -> None:
        """Remove the model, if it is there and ours.

        Raises:
            ServerFailed: The server could not be asked; it is unknown what it holds.
        """
        self._stop_timer()
        if self._resizing is not None:
            self._resizing.cancel()
            await asyncio.wait({self._resizing})
        there = await self.server.describe(self.name)
        if all(version.url == self.file for version in there):
            await self._remove(there)

    async def set_minimum(self, workers: int) -> None:
        """Run exactly so many workers, at least so many from then on.

        Raises:
            ModelNotLoaded: They did not come up; the number is as before.
        """
        began, before = time.monotonic(), (self._min_workers, self._workers)
        self._min_workers = workers
        try:
            await self._resize(workers)
        except ServerFailed as failure:
            self._min_workers = before[0]
            await self._fall_back(before[1])
            raise self._not_loaded(failure, time.monotonic() - began) from failure

    async def _resize(self, workers: int) -> None:
        """Run exactly so many workers, and wait until they are up.

        Raises:
            ServerFailed: They are not, or nobody knows.
        """
        startup_s = self._model.startup_timeout_s
        deadline = time.monotonic() + startup_s
        most = max(workers, self._model.max_workers)
        is_done = await self.server.scale(self.name, min_workers=workers, max_workers=most, startup_s=startup_s)
        while not is_done:
            await asyncio.sleep(_POLL_S)
            versions = await self.server.describe(self.name)
            is_done = bool(versions) and versions[0].ready_workers == workers
            if not is_done and time.monotonic() > deadline:
                raise ServerFailed(self.server.name, "did not bring its workers up in time", Fault.SILENT)
        self._workers = self.ready = workers
        self.problem = None
        self._on_change()

    async def _fall_back(self, workers: int) -> None:
        """Have the server give up workers that do not come up, which it would go on to start for ever."""
        try:
            await self._resize(workers)
        except ServerFailed as failure:
            self.problem = failure.reason
            self._on_change()

    async def ask(self, request: NodeRequest) -> NodeAnswer:
        """Have the model answer: one try.

        Raises:
            ServerFailed: The server cannot be reached, so that nothing was asked.
            PredictionFailed, PredictionRefused, NoWorker: As for `ModelServer.infer`.
        """
        if not self._may_ask.is_set() or not self._workers:
            await self._may_be_asked()
        timeout_s = self._timeout_s()
        body, headers = encode(request, with_authorization=not self.server.has_inference_key)
        began = time.monotonic()
        self._in_flight += 1
        self._note_need()
        try:
            reply = await self.server.predict(self.name, body, headers, timeout_s)
        except ServerFailed as failure:
            if failure.fault is Fault.UNREACHABLE:
                raise
            reason = failure.reason
            if failure.fault is Fault.SILENT:
                reason = (
                    f"no answer within timeout-ms of {self._model.timeout_ms} ms from TorchServe at {self.server.name}"
                )
            raise PredictionFailed(reason, self._number, failure.fault) from failure
        finally:
            self._in_flight -= 1
            self._watch_idling()
        answer = decode(reply, server=self.server.name, worker=self._number)
        answer.run_s = time.monotonic() - began
        return answer

    def _timeout_s(self) -> float:
        """Return how long the next request may take: TorchServe's queue does not count in its own time-outs.

        As many as there are workers are run at a time. Each row of those before may be killed for taking too long.
        """
        rows_before = self._in_flight // max(self._workers * self._model.batch_size, 1)
        own_s = (self._model.timeout_ms + self._model.max_batch_delay_ms) / 1000
        return own_s + rows_before * (self._response_timeout_s + _REPLACEMENT_S)

    async def _may_be_asked(self) -> None:
        """Wait while something is changed, and bring up the first worker where there is none."""
        await self._may_ask.wait()
        if not self._workers:
            self._begin_to_resize(1)
            if self._resizing is not None:
                await asyncio.shield(self._resizing)
            if not self._workers:
                raise ServerFailed(self.server.name, f"has no worker: {self.problem}", Fault.UNREACHABLE)

    def _note_need(self) -> None:
        """Look again in a moment whether requests wait."""
        if self._is_short_of_workers and self._resizing is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GROW_AFTER_S, self._grow)

    @property
    def _is_short_of_workers(self) -> bool:
        busy = self._workers * self._model.batch_size
        return self._in_flight > busy and self._workers < self._model.max_workers

    def _grow(self) -> None:
        self._timer = None
        if self._is_short_of_workers and time.monotonic() >= self._no_growth_before:
            self._begin_to_resize(self._workers + 1)

    def _watch_idling(self) -> None:
        """Let workers above the minimum go when nothing was asked for a while."""
        if not self._in_flight and self._workers > self._min_workers and self._resizing is None:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(self._idle_timeout_s, self._shrink)

    def _shrink(self) -> None:
        """TorchServe may lose or repeat a request whose worker goes, so there must be none meanwhile."""
        self._timer = None
        if not self._in_flight and self._workers > self._min_workers:
            self._may_ask.clear()
            self._begin_to_resize(self._min_workers)

    def _begin_to_resize(self, workers: int) -> None:
        if self._resizing is None:
            self._stop_timer()
            self._resizing = asyncio.create_task(self._resize_or_stay(workers))

    async def _resize_or_stay(self, workers: int) -> None:
        before = self._workers
        try:
            await self._resize(workers)
            self._pause_s = _FIRST_PAUSE_S
        except ServerFailed as failure:
            _log.warning("%s: %d workers cannot be had: %s", self.name, workers, failure)
            self._no_growth_before = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)
            await self._fall_back(before)
            self.problem = self.problem or (failure.reason if not before else None)
        finally:
            self._resizing = None
            self._may_ask.set()
        self._note_need()
        self._watch_idling()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def difference(self, there: list[Described]) -> DriftKind | None:
        """Return how what the server holds under the name is not as it should be, None when it is."""
        if not there:
            return DriftKind.MISSING
        if not all(self._is_ours(version.url) for version in there):
            return DriftKind.NAME_TAKEN
        return DriftKind.SETTINGS if len(there) > 1 else self._difference(there[0])

    def _difference(self, there: Described) -> DriftKind | None:
        model = self._model
        settings = (there.url, there.batch_size, there.max_batch_delay_ms, there.response_timeout_s)
        if settings != (self.file, model.batch_size, model.max_batch_delay_ms, self._response_timeout_s):
            return DriftKind.SETTINGS
        if self._resizing is None and there.min_workers != self._workers:
            return DriftKind.WORKERS
        return None

    async def mend(self, kind: DriftKind) -> None:
        """Have the server hold what it should, while nothing is asked.

        Raises:
            ServerFailed, ModelNotLoaded: It does not.
        """
        self._may_ask.clear()
        try:
            if kind is DriftKind.WORKERS:
                await self._resize(self._workers)
            else:
                await self.bring_up()
        finally:
            self._may_ask.set()

    def note_seen(self, there: list[Described], problem: str | None) -> None:
        """Take note of what the server says, or why it says nothing."""
        ready = there[0].ready_workers if there and problem is None else 0
        if (ready, problem) != (self.ready, self.problem):
            self.ready, self.problem = ready, problem
            self._on_change()

    def _name_taken(self) -> ModelNotLoaded:
        return ModelNotLoaded(
            self._model.node,
            f"TorchServe at {self.server.name} has a model {self.name} that is not ours; unregister it there, or "
            "register the workflow under another name",
            Fault.NAME_TAKEN,
        )

    def _not_loaded(self, failure: ServerFailed, took_s: float) -> ModelNotLoaded:
        """Return what a failure means for the load."""
        node, startup_s = self._model.node, self._model.startup_timeout_s
        if not isinstance(failure, ServerRefused):
            return ModelNotLoaded(node, failure.reason, failure.fault)
        if failure.kind == CONFLICT:
            return self._name_taken()
        if failure.status == _INTERNAL and failure.message.startswith(("Failed to start workers", "Failed to save")):
            if took_s >= startup_s:
                return ModelNotLoaded(node, f"not ready within startup_timeout of {startup_s:g} s; {failure.reason}")
            return ModelNotLoaded(node, f"{failure.reason}; its log tells why")
        return ModelNotLoaded(node, failure.reason + _advice(failure), failure.fault)


def _advice(refusal: ServerRefused) -> str:
    """Return what an operator can do about an error that comes of how TorchServe was started."""
    if refusal.status == _METHOD_NOT_ALLOWED:
        return "; it has to be started with its model API enabled (--enable-model-api)"
    if refusal.message.startswith("Model not found at"):
        return "; its model store has to be the folder MODEL_STORE"
    return ""
