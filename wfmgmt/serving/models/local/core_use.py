"""How much of the cores the service uses, which says whether another worker would help."""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

#: What is left of the cores counts as a free one from here on: threads beside the computing ones take a little, too.
_FREE_CORES = 0.5
#: A worker that wants less of a core than this waits for something else, such as a network or an accelerator.
_COMPUTING = 0.5

#: How Linux numbers the clocks of other processes.
_CPUCLOCK_SCHED = 2


def wanted_core_s(pid: int) -> float:
    """Return for how many seconds all threads of a process have computed and its first one has waited for a core.

    A worker that computes and gets half a core on a busy host has waited for the other half, and not for a network.
    Of a process that is gone it is 0.
    """
    seconds = 0.0
    with contextlib.suppress(OSError):
        seconds += time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat", encoding="ascii") as file:  # noqa: PTH123 - it is read often
        seconds += int(file.read().split()[1]) / 1e9
    return seconds


def is_ready(pid: int) -> bool:
    """Return whether the first thread of a process computes or waits for a core: a wait is reckoned only at its end."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - it is read often
        return file.read().rpartition(")")[2].split()[0] == "R"
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSample:
    """What processes had used up at one time.

    Attributes:
        at: The time.
        seconds: By process.
    """

    at: float
    seconds: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoresInUse:
    """The use of the cores between two samples.

    Attributes:
        cores: Those that the service may use.
        service: Cores that its workers and the runtime wanted.
        per_worker: Cores that each of the workers in question wanted.
    """

    cores: int
    service: float
    per_worker: float

    @property
    def is_core_free(self) -> bool:
        """Whether there is something to compute with for one more worker."""
        return self.cores - self.service >= _FREE_CORES

    @property
    def are_waiting(self) -> bool:
        """Whether the workers in question do something else than computing."""
        return self.per_worker < _COMPUTING


class CoreUse:
    """Measures the use of cores by the runtime and by all workers that work. For the event loop only.

    Args:
        cores: Cores that the service may use.
        read: Returns what a process has wanted until now, in seconds of one core.
        is_ready: Returns whether it wants one now.
        clock: Seconds that only go forward.

    Attributes:
        busy: Each returns the processes of some workers that have something to do.
    """

    def __init__(
        self,
        cores: int,
        *,
        read: Callable[[int], float] = wanted_core_s,
        is_ready: Callable[[int], bool] = is_ready,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.busy: set[Callable[[], Collection[int]]] = set()
        self._cores = cores
        self._read = read
        self._is_ready = is_ready
        self._clock = clock

    def sample(self) -> CoreSample:
        """Return what was used up until now."""
        pids = {os.getpid(), *(pid for each in self.busy for pid in each())}
        return CoreSample(at=self._clock(), seconds={pid: self._read(pid) for pid in pids})

    def since(self, before: CoreSample, pids: Collection[int]) -> CoresInUse:
        """Return what was used since a sample; a process that is in only one of both does not count.

        Args:
            before: The sample.
            pids: The workers in question.
        """
        now = self.sample()
        passed_s = max(now.at - before.at, 1e-3)
        wanted = {
            pid: max(seconds - before.seconds[pid], 0) / passed_s
            for pid, seconds in now.seconds.items()
            if pid in before.seconds
        }
        for pid in wanted.keys() - {os.getpid()}:  # This process always is, since it looks.
            if wanted[pid] < 1 and self._is_ready(pid):
                wanted[pid] = 1.0
        own = [wanted[pid] for pid in pids if pid in wanted]
        return CoresInUse(
            cores=self._cores, service=sum(wanted.values()), per_worker=sum(own) / len(own) if own else 0.0
        )
