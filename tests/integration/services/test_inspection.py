"""Descriptions that are remembered, and what makes them new."""

from pathlib import Path

import pytest

from tests.records import make_store, register
from wfmgmt.errors import WorkflowNotFound
from wfmgmt.services import inspection
from wfmgmt.services.inspection import Inspection
from wfmgmt.serving.control import LoadState, WorkflowReport
from wfmgmt.store.store import Store


class FakeView:
    """Gives the report that a test set."""

    def __init__(self) -> None:
        self.reports: dict[str, WorkflowReport] = {}

    def report(self, uid: str) -> WorkflowReport | None:
        """Return the newest report."""
        return self.reports.get(uid)


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


@pytest.fixture(name="view")
def _view() -> FakeView:
    return FakeView()


@pytest.fixture(name="inspected")
def _inspected(store: Store, view: FakeView) -> Inspection:
    return Inspection(store=store, view=view)  # type: ignore[arg-type]  # a fake


def remove(store: Store, name: str) -> None:
    """Remove a workflow as a removal does."""
    with store.write() as writer:
        uid = writer.uid(name)
        assert uid is not None
        assert writer.mark_unregistering(uid, "lease")
        assert writer.remove(uid)


def test_description_is_the_same_object_while_nothing_changes(store: Store, inspected: Inspection) -> None:
    """What was made from it can be used again."""
    register(store, "a")
    assert inspected.describe("a") is inspected.describe("a")


def test_description_is_new_when_the_runtime_reports_something(
    store: Store, view: FakeView, inspected: Inspection
) -> None:
    """A report is shown as soon as it is there."""
    register(store, "a")
    before = inspected.describe("a")
    report = WorkflowReport(uid=before.workflow.uid, workflow="a", state=LoadState.LOADED)
    view.reports[before.workflow.uid] = report
    assert inspected.describe("a").report is report


def test_description_is_gone_with_its_workflow(store: Store, inspected: Inspection) -> None:
    """What is remembered does not outlive the registration."""
    register(store, "a")
    inspected.describe("a")
    remove(store, "a")
    with pytest.raises(WorkflowNotFound):
        inspected.describe("a")


def test_description_is_that_of_the_new_registration_of_a_name(store: Store, inspected: Inspection) -> None:
    """A name that was given away again stands for the new workflow only."""
    register(store, "a")
    before = inspected.describe("a").workflow
    remove(store, "a")
    register(store, "a")
    assert inspected.describe("a").workflow.uid != before.uid


def test_descriptions_of_a_bounded_number_are_remembered(
    store: Store, inspected: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workflows do not fill the memory; those that were forgotten are read again."""
    monkeypatch.setattr(inspection, "REMEMBERED", 2)
    names = ("a", "b", "c")
    register(store, *names)
    first = [inspected.describe(name) for name in names]
    again = [inspected.describe(name) for name in reversed(names)]
    assert [old is new for old, new in zip(first, reversed(again), strict=True)] == [False, True, True]
