"""One model on one TorchServe: its registration, its comparison with what it should be, its predictions."""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.serving.models.autoscaling import Autoscaling
from wfmgmt.serving.models.base import DriftKind, Model, ModelNotLoaded, NodeAnswer, NodeRequest, PredictionFailed
from wfmgmt.serving.models.torchserve.codec import decode, encode
from wfmgmt.serving.models.torchserve.model_scaler import ModelScaler
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives
from wfmgmt.timeouts import grace_s
from wfmgmt.torchserve.connection import Reply, TorchServe
from wfmgmt.torchserve.failures import ServerFailed, ServerRefused
from wfmgmt.torchserve.responses import CONFLICT, ModelDetail

#: What TorchServe takes at most to replace the worker of a request that took too long, besides rounding to seconds.
_REPLACEMENT_S = 2.0


def name_of(model: Model) -> str:
    """Return the name of a model on a server, where a name has letters, digits, `_`, `-` and `.` only.

    Models of the version 1.0 are called as TorchServe calls those of a workflow; others have their version at the end.
    """
    name = f"{model.workflow}__{model.node}"
    if model.version == FIRST_VERSION:
        return name
    if "+" not in model.version:
        return f"{name}__{model.version}"
    digest = hashlib.sha256(model.version.encode()).hexdigest()[:8]
    return f"{name}__{model.version.replace('+', '-')}-{digest}"


class ServerModel:
    """One model on one TorchServe. For the event loop only.

    Args:
        server: Where it is.
        number: Identity of the server among the others; None when there is no other one.
        model: What to run.
        pinned: Names its archive, and checks that it still is what was registered.
        idle_timeout_s: After which workers above the minimum go.
        autoscaling: Whether they come, and what counts that.
        on_change: Called whenever its workers may have changed.

    Attributes:
        server: Where it is.
        number: As given.
        name: Its name on the server.
        scaler: Its workers.
    """

    def __init__(
        self,
        *,
        server: TorchServe,
        number: int | None,
        model: Model,
        pinned: PinnedArchives,
        idle_timeout_s: float,
        autoscaling: Autoscaling,
        on_change: Callable[[], None],
    ) -> None:
        self.server = server
        self.number = number
        self.name = name_of(model)
        self._model = model
        self._pinned = pinned
        self._file = file = pinned.file_of(model)
        self.scaler = ModelScaler(
            server=server,
            name=self.name,
            file=file,
            model=model,
            idle_timeout_s=idle_timeout_s,
            autoscaling=autoscaling,
            on_change=on_change,
        )
        self._replaced_at = 0.0
        self._is_foreign = False

    async def bring_up(self) -> None:
        """Have the server run the model: one that is there as it should be is taken up, any other of ours replaced.

        Raises:
            ModelNotLoaded: It does not run there.
        """
        async with self.scaler.changing:
            await self._bring_up()

    async def _bring_up(self) -> None:
        try:
            async with self.server.registering:
                there = await self.server.describe(self.name)
                if not all(self._pinned.is_ours(version.url) for version in there):
                    raise self._name_taken()
                if len(there) != 1 or self._has_other_settings(there[0]):
                    await remove_versions(self.server, self.name, there, self._pinned.is_ours)
                    await self._register()
            await self.scaler.resize(max(self.scaler.workers, self.scaler.minimum))
            self._is_foreign = False
        except ServerFailed as failure:
            raise self._not_loaded(failure) from failure

    async def _register(self) -> None:
        """Have the server read the archive between two checks of it, before any worker runs its code."""
        await asyncio.to_thread(self._pinned.check, self._model)
        model = self._model
        parameters = {
            "url": self._file,
            "batch_size": model.settings.batch_size,
            "max_batch_delay": model.settings.max_batch_delay_ms,
            "response_timeout": self._response_timeout_s,
            "startup_timeout": math.ceil(model.startup_timeout_s),
        }
        await self.server.register(self.name, parameters)
        try:
            await asyncio.to_thread(self._pinned.check, self._model)
        except ModelNotLoaded:
            there = await self.server.describe(self.name)
            await remove_versions(self.server, self.name, there, self._pinned.is_ours)
            raise

    @property
    def _response_timeout_s(self) -> int:
        """TorchServe kills a worker after whole seconds."""
        return math.ceil(self._model.settings.timeout_ms / 1000)

    async def take_down(self) -> None:
        """Remove the model, if it is there; versions of others stay.

        Raises:
            ServerFailed: The server could not be asked; it is unknown what it holds.
        """
        await self.scaler.stop()
        async with self.scaler.changing:
            there = await self.server.describe(self.name)
            await remove_versions(self.server, self.name, there, lambda url: url == self._file)

    async def scale(self, minimum: int, maximum: int) -> None:
        """Keep from `minimum` to `maximum` workers from now on.

        Raises:
            ModelNotLoaded: They did not come up; both numbers are as before.
        """
        try:
            async with self.scaler.changing:
                await self.scaler.rescale(minimum, maximum)
        except ServerFailed as failure:
            raise self._not_loaded(failure) from failure

    def difference(self, there: list[ModelDetail]) -> DriftKind | None:
        """Return how what the server holds under the name is not as it should be, None when it is.

        Versions of others beside ours are theirs to have: ours is asked for by its version.
        """
        ours = [version for version in there if self._pinned.is_ours(version.url)]
        if not ours:
            return DriftKind.NAME_TAKEN if there else DriftKind.MISSING
        if len(ours) > 1 or self._has_other_settings(ours[0]):
            return DriftKind.SETTINGS
        if not self.scaler.is_changing and ours[0].min_workers != self.scaler.workers:
            return DriftKind.WORKERS
        return None

    def on_seen(self, there: list[ModelDetail]) -> None:
        """Keep what the server says, which is as it should be."""
        self.scaler.on_seen(next(version for version in there if version.url == self._file))
        self._is_foreign = False

    def on_problem(self, problem: str, *, is_foreign: bool = False) -> None:
        """Keep why the model cannot be asked, or why that is unknown.

        Args:
            problem: Why.
            is_foreign: Whether a model that is not ours has the name, which must not be asked in its place.
        """
        self.scaler.on_seen(None, problem)
        self._is_foreign = is_foreign

    def _has_other_settings(self, there: ModelDetail) -> bool:
        wanted = self._model.settings
        held = (there.url, there.batch_size, there.max_batch_delay_ms, there.response_timeout_s)
        return held != (self._file, wanted.batch_size, wanted.max_batch_delay_ms, self._response_timeout_s)

    async def repair(self, kind: DriftKind) -> None:
        """Have the server hold what it should, while nothing is asked.

        Raises:
            ServerFailed, ModelNotLoaded: It does not.
        """
        async with self.scaler.changing:
            if self.scaler.is_stopped:
                return  # It was unloaded meanwhile.
            with self.scaler.kept_waiting():
                if kind is DriftKind.WORKERS:
                    await self.scaler.resize(self.scaler.workers)
                else:
                    await self._bring_up()

    async def infer(self, request: NodeRequest) -> NodeAnswer:
        """Have the model answer: one attempt.

        Raises:
            ServerFailed: The server cannot be reached, so that nothing was asked.
            PredictionFailed, PredictionRefused, NoWorker: As for `LoadedModel.infer`.
        """
        if self._is_foreign:
            raise ServerFailed(self.server.name, f"has a model {self.name} that is not ours", Fault.UNREACHABLE)
        await self.scaler.enter()
        began = time.monotonic()
        try:
            reply = await self._predict(request)
        finally:
            self.scaler.leave()
        try:
            answer = decode(reply, server=self.server.inference_url, worker=self.number)
        except PredictionFailed as failure:
            self._record_loss(0.0)
            if failure.is_worker_gone and self._was_killed(time.monotonic() - began):
                raise self._too_late() from failure
            raise
        answer.run_s = time.monotonic() - began
        return answer

    async def _predict(self, request: NodeRequest) -> Reply:
        body, headers = encode(request, with_authorization=not self.server.has_inference_key)
        try:
            return await self._in_time(self.server.predict(self.name, self.scaler.version, body, headers))
        except ServerFailed as failure:
            if failure.fault is Fault.UNREACHABLE:
                raise
            raise PredictionFailed(failure.reason, self.number, failure.fault) from failure

    async def _in_time(self, asking: Coroutine[None, None, Reply]) -> Reply:
        """Wait for a reply for as long as it may take, which changes while it is waited for.

        Raises:
            PredictionFailed: It does not come.
        """
        began = time.monotonic()
        asked = asyncio.create_task(asking)
        try:
            while not asked.done():
                left_s = self._allowed_until(began) - time.monotonic()
                await asyncio.wait({asked}, timeout=left_s if left_s > 0 else grace_s(-left_s))
                if left_s <= 0 and not asked.done():
                    raise self._too_late()
            return asked.result()
        finally:
            asked.cancel()
            del asked  # It holds the error, whose traceback holds this frame; so the request would stay.

    def _allowed_until(self, began: float) -> float:
        """Return until when a request may take: TorchServe does not bound the wait in its queue.

        As many as there are workers are run at a time, in the order in which they arrive there. Each row of the others
        may be killed for taking too long, and a worker that was lost has to come back first.
        """
        other_rows = (self.scaler.in_flight - 1) // self.scaler.at_once
        settings = self._model.settings
        own_s = (settings.timeout_ms + settings.max_batch_delay_ms) / 1000
        return max(began, self._replaced_at) + own_s + other_rows * (self._response_timeout_s + _REPLACEMENT_S)

    def _was_killed(self, took_s: float) -> bool:
        """Return whether TorchServe killed the worker of a request that waited for no other, since it took too long."""
        return took_s >= self._response_timeout_s and not (self.scaler.in_flight // self.scaler.at_once)

    def _too_late(self) -> PredictionFailed:
        timeout_ms = self._model.settings.timeout_ms
        self._record_loss(self._response_timeout_s - timeout_ms / 1000)
        reason = f"no answer within timeout-ms of {timeout_ms} ms from TorchServe at {self.server.inference_url}"
        return PredictionFailed(reason, self.number, Fault.TIMED_OUT)

    def _record_loss(self, in_s: float) -> None:
        """Reckon with a worker that is gone, or killed in a moment, and has to be replaced."""
        self._replaced_at = time.monotonic() + in_s + _REPLACEMENT_S

    def _name_taken(self) -> ModelNotLoaded:
        return ModelNotLoaded(
            self._model.node,
            f"TorchServe at {self.server.name} has a model {self.name} that is not ours; unregister it there, or "
            "register the workflow under another name",
            Fault.NAME_TAKEN,
        )

    def _not_loaded(self, failure: ServerFailed) -> ModelNotLoaded:
        """Return what a failure means for the load."""
        node = self._model.node
        if not isinstance(failure, ServerRefused):
            return ModelNotLoaded(node, failure.reason, failure.fault)
        if failure.kind == CONFLICT:
            return self._name_taken()
        if failure.status == HTTPStatus.INTERNAL_SERVER_ERROR and failure.message.startswith("Failed to save"):
            return ModelNotLoaded(node, failure.reason)  # The archive is no whole zip file.
        return ModelNotLoaded(node, failure.reason + _advice(failure), failure.fault)


async def remove_versions(
    server: TorchServe, name: str, there: list[ModelDetail], is_ours: Callable[[str], bool]
) -> None:
    """Remove those versions of a model that are ours.

    The default one, which is the first, may only go last; where others' versions stay, one of these becomes it.

    Raises:
        ServerFailed: They are still there, or that is unknown.
    """
    ours = [version for version in there if is_ours(version.url)]
    others = [version for version in there if not is_ours(version.url)]
    if ours and others and ours[0] is there[0]:
        await server.set_default(name, others[0].version)
    for version in reversed(ours):
        await server.unregister(name, version.version)


def _advice(refusal: ServerRefused) -> str:
    """Return what an operator can do about an error that comes of how TorchServe was started."""
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return "; it has to be started with its model API enabled (--enable-model-api)"
    if refusal.message.startswith("Model not found at"):
        return "; its model store has to be the folder MODEL_STORE"
    return ""
