"""Keeping what is loaded in step with the registry."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts, make_request
from wfmgmt.control.load_state import LoadState
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.serving import loader, reconciler
from wfmgmt.serving.workflows import Wanted
from wfmgmt.testing import in_event_loop


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr(loader, "RETRY_SPACING_S", 0.0)


@asynccontextmanager
async def running(folder: Path, *ready: str) -> AsyncIterator[Parts]:
    """Run a reconciler over a registry with these workflows."""
    parts = make_parts(folder)
    for uid in ready:
        parts.registry.put(uid)
    task = asyncio.create_task(parts.reconciler.run())
    try:
        yield parts
    finally:
        task.cancel()
        await asyncio.wait([task])
        await parts.loader.close()


@in_event_loop
async def test_ready_workflows_are_loaded_and_removed_ones_unloaded(tmp_path: Path) -> None:
    """Workflows of the start, those that come later, and those that go."""
    async with running(tmp_path, "a", "b") as parts:
        await until(lambda: parts.models.loaded == {"a", "b"})
        await until(lambda: parts.catalog.can_answer(Wanted("a")))
        parts.registry.put("c")
        await until(lambda: parts.models.loaded == {"a", "b", "c"})
        parts.registry.remove("a")
        await until(lambda: parts.models.loaded == {"b", "c"})


@in_event_loop
async def test_row_of_any_status_protects_what_is_loaded(tmp_path: Path) -> None:
    """One that is being registered is not served; one that is being unregistered is not any more; both stay loaded."""
    async with running(tmp_path, "a") as parts:
        await until(lambda: parts.catalog.can_answer(Wanted("a")))
        parts.registry.put("half", WorkflowStatus.REGISTERING)
        parts.loader.load(make_request("half"))
        parts.registry.put("a", WorkflowStatus.UNREGISTERING)
        await until(lambda: not parts.catalog.can_answer(Wanted("a")))
        await until(lambda: parts.catalog.report("half").state.is_loaded)
        parts.reconciler.reconcile_now()
        parts.registry.put("last")
        await until(lambda: parts.catalog.can_answer(Wanted("last")))
        assert parts.models.loaded == {"a", "half", "last"}
        assert not parts.catalog.can_answer(Wanted("half"))
        parts.registry.put("half")
        await until(lambda: parts.catalog.can_answer(Wanted("half")))


@in_event_loop
async def test_loads_begin_in_rounds_with_failures_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all have begun, a name that is not known may be one of the others."""
    monkeypatch.setattr(reconciler, "LOADS_PER_ROUND", 2)
    (tmp_path / "loads.json").write_text('{"a": null, "gone": 1.0}', encoding="ascii")
    async with running(tmp_path, "a", "b", "c", "d", "e") as parts:
        parts.models.failing.add("a")
        await until(lambda: len(parts.models.attempts) >= 5)
        assert parts.models.attempts[:5] == ["b", "c", "d", "e", "a"]
        await until(lambda: not parts.catalog.is_behind)
        assert "gone" not in parts.history.uids()


@in_event_loop
async def test_failed_load_is_tried_again_at_once_when_asked(tmp_path: Path) -> None:
    """Without that, after a pause."""
    async with running(tmp_path, "a") as parts:
        parts.models.failing.add("a")
        await until(lambda: parts.catalog.report("a").state.has_failed)
        parts.models.failing.clear()
        await asyncio.sleep(0)
        parts.reconciler.reconcile_now()
        await until(lambda: parts.models.loaded == {"a"}, timeout_s=loader.FIRST_RETRY_S)


@pytest.mark.parametrize("has_failed", [True, False], ids=["failed before", "fails after"])
@in_event_loop
async def test_failed_load_is_repeated_when_the_registry_calls_it_ready(tmp_path: Path, *, has_failed: bool) -> None:
    """No registration does that, but a change of the database by hand."""
    async with running(tmp_path) as parts:
        parts.registry.put("a", WorkflowStatus.REGISTERING)
        parts.models.failing.add("a")
        if not has_failed:
            parts.models.may_load.clear()
        parts.loader.load(make_request("a"))
        await until(lambda: parts.catalog.report("a").state.has_failed is has_failed and bool(parts.models.attempts))
        parts.registry.put("a")
        await until(lambda: parts.catalog.report("a").state.is_registered)
        parts.models.may_load.set()
        await until(lambda: parts.catalog.report("a").state is LoadState.DOWN)
        parts.models.failing.clear()
        await until(lambda: parts.catalog.can_answer(Wanted("a")))


@in_event_loop
async def test_what_is_unloaded_while_the_registry_is_read_stays_unloaded(tmp_path: Path) -> None:
    """The look may have seen it ready, just before it was unregistered."""
    async with running(tmp_path, "a") as parts:
        await until(lambda: parts.models.loaded == {"a"})
        look = parts.reconciler._watch.look  # noqa: SLF001 - to come in between

        async def unload_meanwhile() -> object:
            found = await look()
            await parts.loader.unload("a")
            return found

        parts.reconciler._watch.look = unload_meanwhile  # type: ignore[method-assign, assignment]  # noqa: SLF001
        parts.reconciler.reconcile_now()
        await until(lambda: not parts.models.loaded)
        assert parts.models.attempts == ["a"]


@in_event_loop
async def test_registry_that_cannot_be_read_is_reported_and_unloads_nothing(tmp_path: Path) -> None:
    """Everything goes on once it can."""
    async with running(tmp_path, "a") as parts:
        await until(lambda: parts.models.loaded == {"a"})
        parts.registry.problem = "it is locked"
        await until(lambda: parts.catalog.status_log.problem == "it is locked")
        assert parts.catalog.can_answer(Wanted("a"))
        parts.registry.put("b")
        parts.registry.problem = ""
        await until(lambda: parts.models.loaded == {"a", "b"})
        assert parts.catalog.status_log.problem == ""
