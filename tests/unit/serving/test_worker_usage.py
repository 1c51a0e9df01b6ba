"""When it is read what workers take, and who waits for it."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from wfmgmt.serving import worker_usage
from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage
from wfmgmt.serving.worker_usage import KEPT_S, WorkerUsages
from wfmgmt.testing import in_event_loop


class Clock:
    """A clock that goes on when a test, or a reading, says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def make_worker(pid: int, read: Callable[[], WorkerUsage] = WorkerUsage) -> WorkerFacts:
    """Return the facts of a worker whose figures come from `read`."""
    return WorkerFacts(pid=pid, started_at=datetime(2026, 1, 31, tzinfo=UTC), read_usage=read)


class Readings:
    """Makes workers whose figures count how often they were read.

    Attributes:
        pids: Which were read, in order.
        takes_s: How long each reading takes by the clock.
    """

    def __init__(self, clock: Clock) -> None:
        self.pids: list[int] = []
        self.takes_s = 0.0
        self._clock = clock

    def worker(self, pid: int) -> WorkerFacts:
        """Return the facts of one."""

        def read() -> WorkerUsage:
            self.pids.append(pid)
            self._clock.now += self.takes_s
            return WorkerUsage(pss_bytes=len(self.pids), threads=1)

        return make_worker(pid, read)


@in_event_loop
async def test_figures_are_kept_for_a_second() -> None:
    """After that they are read again, of those workers that are asked about."""
    clock = Clock()
    readings, usages = Readings(clock), WorkerUsages(clock)
    one, two = readings.worker(1), readings.worker(2)
    assert await usages.read([one, two]) == {one: WorkerUsage(1, 1), two: WorkerUsage(2, 1)}
    clock.now = 0.9 * KEPT_S
    assert await usages.read([one]) == {one: WorkerUsage(1, 1)}
    clock.now = KEPT_S
    assert await usages.read([two]) == {two: WorkerUsage(3, 1)}
    assert readings.pids == [1, 2, 2]


@in_event_loop
async def test_time_is_bounded_and_the_oldest_figures_are_read_first() -> None:
    """Of a thousand workers some are read each time, until all have had their turn."""
    clock = Clock()
    readings, usages = Readings(clock), WorkerUsages(clock)
    readings.takes_s = 0.001
    workers = [readings.worker(pid) for pid in range(1000)]
    found = await usages.read(workers)
    first = len(readings.pids)
    assert 200 <= first <= 260
    assert sum(usage.pss_bytes is not None for usage in found.values()) == first
    while len(readings.pids) < len(workers):
        clock.now += 15
        found = await usages.read(workers)
    assert set(readings.pids[:1000]) == set(range(1000))
    assert None not in found.values()


@in_event_loop
async def test_reading_that_hangs_holds_up_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is answered after a moment, and there is one thread only that waits for the kernel."""
    monkeypatch.setattr(worker_usage, "MAX_WAIT_S", 0.01)
    go_on, threads = threading.Event(), []

    def hang() -> WorkerUsage:
        threads.append(threading.get_ident())
        assert go_on.wait(30)
        return WorkerUsage(threads=7)

    usages, hanging = WorkerUsages(), make_worker(1, hang)
    try:
        for _ in range(3):
            assert await usages.read([hanging]) == {hanging: WorkerUsage()}
    finally:
        go_on.set()
    async with asyncio.timeout(10):
        while (await usages.read([hanging]))[hanging].threads != 7:
            pass
    assert len(threads) == 1


@in_event_loop
async def test_workers_that_are_gone_are_forgotten() -> None:
    """Nothing that was read of them outlives them."""
    usages, worker = WorkerUsages(), make_worker(1)
    await usages.read([worker])
    kept = weakref.ref(worker)
    del worker
    gc.collect()
    assert kept() is None
