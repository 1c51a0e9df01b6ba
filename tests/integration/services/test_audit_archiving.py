"""Archiving the audit trail, killed anywhere, and beside others that write or archive."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.records import make_database, make_event
from tests.support.service import wait_until
from wfmgmt.domain.audit import ChainBroken, Origin
from wfmgmt.errors import WfmgmtError
from wfmgmt.errors.commands import ArchivingRefused
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.segments import Segment
from wfmgmt.services import audit_archiving
from wfmgmt.services.audit_archiving import AuditArchiver

CHECKOUT = Path(__file__).resolve().parents[3]
ORIGIN = Origin(actor="cli:test")
LONG_AGO, BEFORE = datetime(2020, 1, 1, tzinfo=UTC), "2021-01-01T00:00:00.000000Z"

#: Archives copies of an instance, each in a process that is killed at a later use of a file or statement.
KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from wfmgmt.domain.audit import Origin
from wfmgmt.registry.registry import Registry
from wfmgmt.services.audit_archiving import AuditArchiver

def kill_at(number):
    left = itertools.count(number, -1)

    def count(*_):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def count_changes(connection, cursor, statement, *_):
        statement.startswith(("INSERT", "DELETE")) and count()

    sys.addaudithook(lambda name, arguments: name in ("open", "os.rename", "os.remove", "fcntl.flock") and count())
    event.listen(Engine, "before_cursor_execute", count_changes)
    event.listen(Engine, "commit", count)

for number in itertools.count():
    copy = Path(sys.argv[2], str(number))
    shutil.copytree(sys.argv[1], copy)
    child = os.fork()
    if child == 0:
        registry = Registry(copy / "wfmgmt.db")
        kill_at(number)
        for _ in AuditArchiver(registry, copy / "audit", origin=Origin(actor="a"), max_rows=4).archive(sys.argv[3]):
            pass
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Give an instance with six old events and a new one."""
    folder = tmp_path / "instance"
    (folder / "audit").mkdir(parents=True)
    make_database(folder / "wfmgmt.db")
    with closing(Registry(folder / "wfmgmt.db", clock=lambda: LONG_AGO)) as registry:
        record(registry, 6)
    with closing(Registry(folder / "wfmgmt.db")) as registry:
        record(registry, 1)
    return folder


@pytest.fixture(name="registry")
def _registry(folder: Path) -> Iterator[Registry]:
    with closing(Registry(folder / "wfmgmt.db")) as registry:
        yield registry


def record(registry: Registry, count: int) -> None:
    """Record so many events."""
    for number in range(count):
        with registry.write() as writer:
            writer.record(make_event(f"w{number}"))


def archive(registry: Registry, folder: Path, max_rows: int = 4) -> list[Segment]:
    """Archive the old events into the folder of an instance."""
    return list(AuditArchiver(registry, folder / "audit", origin=ORIGIN, max_rows=max_rows).archive(BEFORE))


def ids(folder: Path) -> list[int]:
    """Return the numbers of the rows in the table."""
    with closing(sqlite3.connect(folder / "wfmgmt.db")) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM audit_event ORDER BY id")]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of what was archived."""
    return {path.name: path.read_bytes() for path in (folder / "audit").iterdir()}


def test_archiving_that_is_killed_anywhere_loses_nothing_and_is_ended_by_the_next_one(
    folder: Path, tmp_path: Path
) -> None:
    """Whenever that was, the chain fits as it is; afterwards files and rows are those of one that was not killed."""
    copies = tmp_path / "copies"
    copies.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, folder, copies, BEFORE], cwd=CHECKOUT, check=True)
    *killed, finished = sorted(copies.iterdir(), key=lambda copy: int(copy.name))
    assert (len(killed) > 20, ids(finished), len(contents(finished))) == (True, [7, 8, 9], 2)
    for copy in killed:
        with closing(Registry(copy / "wfmgmt.db")) as registry:
            found = registry.verify_audit(segments=copy / "audit")
            assert (found.broken_at, found.events in (7, 8, 9)) == (None, True)
            archive(registry, copy)
            assert registry.verify_audit(segments=copy / "audit").events == 9
        assert (ids(copy), contents(copy)) == (ids(finished), contents(finished))


def test_file_in_the_way_is_not_overwritten(registry: Registry, folder: Path) -> None:
    """It may be of a database that was replaced by a backup; nothing is archived."""
    file = folder / "audit" / "audit-0000000001-0000000004.ndjson.gz"
    file.write_bytes(b"other")
    with pytest.raises(ArchivingRefused, match="is there already, and has other rows"):
        archive(registry, folder)
    assert (contents(folder), ids(folder)) == ({file.name: b"other"}, list(range(1, 8)))


def test_rows_that_do_not_fit_are_not_archived(registry: Registry, folder: Path) -> None:
    """What was archived before the first of them stays archived."""
    with closing(sqlite3.connect(folder / "wfmgmt.db")) as connection, connection:
        connection.execute("DROP TRIGGER audit_event_refuses_update")
        connection.execute("UPDATE audit_event SET actor = 'x' WHERE id = 6")
    with pytest.raises(ChainBroken, match="row 6 does not fit: its columns do not give its hash"):
        archive(registry, folder)
    assert (list(contents(folder)), ids(folder)) == (["audit-0000000001-0000000004.ndjson.gz"], [5, 6, 7, 8])


def test_archiving_beside_another_one_is_refused(
    registry: Registry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may be on another host, where this one's lock says nothing."""
    monkeypatch.setattr(audit_archiving, "_ROWS_BETWEEN_REPORTS", 1)

    def archive_elsewhere(_done: int, _total: int) -> None:
        list(AuditArchiver(registry, folder / "audit", origin=ORIGIN, target=tmp_path).archive(BEFORE))

    archiver = AuditArchiver(registry, folder / "audit", origin=ORIGIN, on_rows=archive_elsewhere)
    with pytest.raises(ArchivingRefused, match="somebody else archived rows"):
        list(archiver.archive(BEFORE))
    assert registry.verify_audit(segments=folder / "audit").events == 8


def test_file_is_found_where_it_was_written_and_in_the_folder_of_the_instance(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    """So it can be moved there, or come back with a backup."""
    (segment,) = AuditArchiver(registry, folder / "audit", origin=ORIGIN, target=tmp_path).archive(BEFORE)
    assert segment.file == str(tmp_path / segment.file_name)
    assert registry.verify_audit(segments=folder / "audit").broken_at is None
    (tmp_path / segment.file_name).rename(folder / "audit" / segment.file_name)
    assert registry.verify_audit(segments=folder / "audit").broken_at is None
    assert registry.verify_audit(segments=tmp_path / "other").broken_at == 1


def test_others_write_while_rows_are_archived(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they record is at the end of the chain."""
    monkeypatch.setattr(audit_archiving, "_REMOVED_AT_ONCE", 2)
    stop, failed = threading.Event(), []

    def write() -> None:
        with closing(Registry(folder / "wfmgmt.db")) as other:
            while not stop.is_set():
                try:
                    record(other, 1)
                except WfmgmtError as error:
                    failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(ids(folder)) > 10, what="other events")
        archive(registry, folder, max_rows=3)
        count = max(ids(folder))
        wait_until(lambda: max(ids(folder)) > count, what="an event after archiving")
    finally:
        stop.set()
        writer.join()
    assert (failed, ids(folder)[0]) == ([], 7)
    assert registry.verify_audit(segments=folder / "audit").events == max(ids(folder))
