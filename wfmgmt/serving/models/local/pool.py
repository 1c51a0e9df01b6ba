"""Keeps as many workers of one job alive as are wanted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wfmgmt.serving.models.base import ModelNotLoaded, WorkerStatus
from wfmgmt.serving.models.local.frames import Frame, InvalidFrame
from wfmgmt.serving.models.local.launcher import ForkFailed, WorkerExited, WorkerProcess

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_STEADY_S = 30.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What each worker of a pool does.

    Attributes:
        workflow: Workflow it belongs to.
        nodes: Nodes that one worker hosts, in the order in which it loads them; at least one.
        load: The message that makes a worker load them, as `worker` describes it.
        startup_timeout_s: Time each worker has from its start until all is loaded.
    """

    workflow: str
    nodes: tuple[str, ...]
    load: Mapping[str, Any]
    startup_timeout_s: float


class Forks(Protocol):
    """The part of `launcher.Forkserver` that a pool uses."""

    async def fork(self, *, workflow: str, node: str) -> WorkerProcess:
        """Start one worker, which waits for its first message."""


class Backoff:
    """Delays between the restarts of one worker: 0.1 s, doubling to 30 s, and again 0.1 s after 30 s of health."""

    def __init__(self) -> None:
        self._next_s = _FIRST_DELAY_S

    def delay_after(self, up_s: float) -> float:
        """Return the seconds to wait after a worker that was up for `up_s` seconds, 0 when it never was."""
        delay_s = _FIRST_DELAY_S if up_s >= _STEADY_S else self._next_s
        self._next_s = min(delay_s * 2, _LONGEST_DELAY_S)
        return delay_s


class WorkerPool:
    """The workers of one job, restarted with back-off when they die.

    It belongs to one event loop.

    Args:
        forkserver: Where workers come from.
        job: What they do.
        on_change: Called whenever `status` may have changed; it neither blocks nor raises.
        grace_s: Time in which a worker that is to go may leave by itself.
        clock: Seconds that only go forward.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        *,
        forkserver: Forks,
        job: Job,
        on_change: Callable[[], None],
        grace_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.job = job
        self.on_change = on_change
        self.grace_s = grace_s
        self.clock = clock
        self.sleep = sleep
        self._forkserver = forkserver
        self._slots: list[_Slot] = []
        self._scaling = asyncio.Lock()
        self._stopped = False

    @property
    def status(self) -> WorkerStatus:
        """How many workers there should be and are."""
        ready = sum(slot.worker is not None for slot in self._slots)
        errors = (slot.error for slot in self._slots if slot.worker is None)
        return WorkerStatus(wanted=len(self._slots), ready=ready, error=next(filter(None, errors), None))

    async def scale(self, workers: int) -> None:
        """Run exactly `workers` workers and return when new ones are ready and others gone.

        When a new one fails, or this is cancelled, all new ones are taken down and the others stay.

        Raises:
            ModelNotLoaded: A new worker did not come up, or the pool was stopped.
        """
        async with self._scaling:
            if self._stopped:
                raise ModelNotLoaded(self.job.nodes[0], "it is being unloaded")
            # Workers that are not up go first, then the youngest.
            self._slots.sort(key=lambda slot: slot.worker is None)
            surplus = self._slots[workers:]
            new = [_Slot(self) for _ in range(workers - len(self._slots))]
            self._slots += new
            self.on_change()
            try:
                await asyncio.gather(*(slot.came_up for slot in new))
            except BaseException:
                await self._remove(new)
                raise
            await self._remove(surplus)

    async def stop(self) -> None:
        """Take all workers down, also those that are still starting. Idempotent; the pool is of no use afterwards."""
        self._stopped = True
        await self._remove(tuple(self._slots))

    async def bring_up(self) -> WorkerProcess:
        """Start one worker and return it when it has loaded its job.

        Raises:
            ModelNotLoaded: It did not come up.
        """
        node = self.job.nodes[0]
        try:
            worker = await self._forkserver.fork(workflow=self.job.workflow, node=", ".join(self.job.nodes))
        except ForkFailed as exc:
            raise ModelNotLoaded(node, f"no worker could be started: {exc}") from exc
        try:
            await self._load(worker)
        except BaseException:
            await worker.stop(grace_s=0)
            raise
        return worker

    async def _load(self, worker: WorkerProcess) -> None:
        node = self.job.nodes[0]
        timeout_s = self.job.startup_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await worker.send(self.job.load)
                while (loading := _read_progress(worker, await worker.receive())) is not None:
                    node = loading
        except TimeoutError:
            raise ModelNotLoaded(node, f"not ready within startup_timeout of {timeout_s:g} s") from None
        except WorkerExited as exc:
            raise ModelNotLoaded(node, f"worker {exc} while loading") from exc
        except InvalidFrame as exc:
            raise ModelNotLoaded(node, f"broken connection to the worker: {exc}") from exc

    async def _remove(self, slots: Iterable["_Slot"]) -> None:
        """Take these slots down at the same time and forget them."""
        slots = tuple(slots)
        if not slots:
            return
        for slot in slots:
            # A second cancellation would break off the graceful end that the first one began.
            if not slot.task.cancelling():
                slot.task.cancel()
        await asyncio.wait({slot.task for slot in slots})
        self._slots = [slot for slot in self._slots if slot not in slots]
        self.on_change()


def _read_progress(worker: WorkerProcess, frame: Frame) -> str | None:
    """Return the node that the worker loads now, or None when it has loaded all.

    Raises:
        ModelNotLoaded: A handler failed.
        InvalidFrame: The message is none of those that a loading worker sends.
    """
    match frame.header:
        case {"op": "ready"}:
            return None
        case {"op": "loading", "node": str(node)}:
            return node
        case {"op": "failed", "node": str(node), "error": str(error), "traceback": str(traceback)}:
            worker.output.log_error(traceback)
            raise ModelNotLoaded(node, error)
    raise InvalidFrame("unknown message")


class _Slot:
    """The place of one worker: owns the worker, and puts a new one there when it dies.

    Attributes:
        worker: The worker, while it is ready.
        error: Why the last one went or did not come.
        came_up: Done when the first worker is ready, failed when it did not come up.
        task: Runs until it is cancelled, or until the first worker has failed.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self.worker: WorkerProcess | None = None
        self.error: str | None = None
        self.came_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            worker = await self._pool.bring_up()
        except asyncio.CancelledError:
            self._fail(ModelNotLoaded(self._pool.job.nodes[0], "it was unloaded while it was starting"))
            raise
        except Exception as exc:  # noqa: BLE001 - it is raised again where `came_up` is awaited
            self._fail(exc)
            return
        if not self.came_up.done():
            self.came_up.set_result(None)
        backoff = Backoff()
        while True:
            up_s = await self._hold(worker)
            worker = await self._replace(backoff, up_s)

    def _fail(self, exc: Exception) -> None:
        if not self.came_up.done():
            self.came_up.set_exception(exc)

    async def _hold(self, worker: WorkerProcess) -> float:
        """Keep the worker until it dies, or stop it when this is cancelled; return how many seconds it was up."""
        pool = self._pool
        started = pool.clock()
        self.worker = worker
        self.error = None
        pool.on_change()
        try:
            self.error = f"worker {await worker.wait()}"
        finally:
            self.worker = None
            pool.on_change()
            await worker.stop(grace_s=pool.grace_s)
        _logger.warning("%s of %s: %s", ", ".join(pool.job.nodes), pool.job.workflow, self.error)
        return pool.clock() - started

    async def _replace(self, backoff: Backoff, up_s: float) -> WorkerProcess:
        """Start workers, with pauses between them, until one is ready."""
        pool = self._pool
        while True:
            await pool.sleep(backoff.delay_after(up_s))
            try:
                return await pool.bring_up()
            except ModelNotLoaded as exc:
                self.error = exc.reason
                up_s = 0
                pool.on_change()
