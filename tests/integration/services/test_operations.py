"""Operations of a process over a real database: what of them others see, and when."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.operations import make_operation, make_operations
from tests.support.records import make_database, make_registry, make_workflow
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import NodeReport, StatusChanges, WorkflowReport
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.operations import NodeProgress, OperationKind, OperationPhase, OperationState, Progress
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.errors import ArchiveNotFound, OperationNotFound, RegistryUnavailable, WorkflowBusy
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.writing import Writer
from wfmgmt.services import operations as module
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations
from wfmgmt.services.tracking import Tracker

CONFLICT = WorkflowBusy("seq", "being registered")
INTERRUPTED = "The process that carried this out is gone; nothing of it is left."


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    yield registry
    registry.close()


@pytest.fixture(name="leases")
def _leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "leases")


@pytest.fixture(name="operations")
def _operations(registry: Registry, leases: Leases) -> Operations:
    return make_operations(registry, leases)


class ReportingRuntime(RuntimeClient):
    """A runtime that has one worker of `m1` up in the load of a workflow."""

    def __init__(self, uid: str) -> None:
        super().__init__(Path("nothing.sock"))
        nodes = {"m1": NodeReport(kind=NodeKind.MODEL, wanted=2, ready=1)}
        self.reports = (WorkflowReport(uid=uid, workflow="seq", state=LoadState.LOADING, nodes=nodes),)

    def changes(self, *, epoch: str, since: int, wait_s: float) -> StatusChanges:
        """Report it."""
        del since
        if epoch:
            time.sleep(wait_s)  # As the runtime does while there is no news.
        return StatusChanges(
            epoch="e",
            sequence=1,
            catalog_error="",
            is_complete=True,
            is_whole=not epoch,
            workflows=self.reports,
            gone=(),
        )


def test_operation_is_there_from_its_beginning_to_after_its_end(registry: Registry, leases: Leases) -> None:
    """With its lease while it runs, and its result in the transaction of the block that makes it."""
    ended: list[tuple[OperationKind, OperationState]] = []
    operations = make_operations(registry, leases, on_ended=lambda kind, state, _: ended.append((kind, state)))
    new = make_operation()
    with operations.run(new, CONFLICT) as running:
        found = operations.get(new.uid)
        assert (found.state, found.progress.phase) == (OperationState.RUNNING, OperationPhase.FETCHING)
        assert leases.is_alive(found.lease or "")
        with registry.write() as writer:
            running.succeed(writer, {"version": "1.0"})
        assert operations.get(new.uid).state is OperationState.SUCCEEDED
    found = operations.get(new.uid)
    assert (found.state, found.result) == (OperationState.SUCCEEDED, {"version": "1.0"})
    assert ended == [(OperationKind.REGISTER, OperationState.SUCCEEDED)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ArchiveNotFound("a.war"), "Workflow not found in workflow store: a.war"),
        (KeyError("secret"), "Internal error; the log has the details."),
    ],
    ids=["foreseen", "unforeseen"],
)
def test_error_of_the_block_is_why_it_failed(operations: Operations, error: Exception, message: str) -> None:
    """Also when it had recorded a result that was rolled back with its transaction."""
    new = make_operation()
    with pytest.raises(type(error)), operations.run(new, CONFLICT) as running:
        running.has_ended = True
        raise error
    found = operations.get(new.uid)
    assert found.error is not None
    assert (found.state, found.error.type, found.error.message) == (
        OperationState.FAILED,
        type(error).__name__,
        message,
    )
    assert found.result is None


def test_only_what_was_acknowledged_waits_for_the_disk(tmp_path: Path, leases: Leases) -> None:
    """The row of a client that waits for its answer does not, nor does progress; the end does, and what waits."""
    waits = []

    class Recording(Registry):
        @contextmanager
        def write(self, *, is_durable: bool = True) -> Iterator[Writer]:
            waits.append(is_durable)
            with super().write(is_durable=is_durable) as writer:
                yield writer

    make_database(tmp_path / "recorded.db")
    with closing(Recording(tmp_path / "recorded.db")) as registry:
        operations = make_operations(registry, leases)
        with operations.run(make_operation(), CONFLICT):
            operations.write_progress()
        operations.accept(make_operation(), CONFLICT, lambda _: None)
    assert waits == [False, False, True, True]


def test_second_operation_on_the_same_is_refused_and_names_the_first(operations: Operations) -> None:
    """Early, before it takes anything, and for good when it is recorded."""
    first, second = make_operation(), make_operation()
    with operations.run(first, CONFLICT):
        for refuse in (
            lambda: operations.refuse_second(second, WorkflowBusy("seq", "x")),
            lambda: operations.run(second, WorkflowBusy("seq", "x")).__enter__(),
        ):
            with pytest.raises(WorkflowBusy) as refused:
                refuse()
            assert refused.value.operation == first.uid
    operations.refuse_second(second, CONFLICT)
    with operations.run(second, CONFLICT):
        assert operations.under_way("seq") == second.uid


def test_operation_of_a_dead_process_is_in_nobodys_way(
    tmp_path: Path, registry: Registry, operations: Operations
) -> None:
    """It is ended with the reason, and with the audit event that its request has not had."""
    dead, new = make_operation(), make_operation()
    with registry.write() as writer:
        assert writer.operations.begin(dead, "dead")
    assert operations.abandoned() == ["end the interrupted registration of seq"]
    with operations.run(new, CONFLICT):
        pass
    found = operations.get(dead.uid)
    assert found.error is not None
    assert (found.state, found.error.message) == (OperationState.FAILED, INTERRUPTED)
    with registry.read() as reader:
        assert reader.operations.running() == []
    with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection:
        events = connection.execute("SELECT action, outcome, workflow, actor, request_id FROM audit_event").fetchall()
    assert events == [("register", "failed", "seq", "anonymous", "r1")]
    assert operations.recover() == []


def test_operation_that_had_begun_to_switch_has_succeeded(registry: Registry, operations: Operations) -> None:
    """What it registered is there, and only who waited for the runtime is gone."""
    new = make_operation()
    with registry.write() as writer:
        writer.operations.begin(new, "dead")
        switching = Progress(phase=OperationPhase.SWITCHING)
        writer.operations.advance(new.uid, switching, workflow="seq", result={"version": "1.0"})
    assert operations.recover() == ["end the interrupted registration of seq"]
    assert (operations.get(new.uid).state, operations.get(new.uid).result) == (
        OperationState.SUCCEEDED,
        {"version": "1.0"},
    )


def test_operation_whose_version_is_claimed_ends_when_that_is_undone(
    registry: Registry, operations: Operations
) -> None:
    """Not before: a client may take its end for the end of everything."""
    new = make_operation()
    with registry.write() as writer:
        writer.operations.begin(new, "dead")
        writer.claim_name(make_workflow("seq", lease="dead"))
    assert operations.recover() == []
    with registry.write() as writer:
        operations.end_undone(writer, "dead")
    assert operations.get(new.uid).state is OperationState.FAILED


def test_operation_that_was_accepted_for_later_begins_again_once(registry: Registry, operations: Operations) -> None:
    """Its process may have been killed by anything; a second time it is rather the work itself."""
    new = make_operation()
    operations.accept(new, CONFLICT, lambda _: None)
    for claimed, state in ((None, OperationState.QUEUED), (make_workflow("seq", lease="dead"), OperationState.FAILED)):
        with registry.write() as writer:
            assert writer.operations.take_next("dead", lambda _: True)
            if claimed is not None:
                writer.claim_name(claimed)
        if claimed is None:
            assert operations.recover() == ["begin again with the interrupted registration of seq"]
            with pytest.raises(WorkflowBusy) as refused, operations.run(make_operation(), CONFLICT):
                pass
            assert refused.value.operation == new.uid
        else:
            with registry.write() as writer:
                writer.remove(claimed.uid)
                operations.end_undone(writer, "dead")
        assert operations.get(new.uid).state is state
    error = operations.get(new.uid).error
    assert error is not None
    assert error.message == "The process that carried this out is gone, in 2 attempts; nothing of it is left."


def test_registration_of_what_begins_again_is_refused(registry: Registry, operations: Operations) -> None:
    """Also when it is that request itself which finds its process dead."""
    new = make_operation()
    operations.accept(new, CONFLICT, lambda _: None)
    with registry.write() as writer:
        assert writer.operations.take_next("dead", lambda _: True)
    with pytest.raises(WorkflowBusy) as refused, operations.run(make_operation(), CONFLICT):
        pass
    assert refused.value.operation == new.uid
    assert operations.get(new.uid).state is OperationState.QUEUED


def test_cancelled_operation_does_not_begin_again(registry: Registry, operations: Operations) -> None:
    """When its process died before it could undo its work."""
    new = make_operation()
    operations.accept(new, CONFLICT, lambda _: None)
    with registry.write() as writer:
        taken = writer.operations.take_next("dead", lambda _: True)
        assert taken is not None
        writer.operations.cancel(taken, "anonymous")
    operations.recover()
    assert operations.get(new.uid).state is OperationState.CANCELLED


def test_progress_is_written_now_and_then_when_there_is_any(
    registry: Registry, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All operations of a process in one transaction, with the workers that the runtime has reported up."""
    claimed = make_workflow("seq")
    operations = make_operations(registry, leases, status=StatusCache(ReportingRuntime(claimed.uid)))
    one, two = make_operation("one"), make_operation("two")
    writes = 0
    write = registry.write

    def counted(*, is_durable: bool = True) -> AbstractContextManager[Writer]:
        nonlocal writes
        writes += 1
        return write(is_durable=is_durable)

    with operations.run(one, CONFLICT) as first, operations.run(two, CONFLICT) as second:
        monkeypatch.setattr(registry, "write", counted)
        operations.write_progress()
        first.tracker.on_bytes(10, 100)
        second.tracker.on_claimed(claimed.target)
        operations.write_progress()
        operations.write_progress()
        assert writes == 2
        progress = operations.get(one.uid).progress
        assert (progress.done_bytes, progress.total_bytes) == (10, 100)
        found = operations.get(two.uid)
        assert (found.workflow, found.progress.phase) == ("seq", OperationPhase.LOADING)
        assert found.progress.nodes["m1"] == NodeProgress(ready=1, wanted=2)


def test_database_that_fails_leaves_the_end_to_housekeeping(operations: Operations) -> None:
    """The client has waited for it already; the lease ends, and so does the operation once that can be written."""
    new = make_operation()
    with pytest.raises(RegistryUnavailable), operations.run(new, CONFLICT):
        raise RegistryUnavailable("The database cannot be used now: the test says so.")
    assert operations.get(new.uid).state is OperationState.RUNNING
    operations.recover()
    assert operations.get(new.uid).state is OperationState.FAILED


def test_wait_ends_with_the_operation_with_the_time_or_with_the_service(registry: Registry, leases: Leases) -> None:
    """One that finds too many others waiting is answered at once."""
    long_requests = LongRequests(1, waits=1)
    operations = make_operations(registry, leases, long_requests)
    new = make_operation()
    with ThreadPoolExecutor(1) as pool:
        with operations.run(new, CONFLICT):
            assert operations.wait(new.uid, 0.01).state is OperationState.RUNNING
            waiting = pool.submit(operations.wait, new.uid, 60)
            with pytest.raises(TimeoutError):
                waiting.result(3 * module.WAIT_INTERVAL_S)
            assert operations.wait(new.uid, 60).state is OperationState.RUNNING
        assert waiting.result(10).state is OperationState.SUCCEEDED
        with operations.run(make_operation("other"), CONFLICT) as running:
            waiting = pool.submit(operations.wait, running.uid, 60)
            long_requests.stop()
            assert waiting.result(10).state is OperationState.RUNNING
    with pytest.raises(OperationNotFound):
        operations.wait("0" * 32, 1)


def test_bytes_of_several_files_add_up() -> None:
    """Each begins with none of its bytes; its size may not be known."""
    tracker = Tracker()
    for done, total in ((0, 10), (10, 10), (0, None), (4, None), (0, 30), (20, 30)):
        tracker.on_bytes(done, total)
    assert (tracker.progress().done_bytes, tracker.progress().total_bytes) == (34, 44)
    tracker.on_bytes(0, None)
    assert (tracker.progress().done_bytes, tracker.progress().total_bytes) == (34, None)
