"""What workers take of their host, read when it is asked for."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage

#: How old the figures of a worker may be before they are read again.
KEPT_S = 1.0
#: How long a client waits for them; those of workers whose turn has not come are older.
MAX_WAIT_S = 0.25
#: After so long a thread that reads comes back, for others to have their turn.
_TURN_S = 0.05

#: What workers take, as far as it was read.
Usages = Mapping[WorkerFacts, WorkerUsage]
_UNKNOWN = (-float("inf"), WorkerUsage())


class WorkerUsages:
    """The last figures of each worker. For the event loop only.

    The kernel looks through all memory of a process for its figure. One thread at a time does the reading, and no
    prediction waits for it; of many workers those come first whose figures are the oldest.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read: WeakKeyDictionary[WorkerFacts, tuple[float, WorkerUsage]] = WeakKeyDictionary()
        self._reading: asyncio.Task[None] | None = None

    async def read(self, workers: Iterable[WorkerFacts]) -> Usages:
        """Return figures of workers, after `MAX_WAIT_S` at most; without any of those that were never read."""
        workers = list(workers)
        deadline = self._clock() + MAX_WAIT_S
        while (stale := self._stale(workers)) and (left_s := deadline - self._clock()) > 0:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._refresh(stale))
            await asyncio.wait({self._reading}, timeout=left_s)
        return {worker: self._read.get(worker, _UNKNOWN)[1] for worker in workers}

    def _stale(self, workers: Iterable[WorkerFacts]) -> list[WorkerFacts]:
        """Return the workers whose figures are too old, the oldest first."""
        read_at = {worker: self._read.get(worker, _UNKNOWN)[0] for worker in workers}
        before = self._clock() - KEPT_S
        return sorted((worker for worker, at in read_at.items() if at <= before), key=read_at.__getitem__)

    async def _refresh(self, workers: Sequence[WorkerFacts]) -> None:
        self._read.update(await asyncio.to_thread(self._read_some, workers))

    def _read_some(self, workers: Sequence[WorkerFacts]) -> Mapping[WorkerFacts, tuple[float, WorkerUsage]]:
        """Read figures until the turn is over, of one worker at least."""
        found: dict[WorkerFacts, tuple[float, WorkerUsage]] = {}
        until = self._clock() + _TURN_S
        for worker in workers:
            found[worker] = (self._clock(), worker.read_usage())
            if self._clock() >= until:
                break
        return found
