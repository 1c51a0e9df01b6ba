"""How many workers one model has on one TorchServe: as many as its requests need, between minimum and maximum."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wfmgmt.backoff import Backoff
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.autoscaling import AutoscaleMode, Autoscaling, ScalingLog, ScalingReason
from wfmgmt.serving.models.base import Model
from wfmgmt.torchserve.connection import TorchServe
from wfmgmt.torchserve.failures import ServerFailed
from wfmgmt.torchserve.responses import ModelDetail

#: As for local models: more workers come when requests have waited for so long that more than chance is at work.
GROW_AFTER_S = 0.05
#: After a worker that did not come up, the wait before the next attempt doubles between these.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 30.0
#: A server that is still starting workers is asked whether they are up with these pauses, doubling.
_FIRST_POLL_S, _MAX_POLL_S = 0.02, 0.2

_log = logging.getLogger("wfmgmt.torchserve")


class ModelScaler:
    """The workers of one model on one TorchServe. For the event loop only.

    TorchServe brings up the minimum and ends what is beyond the maximum, and changes nothing by need. So growing means
    a larger minimum there, and shrinking a smaller maximum for a moment.

    Args:
        server: Where the model is.
        name: Its name on the server.
        file: The archive that it was registered with, by which its version is known among those of others.
        model: The model.
        idle_timeout_s: After which workers above the minimum go.
        autoscaling: Whether they come, and what counts that; the cores of its host are not known here.
        on_change: Called whenever `ready` or `problem` has changed.

    Attributes:
        minimum: Workers that are to be up at least.
        maximum: Workers that may be up at most.
        workers: Workers that the server is to keep up now.
        ready: Workers that are up, as last known.
        problem: Why they are not as they should be; None while they are.
        in_flight: Requests under way.
        version: What the server calls the version that is ours; empty before it is there.
        changing: To be held around every change of the model on the server, be it its workers or its registration: one
            at a time, so that none undoes what another one needs.
        is_stopped: Whether the model is to go.
    """

    def __init__(
        self,
        *,
        server: TorchServe,
        name: str,
        file: str,
        model: Model,
        idle_timeout_s: float,
        autoscaling: Autoscaling,
        on_change: Callable[[], None],
    ) -> None:
        self.minimum = self.workers = model.settings.min_workers
        self.maximum = model.settings.max_workers
        self.ready = 0
        self.problem: str | None = None
        self.in_flight = 0
        self.version = ""
        self.changing = asyncio.Lock()
        self._server = server
        self._name = name
        self._file = file
        self._model = model
        self._idle_timeout_s = idle_timeout_s
        self._may_grow = autoscaling.mode is not AutoscaleMode.OFF
        self._scalings = ScalingLog(model.workflow, model.node, autoscaling, version=model.version)
        self._on_change = on_change
        self._may_work, self._is_idle = asyncio.Event(), asyncio.Event()
        self._may_work.set()
        self._is_idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._resizing: asyncio.Task[None] | None = None
        self.is_stopped = False
        self._growth = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)

    @property
    def is_changing(self) -> bool:
        """Whether the number of workers is about to be another one."""
        return self.changing.locked() or self._resizing is not None

    @property
    def at_once(self) -> int:
        """Requests that are run at a time."""
        return max(self.workers * self._model.settings.batch_size, 1)

    async def resize(self, workers: int) -> None:
        """Have exactly so many workers, and wait until they are up and others gone; `changing` is held.

        Raises:
            ServerFailed: They are not, or that is unknown.
        """
        there = await self._describe()
        if len(there.workers) > workers:
            await self._server.scale(self._name, there.version, min_workers=workers, max_workers=workers)
        if (there.min_workers, there.max_workers) != (workers, self.maximum) or len(there.workers) > workers:
            await self._server.scale(self._name, there.version, min_workers=workers, max_workers=self.maximum)
        await self._wait_for(workers)
        self.workers = workers
        self._update(workers, None)

    async def _wait_for(self, workers: int) -> None:
        """Wait until so many workers are up.

        TorchServe starts a worker again and again when its process ends while it loads the model, and says so in its
        log alone. What can be seen is that a worker that was never up has another process.
        """
        startup_s = self._model.startup_timeout_s
        deadline, polls = time.monotonic() + startup_s, Backoff(_FIRST_POLL_S, _MAX_POLL_S)
        loading: dict[str, int] = {}
        while True:
            if self.is_stopped:
                raise ServerFailed(self._server.name, f"is unloading the model {self._name}", Fault.FAILED)
            there = await self._describe()
            if len(there.workers) == there.ready_workers == workers:
                return
            for identity, (pid, is_ready) in there.workers.items():
                if not is_ready and pid and loading.setdefault(identity, pid) != pid:
                    what = f"failed to start workers for model {self._name}; its log says why"
                    raise ServerFailed(self._server.name, what, Fault.MODEL)
            if time.monotonic() > deadline:
                what = f"has no workers for model {self._name} within startup_timeout of {startup_s:g} s"
                raise ServerFailed(self._server.name, what, Fault.MODEL)
            await asyncio.sleep(polls.next_pause())

    async def _describe(self) -> ModelDetail:
        for version in await self._server.describe(self._name):
            if version.url == self._file:
                self.version = version.version
                return version
        raise ServerFailed(self._server.name, f"does not hold the model {self._name} any more", Fault.FAILED)

    async def rescale(self, minimum: int, maximum: int) -> None:
        """Keep from `minimum` to `maximum` workers from now on; when that fails all is as before. `changing` is held.

        TorchServe may lose or repeat a request whose worker goes, so workers go only while there is none; new requests
        wait meanwhile.

        Raises:
            ServerFailed: New workers did not come up.
        """
        limits, workers = (self.minimum, self.maximum), self.workers
        self.minimum, self.maximum = minimum, maximum
        try:
            if workers > maximum:
                with self.kept_waiting():
                    await self._is_idle.wait()
                    await self.resize(maximum)
            else:
                await self.resize(max(workers, minimum))
        except BaseException as error:
            self.minimum, self.maximum = limits
            if isinstance(error, ServerFailed):
                await self._fall_back(workers)
            raise
        self._watch_idling()

    async def _fall_back(self, workers: int) -> None:
        """Have the server abandon workers that do not come up, which it would go on to start for ever."""
        try:
            await self.resize(workers)
        except ServerFailed as failure:
            self._update(self.ready, failure.reason)

    def on_seen(self, there: ModelDetail | None, problem: str | None = None) -> None:
        """Keep what the server says of it, or why it says nothing."""
        self._update(0 if there is None else there.ready_workers, problem)

    def _update(self, ready: int, problem: str | None) -> None:
        if (ready, problem) != (self.ready, self.problem):
            self.ready, self.problem = ready, problem
            self._on_change()

    @contextmanager
    def kept_waiting(self) -> Iterator[None]:
        """Let no request through meanwhile; `changing` is held, so nothing else lets them through."""
        self._may_work.clear()
        try:
            yield
        finally:
            self._may_work.set()

    async def enter(self) -> None:
        """Begin a request, once it can be run; it has to be ended with `leave`.

        Raises:
            ServerFailed: There is no worker, and none comes up.
        """
        await self._may_work.wait()
        while self.workers < 1:
            if not self.maximum:
                what = f"has no worker for model {self._name}: it was scaled to none"
                raise ServerFailed(self._server.name, what, Fault.UNREACHABLE)
            await asyncio.shield(self._begin_to_resize(1))
            if self.workers < 1:
                raise ServerFailed(self._server.name, f"has no worker: {self.problem}", Fault.UNREACHABLE)
            await self._may_work.wait()
        self.in_flight += 1
        self._is_idle.clear()
        self._watch_need()

    def leave(self) -> None:
        """End a request."""
        self.in_flight -= 1
        if not self.in_flight:
            self._is_idle.set()
        self._watch_idling()

    def _watch_need(self) -> None:
        """Look again in a moment whether requests wait."""
        if self._is_short and self._resizing is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GROW_AFTER_S, self._grow)

    @property
    def _is_short(self) -> bool:
        return self.in_flight > self.at_once and self.workers < self.maximum

    def _grow(self) -> None:
        self._timer = None
        if not self._is_short or self._growth.is_pausing:
            return
        if self._may_grow:
            self._begin_to_resize(self.workers + 1)
        else:
            self._scalings.record_refusal(ScalingReason.OFF, "requests wait, and WFMGMT_AUTOSCALE is off")

    def _watch_idling(self) -> None:
        """Let workers above the minimum go when nothing was asked for a while."""
        if not self.in_flight and self.workers > self.minimum and self._resizing is None:
            self._stop_timer()
            self._timer = asyncio.get_running_loop().call_later(self._idle_timeout_s, self._shrink)

    def _shrink(self) -> None:
        self._timer = None
        self._begin_to_resize(self.minimum)

    def _begin_to_resize(self, workers: int) -> asyncio.Task[None]:
        """Change the number of workers, unless that is being done; return what does it."""
        if self._resizing is None:
            self._stop_timer()
            self._resizing = asyncio.create_task(self._resize_in_turn(workers))
        return self._resizing

    async def _resize_in_turn(self, workers: int) -> None:
        try:
            async with self.changing:
                workers = min(max(workers, self.minimum), self.maximum)  # Both may be others by now.
                if workers > self.workers:
                    await self._resize_or_stay(workers)
                elif workers < self.workers and not self.in_flight:
                    with self.kept_waiting():
                        await self._resize_or_stay(workers)
        finally:
            self._resizing = None
        self._watch_need()
        self._watch_idling()

    async def _resize_or_stay(self, workers: int) -> None:
        before = self.workers
        try:
            await self.resize(workers)
            self._growth.reset()
            self._record(before, workers)
        except ServerFailed as failure:
            _log.warning("%s: %d workers cannot be had: %s", self._name, workers, failure)
            self._growth.next_pause()
            await self._fall_back(before)
            if not before:
                self._update(0, failure.reason)

    def _record(self, before: int, after: int) -> None:
        if after < before:
            self._scalings.record(before, after, ScalingReason.IDLE, f"idle for {self._idle_timeout_s:g} s")
        elif before:
            self._scalings.record(before, after, ScalingReason.ALWAYS, "requests wait")
        else:
            self._scalings.record(before, after, ScalingReason.NO_WORKER, "a request waits and there was no worker")

    async def stop(self) -> None:
        """Change nothing any more, and end what waits for workers."""
        self.is_stopped = True
        self._stop_timer()
        if self._resizing is not None:
            self._resizing.cancel()
            await asyncio.wait({self._resizing})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
