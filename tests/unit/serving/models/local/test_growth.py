"""Whether a pool gets another worker, with processes that are not real."""

import asyncio
import os
from collections.abc import Callable, Collection, Mapping

import pytest

from tests.support.model_servers import until
from wfmgmt.serving.models.autoscaling import AutoscaleMode, Autoscaling, ScalingLog, ScalingReason
from wfmgmt.serving.models.local.core_use import CoreUse, is_ready, wanted_core_s
from wfmgmt.serving.models.local.growth import Growth, Verdict

OWN, SECOND, OTHER = 11, 12, 13


class Processes:
    """Processes that want cores at a steady rate; each look at the clock is a second later."""

    def __init__(self, rates: Mapping[int, float]) -> None:
        self._rates = rates
        self._now = 0.0

    def clock(self) -> float:
        """Return the time."""
        self._now += 1
        return self._now

    def read(self, pid: int) -> float:
        """Return what a process has wanted until now."""
        return self._now * self._rates.get(pid, 0.0)


async def decide(
    rates: Mapping[int, float],
    *,
    mode: AutoscaleMode = AutoscaleMode.CORES,
    ready: Collection[int] = (),
    waited_s: Callable[[], float | None] = lambda: 0.06,
) -> tuple[list[Verdict], list[tuple[str, ...]]]:
    """Return what a pool on two cores does and what is counted, at its first decision."""
    processes = Processes(rates)
    core_use = CoreUse(2, read=processes.read, is_ready=ready.__contains__, clock=processes.clock)
    core_use.busy.add(lambda: [OTHER])
    grown: list[Verdict] = []
    counted: list[tuple[str, ...]] = []
    settings = Autoscaling(mode=mode, on_scaled=lambda *labels: counted.append(labels))
    growth = Growth(
        mode=mode,
        core_use=core_use,
        busy=lambda: [pid for pid in (OWN, SECOND) if pid in rates],
        waited_s=waited_s,
        grow=grown.append,
        scalings=ScalingLog("w", "n", settings),
    )
    growth.watch()
    await until(lambda: bool(grown or counted))
    growth.close()
    return grown, counted


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ({OWN: 0.0}, "and a core is free (0.0 of 2 in use)"),
        ({OWN: 1.0}, "and a core is free (1.0 of 2 in use)"),
        ({OWN: 1.0, os.getpid(): 0.4}, "and a core is free (1.4 of 2 in use)"),
        ({OWN: 0.1, OTHER: 2.0}, "and its workers wait rather than compute (0.1 cores each)"),
        ({OWN: 0.8, SECOND: 0.0, OTHER: 2.0}, "and its workers wait rather than compute (0.4 cores each)"),
    ],
)
def test_pool_grows_when_another_worker_helps(rates: Mapping[int, float], why: str) -> None:
    """It can compute on a core of its own, or its handler waits for something else."""
    (verdict,), counted = asyncio.run(decide(rates))
    assert verdict.why == f"requests have waited for 0.06 s, {why}"
    assert not counted


@pytest.mark.parametrize(
    "rates",
    [
        {OWN: 2.0},
        {OWN: 1.0, SECOND: 1.0},
        {OWN: 1.0, OTHER: 0.6},
        {OWN: 1.0, os.getpid(): 0.6},
        {OWN: 1.0, SECOND: 1.0, OTHER: 1.0},
    ],
    ids=["threads", "workers", "other nodes", "runtime", "more than there is"],
)
def test_pool_stays_as_it_is_when_no_core_is_free(rates: Mapping[int, float]) -> None:
    """Another worker would take time from those that there are."""
    grown, counted = asyncio.run(decide(rates))
    assert not grown
    assert counted == [("w", "n", "refused", "no_free_core")]


def test_worker_that_waits_for_a_core_is_not_taken_for_one_that_waits() -> None:
    """On a crowded host it may have got nothing in all of the time, and its wait is not reckoned yet."""
    grown, counted = asyncio.run(decide({OWN: 0.0, OTHER: 0.6}, ready={OWN, OTHER, os.getpid()}))
    assert not grown
    assert counted == [("w", "n", "refused", "no_free_core")]


def test_pool_grows_without_a_look_at_the_cores_when_told_to() -> None:
    """`always` does not look, and `off` adds none however many cores are free."""
    (verdict,), _ = asyncio.run(decide({OWN: 2.0}, mode=AutoscaleMode.ALWAYS))
    assert verdict.why == "requests have waited for 0.06 s"
    grown, counted = asyncio.run(decide({OWN: 0.0}, mode=AutoscaleMode.OFF))
    assert not grown
    assert counted == [("w", "n", "refused", "off")]


def test_pool_grows_only_when_requests_have_waited_long_enough() -> None:
    """One that came just now is given its time."""
    waits = iter([0.01, 0.02, 0.07])
    (verdict,), _ = asyncio.run(decide({OWN: 0.0}, waited_s=lambda: next(waits)))
    assert verdict.why.startswith("requests have waited for 0.07 s")


def test_refusals_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Each reason for itself; all of them are counted."""
    now = 0.0
    counted: list[tuple[str, ...]] = []
    settings = Autoscaling(on_scaled=lambda *labels: counted.append(labels))
    scalings = ScalingLog("w", "n", settings, clock=lambda: now)
    with caplog.at_level("INFO"):
        for now in (0.0, 59.0, 60.0):  # noqa: B007 - the clock reads it
            scalings.record_refusal(ScalingReason.NO_FREE_CORE, "no core is free")
    assert [record.message for record in caplog.records] == ["not autoscaled: no core is free"] * 2
    assert counted == [("w", "n", "refused", "no_free_core")] * 3


def test_time_of_a_process_grows_while_it_computes() -> None:
    """What it wanted is known of this process, and nothing of one that is gone."""
    before = wanted_core_s(os.getpid())
    while wanted_core_s(os.getpid()) < before + 0.01:
        pass
    assert is_ready(os.getpid())
    assert (wanted_core_s(2**22 + 1), is_ready(2**22 + 1)) == (0.0, False)
