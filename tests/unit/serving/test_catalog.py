"""The catalog of workflows: who is found, who waits, and what is reported."""

import asyncio
from pathlib import Path

import pytest

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts, make_request
from wfmgmt.control.load_state import LoadState
from wfmgmt.errors import Saturated, ShuttingDown, WorkflowNotFound, WorkflowNotReady
from wfmgmt.serving.workflows import Wanted
from wfmgmt.testing import in_event_loop


async def add_loaded(parts: Parts, uid: str, *, workflow: str = "") -> None:
    """Have a workflow loaded and registered."""
    parts.loader.load(make_request(uid, workflow=workflow))
    await until(lambda: parts.catalog.report(uid).state.is_loaded)
    parts.reconciler.on_registered(uid)


@in_event_loop
async def test_find_is_not_certain_before_the_registry_was_read(tmp_path: Path) -> None:
    """A name may be registered until then, and also while not all that is registered is here."""
    catalog = make_parts(tmp_path).catalog
    with pytest.raises(WorkflowNotReady, match="not read the database yet"):
        catalog.find(Wanted("w"))
    catalog.status_log.record_catalog("it is locked")
    with pytest.raises(WorkflowNotReady, match="it is locked"):
        catalog.find(Wanted("w"))
    catalog.status_log.record_catalog("")
    with pytest.raises(WorkflowNotFound):
        catalog.find(Wanted("w"))
    catalog.is_behind = True
    with pytest.raises(WorkflowNotReady):
        catalog.find(Wanted("w"))


@in_event_loop
async def test_workflow_is_found_once_it_is_loaded_and_registered(tmp_path: Path) -> None:
    """Neither is enough; once it is unloaded it is not found, and a runtime that stops finds none."""
    parts = make_parts(tmp_path)
    parts.catalog.status_log.record_catalog("")
    parts.loader.load(make_request("w"))
    await until(lambda: parts.catalog.report("w").state.is_loaded)
    with pytest.raises(WorkflowNotFound):
        parts.catalog.find(Wanted("w"))
    parts.reconciler.on_registered("w")
    assert parts.catalog.find(Wanted("w")).target.uid == "w"
    assert parts.catalog.can_answer(Wanted("w"))
    await add_loaded(parts, "other")
    await parts.catalog.unload("w")
    assert parts.catalog.report("w").state is LoadState.ABSENT
    with pytest.raises(WorkflowNotFound):
        parts.catalog.find(Wanted("w"))
    await parts.catalog.drain()
    with pytest.raises(ShuttingDown):
        parts.catalog.find(Wanted("other"))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("a__m", ("a", "m")),
        ("a__b__m", ("a__b", "m")),
        ("a__b__other", ("a", "b__other")),
        ("c__m", ("c", "m")),
        ("a___m", ("a", "_m")),
        ("a_m", None),
        ("__m", None),
        ("a__", None),
        ("", None),
    ],
)
@in_event_loop
async def test_node_is_found_by_the_name_of_its_model(
    tmp_path: Path, model: str, found: tuple[str, str] | None
) -> None:
    """Where underscores leave a choice, a workflow that has the node goes first, then one that exists."""
    parts = make_parts(tmp_path)
    for name in ("a", "a__b"):
        await add_loaded(parts, name, workflow=name)
    assert parts.catalog.node_called(model) == found


@in_event_loop
async def test_request_waits_until_its_workflow_is_loaded(tmp_path: Path) -> None:
    """As many as may; one more is refused. The result is the time that they waited."""
    parts = make_parts(tmp_path)
    parts.catalog.status_log.record_catalog("")
    parts.models.may_load.clear()
    parts.loader.load(make_request("w"))
    await until(lambda: parts.catalog.get("w") is not None)
    parts.reconciler.on_registered("w")
    waiting = [asyncio.create_task(parts.catalog.wait_until_loaded(Wanted("w"))) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Saturated):
        await parts.catalog.wait_until_loaded(Wanted("w"))
    parts.models.may_load.set()
    assert all(waited_s >= 0 for waited_s in await asyncio.gather(*waiting))


@in_event_loop
async def test_request_does_not_wait_longer_than_its_workflow_may_take(tmp_path: Path) -> None:
    """What it has waited before counts."""
    parts = make_parts(tmp_path)
    parts.models.may_load.clear()
    parts.loader.load(make_request("w", response_timeout_s=10))
    await until(lambda: parts.catalog.get("w") is not None)
    parts.reconciler.on_registered("w")
    with pytest.raises(WorkflowNotReady, match="is being loaded"):
        await parts.catalog.wait_until_loaded(Wanted("w"), waited_s=10)
    await parts.loader.close()


@in_event_loop
async def test_new_registration_of_a_name_replaces_the_old_one(tmp_path: Path) -> None:
    """The registry gave the name away, so the old one is gone."""
    parts = make_parts(tmp_path)
    await add_loaded(parts, "old", workflow="w")
    await add_loaded(parts, "new", workflow="w")
    assert parts.catalog.find(Wanted("w")).target.uid == "new"
    assert parts.models.loaded == {"new"}
    assert set(parts.catalog.uids) == {"new"}
