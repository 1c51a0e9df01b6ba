"""Operations in a real SQLite file."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Cursor

import pytest
from sqlalchemy import Connection, Engine, event

from tests.support.operations import make_operation
from tests.support.records import make_registry, make_workflow
from wfmgmt.domain.operations import (
    NodeProgress,
    OperationError,
    OperationPhase,
    OperationState,
    Progress,
)
from wfmgmt.registry.operations import OperationWriter
from wfmgmt.registry.registry import Registry

LOADING = Progress(
    phase=OperationPhase.LOADING,
    done_bytes=3 * 2**31,
    total_bytes=2**33,
    nodes={"m1": NodeProgress(ready=1, wanted=2)},
)
ERROR = OperationError(type="ArchiveNotFound", message="Workflow not found in workflow store: a.war")


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    yield registry
    registry.close()


def begun(operations: OperationWriter, *workflows: str) -> list[str]:
    """Record operations that run, each with the name of its workflow as its lease; return their identities."""
    uids = []
    for workflow in workflows:
        new = make_operation(workflow, key=None)
        assert operations.begin(new, workflow)
        uids.append(new.uid)
    return uids


def test_operation_is_what_was_recorded(registry: Registry) -> None:
    """From its beginning to its end, with more bytes than 32 bits can count."""
    new = make_operation()
    with registry.write() as writer:
        assert writer.operations.begin(new, "lease")
        writer.operations.advance(new.uid, LOADING, workflow="seq", result={"version": "1.0"})
    with registry.read() as reader:
        found = reader.operations.get(new.uid)
    assert found is not None
    assert (found.state, found.progress, found.lease) == (OperationState.RUNNING, LOADING, "lease")
    assert (found.origin, found.ended_at) == (new.origin, None)
    with registry.write() as writer:
        writer.operations.end(new.uid, OperationState.SUCCEEDED)
        found = writer.operations.get(new.uid)
    assert found is not None
    assert (found.state, found.result, found.error) == (OperationState.SUCCEEDED, {"version": "1.0"}, None)
    assert (found.lease, found.ended_at is not None) == (None, True)


def test_operation_that_is_done_does_not_change(registry: Registry) -> None:
    """Neither its end nor its progress, whoever comes late."""
    with registry.write() as writer:
        (uid,) = begun(writer.operations, "seq")
        writer.operations.end(uid, OperationState.FAILED, error=ERROR)
        before = writer.operations.get(uid)
        writer.operations.end(uid, OperationState.SUCCEEDED)
        writer.operations.advance(uid, LOADING, workflow="other")
        assert writer.operations.get(uid) == before
    assert before is not None
    assert (before.state, before.error) == (OperationState.FAILED, ERROR)


def test_one_operation_at_a_time_is_at_work_on_the_same(registry: Registry) -> None:
    """The next one may begin once that is done."""
    first, second = make_operation(), make_operation()
    with registry.write() as writer:
        assert writer.operations.begin(first, "a")
        assert not writer.operations.begin(second, "b")
        other = writer.operations.with_key(first.key or "")
        assert other is not None
        assert other.uid == first.uid
        writer.operations.end(first.uid, OperationState.FAILED, error=ERROR)
        assert writer.operations.begin(second, "b")


def test_pages_are_the_newest_first(registry: Registry) -> None:
    """With what is asked for only, and before a number."""
    with registry.write() as writer:
        operations = writer.operations
        a, b, c = begun(operations, "a", "b", "a")
        operations.end(b, OperationState.FAILED, error=ERROR)
        newest = operations.page(limit=2)
        assert [each.uid for each in newest] == [c, b]
        assert [each.uid for each in operations.page(limit=2, before=newest[-1].number)] == [a]
        assert [each.uid for each in operations.page(limit=9, workflow="a")] == [c, a]
        assert [each.uid for each in operations.page(limit=9, state=OperationState.FAILED)] == [b]
        assert operations.counts() == {OperationState.QUEUED: 0, OperationState.RUNNING: 2}
        assert (operations.under_way("a"), operations.under_way("b"), operations.under_way("a", "2.0")) == (c, "", "")


def test_operation_goes_over_with_the_version_that_it_claimed(registry: Registry) -> None:
    """While there is one, the operation ends with that and is left alone otherwise."""
    claimed = make_workflow("seq", lease="dead")
    with registry.write() as writer:
        operations = writer.operations
        (uid,) = begun(operations, "dead")
        assert [each.uid for each in operations.running()] == [uid]
        writer.claim_name(claimed)
        assert operations.running() == []
        assert writer.take_over(claimed.uid, old_lease="dead", new_lease="mine")
        found = operations.with_lease("mine")
        assert found is not None
        assert found.uid == uid
        assert operations.running() == []
        writer.remove(claimed.uid)
        assert [each.uid for each in operations.running()] == [uid]


def test_held_operations_are_those_of_one_process(registry: Registry) -> None:
    """Whatever else a request says; those that run are not among them."""
    said = '"holder": or \\"holder\\":'
    requests = {"a": {"holder": "lease"}, "b": {"reason": said}, "c": {"reason": "holder", "url": "holder.war"}}
    with registry.write() as writer:
        operations = writer.operations
        for workflow, request in requests.items():
            assert operations.begin(make_operation(workflow, request=request), None)
        assert [each.workflow for each in operations.held()] == ["a"]
        assert operations.take_next("mine", lambda operation: operation.workflow == "a") is not None
        assert list(operations.held()) == []


@contextmanager
def query_plans() -> Iterator[list[str]]:
    """Give what SQLite says of how it carries out the statements of the block."""
    plans: list[str] = []

    def look(
        _connection: Connection, cursor: Cursor, statement: str, parameters: tuple[object, ...], *_: object
    ) -> None:
        if statement.startswith(("SELECT", "UPDATE")):
            explained = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(detail for *_, detail in explained)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield plans
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_queue_is_read_in_its_order_by_an_index(registry: Registry) -> None:
    """Finding the first, counting, taking and listing neither sort nor scan, however many operations there are."""
    with registry.write() as writer:
        begun(writer.operations, *"abc")
        for workflow in "def":
            assert writer.operations.begin(make_operation(workflow), None)
    with query_plans() as plans:
        with registry.read() as reader:
            assert [each.workflow for each in reader.operations.queued()] == list("def")
            assert reader.operations.counts()[OperationState.QUEUED] == 3
            assert (reader.operations.cancelled(), list(reader.operations.held())) == (set(), [])
            assert len(reader.operations.page(limit=2, state=OperationState.QUEUED)) == 2
        with registry.write() as writer:
            taken = writer.operations.take_next("lease", lambda operation: operation.workflow != "d")
    assert taken is not None
    assert taken.workflow == "e"
    assert len(plans) >= 6
    assert [plan for plan in plans if not plan.startswith("SEARCH ")] == []


def test_old_operations_are_forgotten_and_unfinished_ones_are_not(tmp_path: Path) -> None:
    """Those of before a time, and the oldest of those that are too many."""
    make_registry(tmp_path).close()
    moments = (datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 20))
    registry = Registry(f"sqlite:///{tmp_path / 'wfmgmt.db'}", clock=moments.__next__)
    uids = []
    for workflow in "abcdef":
        with registry.write() as writer:
            uids += begun(writer.operations, workflow)
            if workflow != "a":
                writer.operations.end(uids[-1], OperationState.FAILED, error=ERROR)
    for at, most, left in (("2026-01-03", 100, "acdef"), ("2026-01-03", 3, "adef"), ("2026-01-09", 3, "a")):
        with registry.write() as writer:
            writer.operations.forget_older(at, most=most)
            assert [each.workflow for each in reversed(writer.operations.page(limit=10))] == list(left)
    registry.close()
