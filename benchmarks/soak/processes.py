"""The service's processes, and how they grow while it runs."""

import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import memory_mb
from tests.support.service import Service, command_line, is_forked, is_runtime, parent_pid, pids_of

SAMPLE_INTERVAL_S = 1.0
#: Samples in which a runtime loads its workflows, and takes the memory that it goes on with.
_WARM_UP_SAMPLES = 20


def descriptors(pid: int | None) -> int:
    """Return how many descriptors a process has open, 0 when it is gone."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """All processes of a service.

    Attributes:
        runtime: The runtime, None without one.
        forkserver: The parent of the workers, None without one.
        workers: Workers, and what they forked.
        web: gunicorn's processes.
        strays: All others.
    """

    runtime: int | None
    forkserver: int | None
    workers: tuple[int, ...]
    web: tuple[int, ...]
    strays: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many there are."""
        return (
            len(self.workers)
            + len(self.web)
            + len(self.strays)
            + (self.runtime is not None)
            + (self.forkserver is not None)
        )


def count_processes(service: Service) -> Census:
    """Look at all processes once."""
    lines = {pid: command_line(pid) for pid in pids_of(service.instance)}
    runtime = min((pid for pid, line in lines.items() if is_runtime(line)), default=None)
    forked = {pid for pid, line in lines.items() if is_forked(line)}
    forkserver = next((pid for pid in forked if runtime is not None and parent_pid(pid) == runtime), None)
    web = {pid for pid, line in lines.items() if "gunicorn" in line}
    return Census(
        runtime=runtime,
        forkserver=forkserver,
        workers=tuple(sorted(forked - {forkserver})),
        web=tuple(sorted(web)),
        strays=tuple(f"{pid}: {line}" for pid, line in lines.items() if pid not in {runtime, *forked, *web}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The processes at one moment; memory is their share of it, in MB.

    Attributes:
        runtime: The runtime's process id.
        runtime_mb: Its memory.
        forkserver: The forkserver's process id.
        forkserver_mb: Its memory.
        worker_mb: That of the workers, on average.
        workers: How many workers there were.
        descriptors: Open in the runtime.
        processes: How many there were in all.
    """

    runtime: int | None
    runtime_mb: float
    forkserver: int | None
    forkserver_mb: float
    worker_mb: float
    workers: int
    descriptors: int
    processes: int


def take_sample(service: Service) -> Sample:
    """Look at the processes and their memory once."""
    census = count_processes(service)
    workers_mb = [_memory_mb(pid) for pid in census.workers]
    return Sample(
        runtime=census.runtime,
        runtime_mb=_memory_mb(census.runtime),
        forkserver=census.forkserver,
        forkserver_mb=_memory_mb(census.forkserver),
        worker_mb=statistics.mean(workers_mb) if workers_mb else 0.0,
        workers=len(workers_mb),
        descriptors=descriptors(census.runtime),
        processes=census.total,
    )


def _memory_mb(pid: int | None) -> float:
    try:
        return 0.0 if pid is None else memory_mb([pid], "Pss")
    except OSError:
        return 0.0  # It has gone meanwhile.


class Sampler:
    """Takes samples.

    Attributes:
        samples: In their order.

    Args:
        service: Whose processes to look at.
    """

    def __init__(self, service: Service) -> None:
        self.samples: list[Sample] = []
        self._service = service

    def run(self, seconds: float, stop: threading.Event) -> None:
        """Take samples until `stop` is set or the time is over."""
        for _ in range(int(seconds / SAMPLE_INTERVAL_S)):
            if stop.wait(SAMPLE_INTERVAL_S):
                return
            self.samples.append(take_sample(self._service))

    def last_life(self) -> list[Sample]:
        """Return the samples of the runtime that came last, once it and its workers were warm."""
        last = self.samples[-1].runtime
        samples = [sample for sample in self.samples if sample.runtime == last]
        return samples[min(_WARM_UP_SAMPLES, len(samples) // 2) :]


def begin_and_end(values: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the second and of the last tenth of values."""
    tenth = max(len(values) // 10, 1)
    return statistics.median(values[tenth : 2 * tenth] or values), statistics.median(values[-tenth:])
