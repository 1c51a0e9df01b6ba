"""Versions of a workflow in the runtime: which are loaded, which answers, and when a change is in force."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts, make_request
from tests.unit.serving.test_measurements import text_of
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import VersionState
from wfmgmt.domain.releases import Mirror, Route, RoutingTable
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import VersionNotFound, WorkflowNotFound, WorkflowNotReady
from wfmgmt.serving import loader, node_settings, reconciler
from wfmgmt.serving.workflows import Wanted
from wfmgmt.testing import in_event_loop

ALL_TO_2 = RoutingTable.all_to("2.0")
HALF = RoutingTable(routes=(Route(version="2.0", weight=50), Route(version="1.0", weight=50)))
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(reconciler, "MIN_STANDBY_S", 0.0)
    monkeypatch.setattr(loader, "RETRY_SPACING_S", 0.0)
    monkeypatch.setattr(node_settings, "FIRST_RETRY_S", 0.01)


@asynccontextmanager
async def running(folder: Path, *versions: str, standby_s: float = 600) -> AsyncIterator[Parts]:
    """Run a reconciler over a registry with the workflow `w`, whose first version has all requests."""
    parts = make_parts(folder, standby_s=standby_s)
    for version in versions:
        parts.registry.put("w", version=version)
    task = asyncio.create_task(parts.reconciler.run())
    try:
        await until(lambda: parts.catalog.status_log.is_complete)
        yield parts
    finally:
        task.cancel()
        await asyncio.wait([task])
        await parts.loader.close()


def answering(parts: Parts, version: str | None = None, key: str = "k") -> str:
    """Return which version answers a request."""
    return parts.catalog.find(Wanted("w", version, key)).target.version


async def reach(parts: Parts) -> str:
    """Wait until all that the registry says is in force, and return why it is not."""
    report = await parts.reconciler.reach("w", parts.registry.rows["w"].revision, WAIT_S)
    assert report.reached is not bool(report.problem)
    return report.problem


@in_event_loop
async def test_start_loads_what_the_release_names(tmp_path: Path) -> None:
    """All other versions are known by name; a name that no version has is refused."""
    async with running(tmp_path, "1.0", "2.0", "3.0") as parts:
        parts.registry.release("w", RoutingTable(routes=HALF.routes[1:], mirror=Mirror(version="2.0", percent=5)))
        assert await reach(parts) == ""
        assert parts.models.loaded == {"w", "w/2.0"}
        assert answering(parts) == "1.0"
        assert parts.catalog.report("w/3.0").state is LoadState.ABSENT
        with pytest.raises(VersionNotFound, match="Workflow version: 9 does not exist for workflow: w"):
            answering(parts, "9")
        with pytest.raises(WorkflowNotFound):
            parts.catalog.find(Wanted("other", "1.0"))


@in_event_loop
async def test_release_is_in_force_once_its_versions_are_loaded(tmp_path: Path) -> None:
    """Until then the one before answers; afterwards that stands by, and answers requests that name it."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        parts.models.may_load.clear()
        parts.registry.release("w", ALL_TO_2)
        await until(lambda: parts.models.attempts == ["w", "w/2.0"])
        assert answering(parts) == "1.0"
        assert not (await parts.reconciler.reach("w", parts.registry.rows["w"].revision, 0.05)).reached
        parts.models.may_load.set()
        assert await reach(parts) == ""
        assert (answering(parts), answering(parts, "1.0")) == ("2.0", "1.0")
        assert parts.catalog.report("w").version_state is VersionState.STANDBY
        assert parts.catalog.report("w/2.0").version_state is VersionState.READY


@in_event_loop
async def test_release_that_does_not_load_leaves_the_one_before_in_force(tmp_path: Path) -> None:
    """It says why; the next release comes into force all the same, and so does this one once its version loads."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        parts.models.failing.add("w/2.0")
        parts.registry.release("w", ALL_TO_2)
        assert await reach(parts) == "version 2.0: m: the test makes it fail"
        assert answering(parts) == "1.0"
        parts.registry.release("w", RoutingTable.all_to("1.0"))
        assert await reach(parts) == ""
        parts.models.failing.clear()
        parts.loader.load(make_request("w/2.0", workflow="w", version="2.0"))
        assert parts.catalog.report("w/2.0").state is LoadState.RESTORING
        parts.registry.release("w", ALL_TO_2)
        assert await reach(parts) == ""
        assert answering(parts) == "2.0"


@in_event_loop
async def test_start_puts_a_release_in_force_before_it_is_loaded(tmp_path: Path) -> None:
    """There is nothing that it would replace: requests wait for it."""
    parts = make_parts(tmp_path)
    parts.registry.put("w")
    parts.registry.put("w", version="2.0")
    parts.registry.release("w", HALF)
    parts.models.may_load.clear()
    task = asyncio.create_task(parts.reconciler.run())
    await until(lambda: set(parts.models.attempts) == {"w", "w/2.0"})
    assert parts.catalog.report("w/2.0").is_routed
    with pytest.raises(WorkflowNotReady, match="is being loaded"):
        answering(parts)
    waiting = asyncio.create_task(parts.catalog.wait_until_loaded(Wanted("w")))
    parts.models.may_load.set()
    await waiting
    assert {answering(parts, key=str(number)) for number in range(100)} == {"1.0", "2.0"}
    task.cancel()
    await asyncio.wait([task])
    await parts.loader.close()


@in_event_loop
async def test_version_without_a_share_is_parked_after_a_while(tmp_path: Path) -> None:
    """A request that names it has it loaded, and waits for that; so does a release."""
    async with running(tmp_path, "1.0", "2.0", standby_s=0.05) as parts:
        parts.registry.release("w", ALL_TO_2)
        assert await reach(parts) == ""
        await until(lambda: parts.models.loaded == {"w/2.0"})
        await until(lambda: parts.catalog.get("w") is None)
        assert parts.catalog.report("w").state is LoadState.ABSENT
        await parts.catalog.wait_until_loaded(Wanted("w", "1.0"))
        version = parts.catalog.find(Wanted("w", "1.0"))
        with version.accepting():
            await asyncio.sleep(0.2)
            assert parts.catalog.get("w") is version
        await until(lambda: parts.models.loaded == {"w/2.0"})
        parts.registry.release("w", RoutingTable.all_to("1.0"))
        assert await reach(parts) == ""
        assert answering(parts) == "1.0"


@in_event_loop
async def test_further_version_is_loaded_by_its_registration_without_a_share(tmp_path: Path) -> None:
    """Requests may name it from then on; one that is unregistered is gone, while all others stay."""
    async with running(tmp_path, "1.0") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        parts.registry.put("w", WorkflowStatus.REGISTERING, version="2.0")
        parts.loader.load(make_request("w/2.0", workflow="w", version="2.0"))
        await until(lambda: parts.catalog.report("w/2.0").state.is_loaded)
        with pytest.raises(VersionNotFound):
            answering(parts, "2.0")
        parts.registry.put("w", version="2.0")
        parts.reconciler.on_registered("w/2.0")
        assert (answering(parts), answering(parts, "2.0")) == ("1.0", "2.0")
        assert await reach(parts) == ""
        parts.registry.put("w", WorkflowStatus.UNREGISTERING, version="2.0")
        await until(lambda: not parts.catalog.can_answer(Wanted("w", "2.0")))
        await parts.loader.unload("w/2.0")
        parts.registry.remove("w", version="2.0")
        assert await reach(parts) == ""
        with pytest.raises(VersionNotFound):
            answering(parts, "2.0")
        assert (answering(parts), parts.models.loaded) == ("1.0", {"w"})


@in_event_loop
async def test_version_that_was_removed_meanwhile_is_taken_down(tmp_path: Path) -> None:
    """So are all of a workflow that was removed."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        parts.registry.release("w", HALF)
        assert await reach(parts) == ""
        parts.registry.release("w", RoutingTable.all_to("1.0"))
        parts.registry.remove("w", version="2.0")
        await until(lambda: parts.models.loaded == {"w"})
        parts.registry.remove("w")
        await until(lambda: not parts.models.loaded)
        await until(lambda: not parts.catalog.uids)
        with pytest.raises(WorkflowNotFound):
            answering(parts)


@in_event_loop
async def test_changed_settings_reach_loaded_models_and_touch_nothing_else(tmp_path: Path) -> None:
    """Numbers of workers by scaling, those of batches by changing; a version that is loaded later begins with them."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        parts.registry.release("w", HALF)
        assert await reach(parts) == ""
        one, two = parts.models.models["w"], parts.models.models["w/2.0"]
        parts.registry.change_settings("w", NodeSettings(min_workers=2, max_workers=3))
        assert await reach(parts) == ""
        parts.registry.change_settings("w", NodeSettings(min_workers=2, max_workers=3, batch_size=8))
        assert await reach(parts) == ""
        parts.registry.change_settings("w", NodeSettings(min_workers=2, max_workers=3, batch_size=8, retry_attempts=5))
        assert await reach(parts) == ""
        assert one.done == [(2, 3), NodeSettings(min_workers=2, max_workers=3, batch_size=8)]
        assert two.done == []


@in_event_loop
async def test_settings_that_cannot_be_put_in_force_are_tried_again(tmp_path: Path) -> None:
    """Those who wait for them learn why they are not in force."""
    async with running(tmp_path, "1.0") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        model = parts.models.models["w"]
        model.problem = "no room"
        parts.registry.change_settings("w", NodeSettings(max_workers=2))
        assert await reach(parts) == "version 1.0: m: no room"
        model.problem = ""
        await until(lambda: model.done == [(1, 2)])
        await until(lambda: parts.catalog.workflow("w").revision == parts.registry.rows["w"].revision)  # type: ignore[union-attr]  # it is loaded


@in_event_loop
async def test_settings_that_cannot_be_put_in_force_do_not_hold_up_a_release(tmp_path: Path) -> None:
    """What came with an earlier revision is waited for by those who made that one."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        parts.models.models["w"].problem = "no room"
        parts.registry.change_settings("w", NodeSettings(max_workers=2))
        assert await reach(parts) == "version 1.0: m: no room"
        scaled = parts.registry.rows["w"].revision
        parts.registry.release("w", HALF)
        assert await reach(parts) == ""
        assert (await parts.reconciler.reach("w", scaled, WAIT_S)).problem == "version 1.0: m: no room"


@in_event_loop
async def test_reach_waits_for_a_workflow_that_was_not_read_yet(tmp_path: Path) -> None:
    """It has the registry read at once, and says why that cannot be done."""
    async with running(tmp_path) as parts:
        parts.registry.put("w")
        assert await reach(parts) == ""
        parts.registry.problem = "it is locked"
        await until(lambda: parts.catalog.status_log.catalog_error != "")
        report = await parts.reconciler.reach("w", 99, WAIT_S)
        assert (report.reached, report.problem) == (False, "it is locked")


@in_event_loop
async def test_workflow_of_a_name_that_was_given_away_has_its_own_routing(tmp_path: Path) -> None:
    """Its releases have the numbers of those of the one before."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        assert await reach(parts) == ""
        old = parts.registry.rows.pop("w")
        parts.registry.gone["w"] = parts.registry.change + 1
        parts.registry.names["again"] = "w"
        parts.registry.put("again", version="3.0")
        parts.registry.rows["again"].revision = old.revision
        await until(lambda: parts.catalog.can_answer(Wanted("w")))
        await until(lambda: parts.models.loaded == {"again/3.0"})
        assert answering(parts) == "3.0"
        with pytest.raises(VersionNotFound):
            answering(parts, "1.0")


@in_event_loop
async def test_unloads_of_one_version_at_a_time_end_it_once(tmp_path: Path) -> None:
    """What another version counts at the same nodes stays, and so does one that is loaded anew."""
    async with running(tmp_path, "1.0", "2.0") as parts:
        parts.registry.release("w", HALF)
        assert await reach(parts) == ""
        await asyncio.gather(parts.catalog.park("w/2.0"), parts.catalog.park("w/2.0"))
        assert 'wfmgmt_node_requests_total{node="m",workflow="w"} 0.0' in text_of(parts.measurements)
        await until(lambda: parts.catalog.can_answer(Wanted("w", "1.0")))
        await parts.catalog.wait_until_loaded(Wanted("w", "2.0"))
