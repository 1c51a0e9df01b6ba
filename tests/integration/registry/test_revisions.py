"""Revisions of the registry on SQLite and PostgreSQL: each change has a new one, and readers miss none."""

import threading
from collections.abc import Iterable

import pytest
from alembic import command

from tests.support.records import make_event, make_workflow, register
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry import targets, writing
from wfmgmt.registry.migrations import alembic_config
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import inspect, locked_connection, upgrade


def statuses(reader: Reader, uids: Iterable[str]) -> dict[str, WorkflowStatus]:
    """Return the status of each version of workflows."""
    found = reader.targets([*uids])
    return {uid: status for target in found for uid, status in target.statuses.items()}


def test_each_change_has_a_new_revision(registry: Registry) -> None:
    """Claim, ready, unregistering, another lease and the removal: who looks after each one sees it, and only it."""
    new = make_workflow("seq")
    seen = []

    def look(since: int) -> int:
        with registry.read() as reader:
            changes = reader.changes(since)
            seen.append((statuses(reader, changes.workflows), changes.removed))
        assert changes.number == since + 1
        return changes.number

    with registry.write() as writer:
        writer.claim_name(new)
    revision = look(0)
    with registry.write() as writer:
        assert writer.mark_ready(new.uid)
    revision = look(revision)
    with registry.write() as writer:
        assert writer.mark_unregistering(new.uid, "lease")
    revision = look(revision)
    with registry.write() as writer:
        assert writer.take_over(new.uid, old_lease="lease", new_lease="other")
    revision = look(revision)
    with registry.write() as writer:
        assert writer.remove(new.uid)
    look(revision)
    unregistering = ({new.uid: WorkflowStatus.UNREGISTERING}, ())
    assert seen == [
        ({new.uid: WorkflowStatus.REGISTERING}, ()),
        ({new.uid: WorkflowStatus.READY}, ()),
        unregistering,
        unregistering,
        ({}, (new.uid,)),
    ]


def test_nothing_is_new_to_one_who_is_up_to_date(registry: Registry) -> None:
    """Neither is what was rolled back."""
    register(registry, "a")
    with registry.read() as reader:
        number = reader.changes(0).number
    with pytest.raises(ZeroDivisionError), registry.write() as writer:
        writer.claim_name(make_workflow("b"))
        raise ZeroDivisionError
    with registry.read() as reader:
        changes = reader.changes(number)
    assert (changes.number, changes.workflows, changes.removed, changes.has_gap) == (number, (), (), False)


def test_reader_misses_no_revision_of_concurrent_writers(registry: Registry) -> None:
    """A writer that began later does not commit a larger revision before one that holds a smaller one."""
    holds, may_commit = threading.Event(), threading.Event()
    first, second = make_workflow("first"), make_workflow("second")

    def write_slowly() -> None:
        with registry.write() as writer:
            writer.claim_name(first)
            holds.set()
            assert may_commit.wait(10)

    def write() -> None:
        with registry.write() as writer:
            writer.claim_name(second)

    slow, fast = threading.Thread(target=write_slowly), threading.Thread(target=write)
    slow.start()
    assert holds.wait(10)
    fast.start()
    fast.join(0.3)
    assert fast.is_alive()
    with registry.read() as reader:
        assert reader.changes(0).number == 0
    may_commit.set()
    slow.join()
    fast.join()
    with registry.read() as reader:
        assert set(reader.changes(0).workflows) == {first.uid, second.uid}
        assert set(reader.changes(1).workflows) == {second.uid}


def test_counter_alone_keeps_revisions_in_order(database: str, registry: Registry) -> None:
    """Also a transaction that does not take the write lock of PostgreSQL waits for the revision before its own."""
    if not database.startswith("postgresql"):
        pytest.skip("SQLite has one writer at a time in any case")
    with registry.write() as writer, registry._read_engine.connect() as other:  # noqa: SLF001 - one without the lock
        writer.claim_name(make_workflow("seq"))
        other.exec_driver_sql("SET TRANSACTION READ WRITE")
        other.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        with pytest.raises(Exception, match="lock timeout"):
            other.execute(writing._NEXT_CHANGE)  # noqa: SLF001 - the very statement of a writer


def test_removals_are_remembered_for_a_bounded_number_of_revisions(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that is further behind gets a gap, and so does one with a larger number than there is."""
    for module in (targets, writing):
        monkeypatch.setattr(module, "MAX_REMOVALS", 8)
    gone = []
    for name in ("a", "b", "c", "d"):
        register(registry, name)
        with registry.write() as writer:
            uid = writer.uid(name) or ""
            assert writer.mark_unregistering(uid, "lease")
            assert writer.remove(uid)
        gone.append(uid)
    with registry.read() as reader:
        newest = reader.changes(0).number
        assert reader.changes(0).has_gap
        assert reader.changes(newest - 9).has_gap
        assert reader.changes(newest + 1).has_gap
        changes = reader.changes(newest - 8)
    assert not changes.has_gap
    assert set(changes.removed) == set(gone[-2:])


def test_slices_give_every_workflow_once(registry: Registry) -> None:
    """Those of any status, and none twice; the last slice says so, also when it is full."""
    register(registry, "a", "b", "c")
    half = make_workflow("half")
    with registry.write() as writer:
        writer.claim_name(half)
    with registry.read() as reader:
        uids = reader.uids()
        first = reader.slice_after(0, limit=3)
        assert first.last is not None
        second = reader.slice_after(first.last, limit=3)
        assert second.last is None
        found = {target.uid: target.change for target in reader.targets([*uids])}
    assert len(first.changes) == 3
    assert {**first.changes, **second.changes} == found
    assert found.keys() == uids


def test_migration_goes_down_and_up_on_a_filled_database(database: str, registry: Registry) -> None:
    """Registrations and the identity stay; the identity is found in the older schema, too."""
    register(registry, "a", "b")
    with registry.write() as writer:
        identity = writer.identity()
        writer.mark_unregistering(writer.uid("b") or "", "lease")
        writer.record(make_event())
    with registry.read() as reader:
        before = statuses(reader, reader.slice_after(0, limit=10).changes)
    registry.close()
    with locked_connection(database) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    assert inspect(database).identity == identity
    upgrade(database)
    assert inspect(database).identity == identity
    with registry.read() as reader:
        assert statuses(reader, reader.slice_after(0, limit=10).changes) == before
        assert reader.changes(0).number == 0
        assert reader.describe("a") is not None
    register(registry, "c")
    with registry.read() as reader:
        assert reader.changes(0).workflows == (reader.uid("c"),)
