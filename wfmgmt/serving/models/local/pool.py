"""Keeps the workers of one job alive, and as many of them as its requests need."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from wfmgmt.backoff import Backoff
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.host import available_cores
from wfmgmt.serving.models.autoscaling import Autoscaling, ScalingLog, ScalingReason
from wfmgmt.serving.models.base import ModelNotLoaded, WorkerFacts, WorkerStatus
from wfmgmt.serving.models.local.batches import HandlerMeasurements
from wfmgmt.serving.models.local.budget import WorkerBudget
from wfmgmt.serving.models.local.core_use import CoreUse
from wfmgmt.serving.models.local.dispatching import Dispatcher
from wfmgmt.serving.models.local.growth import NO_WORKER, Growth, Verdict
from wfmgmt.serving.models.local.ready_worker import ReadyWorker
from wfmgmt.serving.models.local.worker_process import WorkerProcess
from wfmgmt.serving.models.local.worker_start import Forks, Job, bring_up

#: Delays between the restarts of one worker double between these; one that was up for so long begins anew.
_FIRST_DELAY_S, _MAX_DELAY_S, _STEADY_S = 0.1, 30.0, 30.0

_logger = logging.getLogger("wfmgmt.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """The settings that all pools share.

    Attributes:
        queue_size: Requests that may wait.
        idle_timeout_s: After which a worker above the minimum goes.
        grace_s: Time in which a worker that is to go may leave by itself.
        on_measurements: Called with workflow, node and what a handler measured.
        budget: How many workers all pools may have together.
        autoscaling: When workers above the minimum come.
        core_use: Measures the cores that all pools share.
    """

    queue_size: int = 100
    idle_timeout_s: float = 60.0
    grace_s: float = 2.0
    on_measurements: Callable[[str, str, HandlerMeasurements], None] = lambda _workflow, _node, _measurements: None
    budget: WorkerBudget = field(default_factory=WorkerBudget)
    autoscaling: Autoscaling = field(default_factory=Autoscaling)
    core_use: CoreUse = field(default_factory=lambda: CoreUse(available_cores()))


class WorkerPool:
    """The workers of one job: at least as many as asked for, more while requests wait, new ones for those that die.

    It belongs to one event loop.

    Attributes:
        dispatcher: Takes the requests for its node.

    Args:
        forkserver: Where workers come from.
        job: What they do.
        node_settings: How requests reach them; their number is `scale`'s business.
        on_change: Called whenever `status` may have changed; it neither blocks nor raises.
        settings: What holds for all pools.
        clock: Seconds that only go forward.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        *,
        forkserver: Forks,
        job: Job,
        node_settings: NodeSettings,
        on_change: Callable[[], None],
        settings: PoolSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.job = job
        self.on_change = on_change
        self.settings = settings or PoolSettings()
        self.clock = clock
        self.sleep = sleep
        self.dispatcher = Dispatcher(
            node=job.node,
            settings=node_settings,
            queue_size=self.settings.queue_size,
            on_saturated=self._record_saturation,
            on_measurements=lambda measured: self.settings.on_measurements(job.workflow, job.node, measured),
            explain_import=job.explain_import,
            clock=clock,
        )
        self.forkserver = forkserver
        self._scalings = ScalingLog(job.workflow, job.node, self.settings.autoscaling, clock, version=job.version)
        self._growth = Growth(
            mode=self.settings.autoscaling.mode,
            core_use=self.settings.core_use,
            busy=self.dispatcher.busy,
            waited_s=self._waited_s,
            grow=self._grow,
            scalings=self._scalings,
        )
        self._wanted = self._max_workers = 0
        self._slots: list[_Slot] = []
        self._scaling = asyncio.Lock()
        self._shrink_timer: asyncio.TimerHandle | None = None
        self._growth_pauses = Backoff(_FIRST_DELAY_S, _MAX_DELAY_S, clock=clock)
        self._growth_error: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def status(self) -> WorkerStatus:
        """How many workers there should be and are."""
        ready = sum(slot.worker is not None and slot.worker.process.is_connected for slot in self._slots)
        errors = (slot.error for slot in self._slots if slot.worker is None) if ready < self._wanted else ()
        return WorkerStatus(wanted=self._wanted, ready=ready, error=next(filter(None, errors), None))

    @property
    def max_workers(self) -> int:
        """How many workers there may be."""
        return self._max_workers

    @property
    def workers(self) -> list[WorkerFacts]:
        """The workers that are up."""
        workers = (slot.worker for slot in self._slots)
        return [each.process.facts for each in workers if each is not None and each.process.is_connected]

    @property
    def is_above_minimum(self) -> bool:
        """Whether one worker less would be enough."""
        return len(self._slots) > self._wanted

    async def scale(self, minimum: int, maximum: int) -> None:
        """Keep from `minimum` to `maximum` workers from now on; see `LoadedModel.scale`.

        When a new one fails, or this is cancelled, all new ones are taken down and the others stay.

        Raises:
            ModelNotLoaded: A new worker did not come up, there may be no more, or the pool was stopped.
        """
        async with self._scaling:
            if self._stopped:
                raise ModelNotLoaded(self.job.node, "it is being unloaded")
            more = max(minimum - len(self._slots), 0)
            if not self.settings.budget.take(more, self.job.workflow):
                loading = "" if self._wanted else self.job.workflow
                raise ModelNotLoaded(self.job.node, self.settings.budget.refusal(more, loading), Fault.NO_ROOM)
            before, (self._wanted, self._max_workers) = (self._wanted, self._max_workers), (minimum, maximum)
            new = [_Slot(self) for _ in range(more)]
            self._slots += new
            self.on_change()
            try:
                await asyncio.gather(*(slot.came_up for slot in new))
            except BaseException:
                self._wanted, self._max_workers = before
                await self._remove(new, "another one did not come up")
                raise
            # Workers that are not up go first, then the youngest.
            self._slots.sort(key=lambda slot: slot.worker is None)
            await self._remove(self._slots[maximum:], "scaled down")
            if self.is_above_minimum:
                self._watch_idlers(self.settings.idle_timeout_s)
            if self.dispatcher.saturated_s is not None:
                self._record_saturation()

    async def stop(self) -> None:
        """Take all workers down; when this returns, none of them lives. Idempotent; the pool is over afterwards.

        That goes for those that are still starting, and for those that something else is taking down.
        """
        self._stopped = True
        self._wanted = 0
        self.dispatcher.close(f"{self.job.node} of {self.job.workflow} is being unloaded")
        self._growth.close()
        if self._shrink_timer is not None:
            self._shrink_timer.cancel()
        await self._remove(tuple(self._slots), "unloaded")
        for running in self._running:
            _cancel_once(running)
        if self._running or self._tasks:
            await asyncio.wait(self._running | self._tasks)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start what a slot does; `stop` waits for its end even when the slot is gone."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def drop(self, slot: "_Slot") -> None:
        """Remove a slot that ended by itself."""
        if slot in self._slots:
            self._slots.remove(slot)
            self.settings.budget.give_back(1, self.job.workflow)
        self.on_change()
        if self.dispatcher.saturated_s is not None:
            self._record_saturation()

    def on_ready(self) -> None:
        """Reset the pause of growth, and publish: a worker came up."""
        self._growth_pauses.reset()
        self._growth_error = None
        if self.is_above_minimum:
            self._watch_idlers(self.settings.idle_timeout_s)
        self.on_change()

    def record_failure(self, reason: str) -> None:
        """Fail what waits if no worker is there and none is about to come, since one did not come up."""
        if all(slot.has_failed for slot in self._slots):
            self.dispatcher.refuse_waiting(reason)

    def record_failed_growth(self, reason: str) -> None:
        """Begin a pause, since a worker above the minimum did not come up; after it the next attempt may be made."""
        _logger.warning("no further worker: %s", reason, extra=self.job.log_fields)
        self._growth_error = reason
        self._growth_pauses.next_pause()
        self.record_failure(reason)

    def _record_saturation(self) -> None:
        """Get a worker: at once when there is none, else when the need has lasted."""
        if self._stopped:
            return
        if all(slot.has_failed for slot in self._slots):
            if self._slots:
                self.record_failure(str(self._slots[0].error))
            elif not self._max_workers:
                self.record_failure("it was scaled to none")
            elif self._growth_error is not None and self._growth_pauses.is_pausing:
                self.record_failure(self._growth_error)
            else:
                self._grow(NO_WORKER)
        elif len(self._slots) < self._max_workers:
            self._growth.watch()

    def _waited_s(self) -> float | None:
        """Return for how long requests have waited for which there may be one more worker, None when there may not."""
        is_starting = any(slot.worker is None for slot in self._slots)
        if is_starting or self._growth_pauses.is_pausing or len(self._slots) >= self._max_workers:
            return None
        return self.dispatcher.saturated_s

    def _grow(self, verdict: Verdict) -> None:
        """Start one more worker, unless all pools have as many as they may; then requests wait for those there are."""
        if not self.settings.budget.take(1, self.job.workflow):
            refusal = self.settings.budget.refusal(1)
            self._scalings.record_refusal(ScalingReason.MAX_WORKERS, refusal)
            self.record_failure(refusal)
            return
        self._slots.append(_Slot(self, is_spare=True))
        self._scalings.record(len(self._slots) - 1, len(self._slots), verdict.reason, verdict.why)
        self.on_change()

    def _watch_idlers(self, wait_s: float) -> None:
        if self._shrink_timer is None and not self._stopped:
            self._shrink_timer = asyncio.get_running_loop().call_later(max(wait_s, 0.01), self._shrink)

    def _shrink(self) -> None:
        """Let workers above the minimum go that have been idle for long enough."""
        self._shrink_timer = None
        surplus = len(self._slots) - self._wanted
        idlers = self.dispatcher.idle[:surplus] if surplus > 0 else []
        limit_s = self.settings.idle_timeout_s
        leaving = [idler for idler in idlers if self.clock() - idler.idle_since >= limit_s]
        slots = [slot for slot in self._slots if slot.worker in leaving]
        if slots:
            before = len(self._slots)
            self._scalings.record(before, before - len(slots), ScalingReason.IDLE, f"idle for {limit_s:g} s")
            task = asyncio.create_task(self._remove(slots, f"idle for {limit_s:g} s"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if surplus > len(slots):
            oldest = min((idler.idle_since for idler in idlers if idler not in leaving), default=self.clock())
            self._watch_idlers(oldest + limit_s - self.clock())

    async def _remove(self, slots: Iterable["_Slot"], why: str) -> None:
        """Take these slots down at the same time and forget them; the log says why."""
        slots = tuple(slots)
        if not slots:
            return
        permits = sum(slot in slots for slot in self._slots)
        self._slots = [slot for slot in self._slots if slot not in slots]
        for slot in slots:
            slot.why_removed = slot.why_removed or why
        busy = [slot.worker for slot in slots if slot.worker is not None]
        try:
            try:
                await asyncio.gather(*(self.dispatcher.release(worker) for worker in busy))
            finally:  # When this is cancelled they go all the same.
                for slot in slots:
                    _cancel_once(slot.task)
            await asyncio.wait({slot.task for slot in slots})
        finally:
            self.settings.budget.give_back(permits, self.job.workflow)
        self.on_change()


def _cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel a task; a second cancellation would break off the graceful end that the first one began."""
    if not task.cancelling():
        task.cancel()


def _reason_of(exc: Exception) -> str:
    """Return why a worker did not come up."""
    return exc.reason if isinstance(exc, ModelNotLoaded) else type(exc).__name__


class _Slot:
    """The slot of one worker: owns the worker, and starts a new one when it dies.

    Attributes:
        worker: The worker, while it is ready.
        error: Why the last one went or did not come.
        has_failed: Whether the last attempt to start one failed.
        why_removed: Why it is taken down; empty while it is not.
        came_up: Done when the first worker is ready, failed when it did not come up.
        task: Runs until it is cancelled, the first worker has failed, or no other one is needed.

    Args:
        pool: The pool.
        is_spare: Whether it is above the minimum, so that `came_up` is not awaited.
    """

    def __init__(self, pool: WorkerPool, *, is_spare: bool = False) -> None:
        self.worker: ReadyWorker | None = None
        self.error: str | None = None
        self.has_failed = False
        self.why_removed = ""
        self.came_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._is_spare = is_spare
        self.task = pool.run(self._run())
        self.task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """Close the slot when something unforeseen went wrong: it would hold its permit and start no worker."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("the slot of a worker was lost", exc_info=error)
            self._pool.drop(self)

    async def _run(self) -> None:
        pool, backoff = self._pool, Backoff(_FIRST_DELAY_S, _MAX_DELAY_S, steady_s=_STEADY_S)
        try:
            worker = await bring_up(pool.job, pool.forkserver)
        except asyncio.CancelledError:
            self._fail_start(ModelNotLoaded(pool.job.node, "it was unloaded while it was starting"))
            raise
        except Exception as exc:  # noqa: BLE001 - it is raised again where `came_up` is awaited
            self.has_failed = True
            self._fail_start(exc)
            if not self._is_spare:
                return
            if pool.is_above_minimum:
                pool.drop(self)
                pool.record_failed_growth(_reason_of(exc))
                return
            # The minimum was raised meanwhile, and counts on this one.
            worker = await self._replace(backoff, backoff.next_pause())
        if not self.came_up.done():
            self.came_up.set_result(None)
        while True:
            up_s, was_request = await self._hold(worker)
            if pool.is_above_minimum:
                pool.drop(self)
                return
            worker = await self._replace(backoff, 0 if was_request else backoff.next_pause(worked_s=up_s))

    def _fail_start(self, exc: Exception) -> None:
        if not self._is_spare and not self.came_up.done():
            self.came_up.set_exception(exc)

    async def _hold(self, process: WorkerProcess) -> tuple[float, bool]:
        """Keep the worker until it dies, or stop it when this is cancelled.

        Returns:
            How many seconds it was up, counting one that has answered as steady, and whether a request was its end.
        """
        pool = self._pool
        started = pool.clock()
        self.error, self.has_failed = None, False
        worker = self.worker = pool.dispatcher.add(process)
        pool.on_ready()
        end = ""
        try:
            end = await process.wait()
            self.error = f"worker {end}"
        finally:
            self.worker = None
            pool.dispatcher.remove(worker)
            pool.on_change()
            await process.stop(grace_s=pool.settings.grace_s)
            pool.job.log_end(process.pid, end, self.why_removed)
        up_s = max(pool.clock() - started, _STEADY_S if worker.has_answered else 0)
        return up_s, worker.died_working

    async def _replace(self, backoff: Backoff, delay_s: float) -> WorkerProcess:
        """Start workers, with pauses between them, until one is ready."""
        pool = self._pool
        while True:
            if delay_s:
                await pool.sleep(delay_s)
            try:
                return await bring_up(pool.job, pool.forkserver)
            except Exception as exc:  # Also after an unforeseen error the requests that wait have to be answered.
                if not isinstance(exc, ModelNotLoaded):
                    _logger.exception("a worker was not started", extra=pool.job.log_fields)
                if (reason := _reason_of(exc)) != self.error:
                    _logger.warning("worker not started: %s", reason, extra=pool.job.log_fields)
                self.error, self.has_failed = reason, True
                pool.on_change()
                pool.record_failure(self.error)
            delay_s = backoff.next_pause()
