"""The loop that judges candidates and has releases made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts
from wfmgmt.control.messages import TrafficKind
from wfmgmt.domain.releases import Guard, Release, ReleaseKind, Route, RoutingTable, Step
from wfmgmt.domain.rollouts import NextRelease, Verdict
from wfmgmt.errors import RegistryUnavailable, WorkflowNotReady
from wfmgmt.serving import reconciler, rollouts
from wfmgmt.serving.rollouts import RolloutLoop
from wfmgmt.serving.traffic import Traffic
from wfmgmt.serving.workflows import Wanted
from wfmgmt.testing import in_event_loop

CANARY = (Route(version="2.0", weight=10), Route(version="1.0", weight=90))
GUARD = Guard(min_requests=10, max_error_rate=0.1)
STEPS = (Step(weight=10, for_s=300), Step(weight=100))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Rollout:
    """A loop over the workflow `w` with two versions.

    Attributes:
        parts: The runtime.
        made: The releases that were made, each with the number of the one that was judged.
        problem: Why none can be made.
    """

    parts: Parts
    made: list[tuple[int, NextRelease]] = field(default_factory=list)
    problem: str = ""

    def make(self, name: str, judged: Release, following: NextRelease, verdict: Verdict) -> None:
        """Make a release."""
        if self.problem:
            raise RegistryUnavailable(self.problem)
        assert verdict.figures["candidate"]["version"] == "2.0"
        self.made.append((judged.number, following))
        self.parts.registry.release(name, following.table)

    def answer(self, *, failures: int) -> None:
        """Have the candidate answer a hundred requests, of which some fail."""
        workflow = self.parts.catalog.workflow("w")
        assert workflow is not None
        for number in range(100):
            workflow.versions["2.0"].traffic.of(TrafficKind.SERVE).record(0.0, 0.01, is_failure=number < failures)

    async def answer_until_made(self, *, failures: int) -> None:
        """Have it answer again and again until a release is made."""
        while not self.made:
            self.answer(failures=failures)
            await asyncio.sleep(0.01)  # The next look has them, once there was one before.


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(rollouts, "LOOK_INTERVAL_S", 0.01)


@asynccontextmanager
async def rolling(
    folder: Path, table: RoutingTable, *, now: datetime = NOW, failing: str = ""
) -> AsyncIterator[Rollout]:
    """Run reconciler and rollout loop over a table that is in force, whether or not a version fails to load."""
    parts = make_parts(folder)
    parts.models.failing = {failing}
    for version in ("1.0", "2.0"):
        parts.registry.put("w", version=version)
    parts.registry.made_at = NOW.isoformat()
    parts.registry.release("w", table)
    rollout = Rollout(parts)
    loop = RolloutLoop(parts.catalog, rollout.make, clock=lambda: now)
    tasks = [asyncio.create_task(parts.reconciler.run()), asyncio.create_task(loop.run())]
    try:
        await until(lambda: parts.models.loaded == {"w", "w/2.0"} - {failing})
        report = await parts.reconciler.reach("w", parts.registry.rows["w"].revision, 30)
        assert report.reached is not bool(failing)
        yield rollout
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await parts.loader.close()


@in_event_loop
async def test_failing_candidate_loses_its_share(tmp_path: Path) -> None:
    """The guard's release is about the one that was judged, and is in force soon."""
    async with rolling(tmp_path, RoutingTable(routes=CANARY, guard=GUARD)) as rollout:
        await rollout.answer_until_made(failures=20)
        number, following = rollout.made[0]
        assert (number, following.kind, following.actor) == (3, ReleaseKind.GUARD, "guard")
        workflow = rollout.parts.catalog.workflow("w")
        assert workflow is not None
        await until(lambda: workflow.release is not None and workflow.release.table == RoutingTable.all_to("1.0"))
        assert not workflow.is_watched
        assert len(rollout.made) == 1


@in_event_loop
async def test_step_that_is_due_is_taken_when_the_candidate_does_well(tmp_path: Path) -> None:
    """When it is due follows from the time of the release, so no restart matters to it."""
    table = RoutingTable(routes=CANARY, guard=GUARD, steps=STEPS)
    async with rolling(tmp_path, table, now=NOW + timedelta(seconds=301)) as rollout:
        await rollout.answer_until_made(failures=0)
        assert rollout.made[0][1].kind is ReleaseKind.ROLLOUT
        assert rollout.made[0][1].table == RoutingTable.all_to("2.0")


@in_event_loop
async def test_candidate_that_is_down_after_a_start_loses_its_share(tmp_path: Path) -> None:
    """It answers nothing, so what counts is that its requests are refused."""
    async with rolling(tmp_path, RoutingTable(routes=CANARY, guard=GUARD), failing="w/2.0") as rollout:
        ids = (str(number) for number in count())
        while not rollout.made:
            for _ in range(100):
                with suppress(WorkflowNotReady):
                    await rollout.parts.catalog.wait_until_loaded(Wanted("w", request_id=next(ids)))
            await asyncio.sleep(0.01)  # The next look has them, once there was one before.
        assert rollout.made[0][1].kind is ReleaseKind.GUARD


@pytest.mark.parametrize("requests", [True, False], ids=["not due", "too few requests"])
@in_event_loop
async def test_step_is_not_taken_otherwise(tmp_path: Path, *, requests: bool) -> None:
    """Neither before its time nor without requests."""
    table = RoutingTable(routes=CANARY, guard=GUARD, steps=STEPS)
    async with rolling(tmp_path, table, now=NOW + timedelta(seconds=299 if requests else 301)) as rollout:
        for _ in range(10):
            if requests:
                rollout.answer(failures=0)
            await asyncio.sleep(0.01)  # Nothing happens, of which there is no event.
        assert rollout.made == []


@in_event_loop
async def test_release_that_cannot_be_made_is_made_later(tmp_path: Path) -> None:
    """The registry may be locked."""
    async with rolling(tmp_path, RoutingTable(routes=CANARY, guard=GUARD)) as rollout:
        rollout.problem = "it is locked"
        for _ in range(10):
            rollout.answer(failures=20)
            await asyncio.sleep(0.01)  # Nothing can be made, of which there is no event.
        rollout.problem = ""
        await rollout.answer_until_made(failures=20)


def test_figures_are_those_of_the_window() -> None:
    """What was answered before it began does not count."""
    newer, older = Traffic(), Traffic()
    watch = rollouts._Watch(1, newer, older)  # noqa: SLF001 - the loop goes by a clock that cannot be set
    for second in range(100):
        watch.look(float(second), 60.0)
        newer.record(float(second), 0.01, is_failure=second < 30)
    figures, others = watch.look(100.0, 60.0)
    assert 59 <= figures.requests <= 62
    assert (figures.failures, others.requests) == (0, 0)
