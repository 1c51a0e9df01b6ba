"""Descriptions that are remembered, and what makes them new."""

from pathlib import Path

import pytest

from tests.support.records import make_registry, register
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import VersionFigures, WorkflowReport
from wfmgmt.domain.threads import ThreadPolicy
from wfmgmt.errors import WorkflowNotFound
from wfmgmt.registry.registry import Registry
from wfmgmt.services import inspection
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.store_files import StoreFiles


class FakeStatus:
    """Gives the report that a test set."""

    def __init__(self) -> None:
        self.reports: dict[str, WorkflowReport] = {}

    def catch_up(self, change: int) -> None:
        """Be up to date."""

    def report(self, uid: str) -> WorkflowReport | None:
        """Return the newest report."""
        return self.reports.get(uid)


class FakeFigures:
    """Gives the figures that a test set."""

    def __init__(self) -> None:
        self.measured: VersionFigures | None = None
        self.asked: list[tuple[str, str]] = []

    def figures(self, uid: str, version: str) -> VersionFigures | None:
        """Return figures of any version."""
        self.asked.append((uid, version))
        return self.measured


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Registry:
    return make_registry(tmp_path)


@pytest.fixture(name="status")
def _status() -> FakeStatus:
    return FakeStatus()


@pytest.fixture(name="figures")
def _figures() -> FakeFigures:
    return FakeFigures()


@pytest.fixture(name="inspected")
def _inspected(tmp_path: Path, registry: Registry, status: FakeStatus, figures: FakeFigures) -> Inspection:
    runtime = RuntimeClient(tmp_path / "nothing.sock")
    return Inspection(
        registry=registry,
        status=status,  # type: ignore[arg-type]  # a fake
        figures=figures,  # type: ignore[arg-type]  # likewise
        runtime=runtime,
        threads=ThreadPolicy(),
        store_files=StoreFiles(StoreFolders.at(workflow=tmp_path, model=tmp_path), KeptArchives(tmp_path / "archives")),
    )


def remove(registry: Registry, name: str) -> None:
    """Remove a workflow as a removal does."""
    with registry.write() as writer:
        uid = writer.uid(name)
        assert uid is not None
        assert writer.mark_unregistering(uid, "lease")
        assert writer.remove(uid)


def test_description_is_the_same_object_while_nothing_changes(registry: Registry, inspected: Inspection) -> None:
    """What was made from it can be used again."""
    register(registry, "a")
    assert inspected.describe("a") is inspected.describe("a")


def test_description_is_new_when_the_runtime_reports_something(
    registry: Registry, status: FakeStatus, inspected: Inspection
) -> None:
    """A report is shown as soon as it is there."""
    register(registry, "a")
    before = inspected.describe("a")
    report = WorkflowReport(uid=before.workflow.key.uid, workflow="a", state=LoadState.LOADED)
    status.reports[before.workflow.key.uid] = report
    assert inspected.describe("a").report is report


def test_description_has_what_was_measured_of_its_version(
    registry: Registry, status: FakeStatus, figures: FakeFigures, inspected: Inspection
) -> None:
    """The runtime is asked for figures of what it has loaded only; the same ones make no new description."""
    register(registry, "a")
    before = inspected.describe("a")
    uid = before.workflow.key.uid
    assert (before.figures, figures.asked) == (None, [])
    status.reports[uid] = WorkflowReport(uid=uid, workflow="a", state=LoadState.SERVING)
    figures.measured = VersionFigures(in_flight=1)
    described = inspected.describe("a")
    assert described.figures is figures.measured
    assert inspected.describe("a") is described
    assert set(figures.asked) == {(before.workflow.workflow_uid, "1.0")}
    figures.measured = None
    assert inspected.describe("a").figures is None


def test_description_is_gone_with_its_workflow(registry: Registry, inspected: Inspection) -> None:
    """What is remembered does not outlive the registration."""
    register(registry, "a")
    inspected.describe("a")
    remove(registry, "a")
    with pytest.raises(WorkflowNotFound):
        inspected.describe("a")


def test_description_is_that_of_the_new_registration_of_a_name(registry: Registry, inspected: Inspection) -> None:
    """A name that was given away again stands for the new workflow only."""
    register(registry, "a")
    before = inspected.describe("a").workflow
    remove(registry, "a")
    register(registry, "a")
    assert inspected.describe("a").workflow.key.uid != before.key.uid


def test_descriptions_of_a_bounded_number_are_remembered(
    registry: Registry, inspected: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many workflows do not fill the memory; those that were forgotten are read again."""
    monkeypatch.setattr(inspection, "REMEMBERED", 2)
    names = ("a", "b", "c")
    register(registry, *names)
    first = [inspected.describe(name) for name in names]
    again = [inspected.describe(name) for name in reversed(names)]
    assert [old is new for old, new in zip(first, reversed(again), strict=True)] == [False, True, True]
