"""Recovery of unfinished work over a real database, with a runtime that fails for one workflow."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.operations import make_operations
from tests.support.records import make_registry, make_workflow
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.audit import Origin
from wfmgmt.errors import ShuttingDown, WorkflowNotFound
from wfmgmt.registry.registry import Registry
from wfmgmt.services import removal as module
from wfmgmt.services.changes import Change
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.failure_budget import FailureBudget
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.removal import Removal

CHANGE = Change(origin=Origin(actor="client"))


class HalfBroken(RuntimeClient):
    """A runtime client that fails for some workflows in a way that nobody foresaw."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "socket")
        self.broken: dict[str, Exception] = {}
        self.unloaded: list[str] = []

    def unload(self, uid: str, *, wait_s: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Fail or not."""
        del wait_s, cancelled
        self.unloaded.append(uid)
        if uid in self.broken:
            raise self.broken[uid]


def make_removal(
    folder: Path,
    registry: Registry,
    runtime: RuntimeClient,
    long_requests: LongRequests | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Removal:
    """Return the use cases over stores in a folder."""
    for name in ("leases", "workflow", "model"):
        (folder / name).mkdir()
    folders = StoreFolders.at(workflow=folder / "workflow", model=folder / "model")
    leases, long_requests = Leases(folder / "leases"), long_requests or LongRequests(1)
    return Removal(
        registry=registry,
        folders=folders,
        kept=KeptArchives(folder / "archives"),
        runtime=runtime,
        leases=leases,
        long_requests=long_requests,
        failures=FailedChanges(registry=registry, budget=FailureBudget(1000)),
        operations=make_operations(registry, leases, long_requests),
        clock=clock,
    )


@pytest.mark.parametrize("error", [KeyError("unforeseen"), PermissionError("not allowed")], ids=repr)
def test_recovery_of_one_workflow_does_not_wait_for_another(tmp_path: Path, error: Exception) -> None:
    """The one that fails is reported, left alone for a while, and finished once that is possible."""
    registry, runtime = make_registry(tmp_path), HalfBroken(tmp_path)
    now = 0.0
    removal = make_removal(tmp_path, registry, runtime, clock=lambda: now)
    stuck, good = make_workflow("stuck", lease="dead1"), make_workflow("good", lease="dead2")
    with registry.write() as writer:
        writer.claim_name(stuck)
        writer.claim_name(good)
    runtime.broken[stuck.uid] = error
    recovery = removal.recover()
    assert recovery.done == ["undo the unfinished registration of good"]
    assert recovery.failed == [f"undo the unfinished registration of stuck: {error}"]
    runtime.unloaded.clear()
    assert removal.recover() == module.Recovery()
    assert runtime.unloaded == []
    now = module.FIRST_RETRY_S
    runtime.broken.clear()
    assert removal.recover().done == ["undo the unfinished registration of stuck"]
    assert removal.abandoned() == []
    registry.close()


@pytest.mark.parametrize("status", ["abandoned", "being recovered", "being removed by another request"])
def test_removal_that_was_begun_is_finished_or_waited_for(tmp_path: Path, status: str) -> None:
    """A request that is repeated after a 503 succeeds; of two at the same time, only one."""
    registry, runtime = make_registry(tmp_path), HalfBroken(tmp_path)
    removal = make_removal(tmp_path, registry, runtime)
    leases = Leases(tmp_path / "leases")
    workflow = make_workflow("seq")
    with ThreadPoolExecutor(1) as pool, leases.take(prefix=module.RECOVERY if "recovered" in status else "") as lease:
        with registry.write() as writer:
            writer.claim_name(workflow)
            writer.mark_ready(workflow.uid)
            writer.mark_unregistering(workflow.uid, "dead" if status == "abandoned" else lease)
        repeated = pool.submit(removal.unregister, "seq", CHANGE)
        if status == "abandoned":
            repeated.result(10)
            assert runtime.unloaded == [workflow.uid]
        else:
            with pytest.raises(TimeoutError):
                repeated.result(5 * module.WAIT_INTERVAL_S)
        with registry.write() as writer:
            writer.remove(workflow.uid)
    if "another" in status:
        assert isinstance(repeated.exception(10), WorkflowNotFound)
    else:
        repeated.result(10)
    assert removal.abandoned() == []
    registry.close()


def test_removal_that_housekeeping_has_finished_counts_as_done_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that was answered 503 hears of success however late it repeats its request, within minutes."""
    registry, runtime = make_registry(tmp_path), HalfBroken(tmp_path)
    removal = make_removal(tmp_path, registry, runtime)
    workflow, undone = make_workflow("seq"), make_workflow("undone", lease="dead")
    with registry.write() as writer:
        writer.claim_name(workflow)
        writer.mark_ready(workflow.uid)
        writer.mark_unregistering(workflow.uid, "dead")
        writer.claim_name(undone)
    assert removal.recover().failed == []
    removal.unregister("seq", CHANGE)
    for name in ("undone", "other"):
        with pytest.raises(WorkflowNotFound):
            removal.unregister(name, CHANGE)
    monkeypatch.setattr(module, "REPEAT_TIME", timedelta(0))
    with pytest.raises(WorkflowNotFound):
        removal.unregister("seq", CHANGE)
    registry.close()


def test_removal_that_waits_ends_when_the_server_stops(tmp_path: Path) -> None:
    """The response says that it will be finished."""
    registry = make_registry(tmp_path)
    long_requests = LongRequests(1)
    removal = make_removal(tmp_path, registry, HalfBroken(tmp_path), long_requests)
    workflow = make_workflow("seq")
    with ThreadPoolExecutor(1) as pool, Leases(tmp_path / "leases").take() as lease:
        with registry.write() as writer:
            writer.claim_name(workflow)
            writer.mark_ready(workflow.uid)
            writer.mark_unregistering(workflow.uid, lease)
        waiting = pool.submit(removal.unregister, "seq", CHANGE)
        long_requests.stop()
        assert isinstance(waiting.exception(10), ShuttingDown)
    registry.close()
