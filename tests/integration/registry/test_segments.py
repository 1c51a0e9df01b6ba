"""What was archived of the audit trail, on SQLite and PostgreSQL: triggers, and a chain over files and rows."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.records import make_event
from wfmgmt.domain.audit import Origin, Receipt
from wfmgmt.registry.audit_reading import EventFilter
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.segments import Segment
from wfmgmt.services.audit_archiving import AuditArchiver

FUTURE = "2100-01-01T00:00:00.000000Z"


def record(registry: Registry, count: int) -> None:
    """Record so many events."""
    for number in range(count):
        with registry.write() as writer:
            writer.record(make_event(f"w{number}"))


def archive(registry: Registry, folder: Path, before: str = FUTURE, max_rows: int = 100) -> list[Segment]:
    """Archive what is from before a time."""
    folder.mkdir(exist_ok=True)
    return list(AuditArchiver(registry, folder, origin=Origin(actor="cli:test"), max_rows=max_rows).archive(before))


def execute(database: str, statement: str, **values: object) -> None:
    """Run a statement as somebody with an SQL prompt."""
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            connection.execute(text(statement), values)
    finally:
        engine.dispose()


def add_segment(database: str, registry: Registry, first: int, last: int, **changed: str) -> None:
    """Add a segment with these rows as somebody with an SQL prompt."""
    with registry.read() as reader:
        events = {number: reader.events.get(number) for number in (first, last)}
    values = {
        "previous": getattr(events[first], "previous_hash", "0" * 64),
        "hash": getattr(events[last], "hash", "a" * 64),
        **changed,
    }
    execute(
        database,
        "INSERT INTO audit_segment (first_id, last_id, previous_hash, hash, file, sha256, at, actor)"
        " VALUES (:first, :last, :previous, :hash, 'f', :sha256, '', '')",
        first=first,
        last=last,
        sha256="a" * 64,
        **values,
    )


def test_archived_rows_are_in_a_file_under_the_same_chain(registry: Registry, tmp_path: Path) -> None:
    """Each line is what is under the hash of its row; the newest row stays, and archiving has a row itself."""
    record(registry, 5)
    before = registry.verify_audit()
    with registry.read() as reader:
        wanted = reader.events.get(2)
    (segment,) = archive(registry, tmp_path / "audit")
    lines = gzip.decompress((tmp_path / "audit" / segment.file).read_bytes()).splitlines()
    previous = "0" * 64
    for line in lines:
        previous = hashlib.sha256(previous.encode() + b"\n" + line).hexdigest()
    assert (len(lines), previous, segment.last_id) == (4, segment.hash, 4)
    after = registry.verify_audit([Receipt(5, before.last_hash)], segments=tmp_path / "audit")
    assert (after.events, after.broken_at) == (6, None)
    assert wanted is not None
    assert registry.verify_audit([Receipt(2, wanted.hash)], segments=tmp_path / "audit").broken_at is None
    assert registry.verify_audit([Receipt(2, "a" * 64)], segments=tmp_path / "audit").broken_at == 2
    with registry.read() as reader:
        assert [reader.events.get(4), reader.segments.of(5)] == [None, None]
        last = reader.events.head()
    assert last is not None
    assert (last.action, last.detail["segment"]["sha256"]) == ("archive", segment.sha256)


def test_archiving_goes_on_where_it_ended(registry: Registry, tmp_path: Path) -> None:
    """In files of so many rows; up to the first row that is not from before, and never the newest one."""
    record(registry, 7)
    assert archive(registry, tmp_path, before="2020-01-01") == []
    first = archive(registry, tmp_path, max_rows=4)
    assert [(each.first_id, each.last_id) for each in first] == [(1, 4), (5, 6)]
    second = archive(registry, tmp_path)
    assert [(each.first_id, each.last_id) for each in second] == [(7, 8)]
    assert second[0].previous_hash == first[1].hash
    report = registry.verify_audit(segments=tmp_path)
    assert (report.events, report.broken_at) == (10, None)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_event WHERE id = 5",
        "DELETE FROM audit_event",
        "UPDATE audit_event SET actor = 'x' WHERE id = 5",
        "INSERT INTO audit_event SELECT 3, at, '', '', '', action, '', outcome, '', hash, hash, 1 FROM audit_event",
        "UPDATE audit_segment SET last_id = 5",
        "UPDATE audit_segment SET sha256 = hash",
        "DELETE FROM audit_segment",
        "INSERT INTO audit_segment SELECT * FROM audit_segment",
    ],
    ids=["row", "all rows", "update", "archived row", "more rows", "other file", "segment", "again"],
)
def test_triggers_let_go_of_nothing_that_no_segment_has(
    registry: Registry, database: str, tmp_path: Path, statement: str
) -> None:
    """Nor does a segment change or go."""
    record(registry, 5)
    archive(registry, tmp_path)
    with pytest.raises(DBAPIError, match=r"append-only|does not continue the chain"):
        execute(database, statement)
    assert registry.verify_audit(segments=tmp_path).events == 6


@pytest.mark.parametrize(
    ("rows", "changed"),
    [
        ((6, 6), {}),
        ((5, 7), {}),
        ((5, 8), {}),
        ((5, 5), {"previous": "b" * 64}),
        ((5, 5), {"hash": "b" * 64}),
        ((4, 5), {}),
    ],
    ids=["gap", "the newest row", "rows that are not there", "another chain", "another end", "overlap"],
)
def test_segment_that_does_not_continue_the_chain_is_refused(
    registry: Registry, database: str, tmp_path: Path, rows: tuple[int, int], changed: dict[str, str]
) -> None:
    """As far as the rows can tell; one that does is taken."""
    record(registry, 5)
    archive(registry, tmp_path)
    record(registry, 1)
    with pytest.raises(DBAPIError, match="does not continue the chain"):
        add_segment(database, registry, rows[0], rows[1], **changed)
    add_segment(database, registry, 5, 5)
    execute(database, "DELETE FROM audit_event WHERE id <= 5")


def _lose(file: Path) -> None:
    file.unlink()


def _change(file: Path) -> None:
    lines = gzip.decompress(file.read_bytes()).replace(b"anonymous", b"nobodyyyy", 1)
    file.write_bytes(gzip.compress(lines))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(_lose, "is missing"), (_change, "is not what was archived"), (_cut, "is not what was archived")],
    ids=["missing", "changed", "cut"],
)
def test_verification_names_a_file_that_is_not_what_was_archived(
    registry: Registry, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    """With the rows that it has; those before it fit."""
    record(registry, 7)
    (tmp_path / "moved").mkdir()
    second = archive(registry, tmp_path, max_rows=3)[1]
    damage(tmp_path / second.file)
    report = registry.verify_audit(segments=tmp_path)
    assert (report.events, report.broken_at) == (3, 4)
    assert report.reason == f"the file audit-0000000004-0000000006.ndjson.gz, which has the rows 4 to 6, {reason}"


def test_file_and_segment_that_were_computed_anew_do_not_fit_the_rows(
    registry: Registry, database: str, tmp_path: Path
) -> None:
    """Who gets past the triggers changes the file, its digest and the segment's hash, and the next row shows it."""
    record(registry, 5)
    (segment,) = archive(registry, tmp_path)
    file = tmp_path / segment.file
    _change(file)
    last = "0" * 64
    for line in gzip.decompress(file.read_bytes()).splitlines():
        last = hashlib.sha256(last.encode() + b"\n" + line).hexdigest()
    drop = "DROP TRIGGER audit_segment_refuses_update"
    execute(database, drop if "sqlite" in database else "ALTER TABLE audit_segment DISABLE TRIGGER USER")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    execute(database, "UPDATE audit_segment SET sha256 = :sha256", sha256=sha256)
    report = registry.verify_audit(segments=tmp_path)
    assert (report.broken_at, "does not end with the hash of row 4" in report.reason) == (1, True)
    execute(database, "UPDATE audit_segment SET hash = :last", last=last)
    report = registry.verify_audit(segments=tmp_path)
    assert (report.broken_at, report.reason) == (5, "does not name the hash of the row before it")


def test_pages_say_what_was_archived(registry: Registry, tmp_path: Path) -> None:
    """They have none of it, and totals do not count it, also while rows of a segment are still in the table."""
    record(registry, 5)
    archive(registry, tmp_path)
    with registry.write() as writer:
        rows = writer.events.archivable(FUTURE)
        assert rows is not None
        assert rows[:2] == (5, 5)
        five = writer.events.get(5)
        assert five is not None
        writer.segments.add(rows, last_hash=five.hash, file="f", sha256="a" * 64, actor="x")
    with registry.read() as reader:
        assert reader.events.get(5) is None
        for is_ascending in (False, True):
            page = reader.events.page(EventFilter(), limit=10, is_ascending=is_ascending)
            assert ([each.id for each in page.events], page.archived) == ([6], 5)
        registered = EventFilter(action="register")
        assert list(reader.events.page(registered, limit=10).events) == []
        assert (reader.events.total(EventFilter()), reader.events.total(registered)) == (1, 0)
