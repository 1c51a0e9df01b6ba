"""The audit trail: a table that only grows, each row hashed together with the one before it."""

from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Text, cast, func, insert, select

from wfmgmt.domain.audit import (
    FIRST_PREVIOUS_HASH,
    HASHED,
    AuditEvent,
    ChainBroken,
    Receipt,
    bounded,
    canonical_json,
    event_hash,
    hashed_line,
)
from wfmgmt.registry.segments import SegmentReader, segment_hashes
from wfmgmt.registry.tables import audit_event

_HASHED_COLUMNS = [cast(audit_event.c[name], Text) if name == "id" else audit_event.c[name] for name in HASHED]
#: Rows that are in memory at a time, and rows between two reports of a verification.
_AT_ONCE, _ROWS_BETWEEN_REPORTS = 1000, 20_000


def append(connection: Connection, now: str, event: AuditEvent) -> Receipt:
    """Add one event to the end of the chain, and return its receipt; the caller's transaction holds the write lock."""
    last = connection.execute(
        select(audit_event.c.id, audit_event.c.hash).order_by(audit_event.c.id.desc()).limit(1)
    ).one_or_none()
    number, previous_hash = (1, FIRST_PREVIOUS_HASH) if last is None else (last.id + 1, last.hash)
    columns = {
        "at": now,
        "actor": event.origin.actor,
        "address": event.origin.address,
        "request_id": event.origin.request_id,
        "action": event.action.value,
        "workflow": event.workflow,
        "outcome": event.outcome.value,
        "detail": canonical_json(bounded(event.detail)),
    }
    under_hash = {**columns, "id": str(number)}
    own_hash = event_hash(previous_hash, hashed_line(under_hash[name] for name in HASHED))
    values = {**columns, "id": number, "previous_hash": previous_hash, "hash": own_hash}
    connection.execute(insert(audit_event).values(values))
    return Receipt(number, own_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """The result of checking the chain of hashes.

    Attributes:
        events: Rows that fit, from the start.
        last_hash: Hash of the last of them. Kept elsewhere, it shows later whether rows were cut off the end.
        broken_at: Number of the first row that does not fit; None when all do.
        reason: What is wrong with that row.
    """

    events: int
    last_hash: str
    broken_at: int | None = None
    reason: str = ""


def verify(
    connection: Connection,
    receipts: Collection[Receipt] = (),
    *,
    segments: Path = Path(),
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
) -> ChainReport:
    """Recompute the chain from its first row and stop at the first one that does not fit.

    Args:
        connection: In a transaction.
        receipts: Of rows that were there, whose hashes may be cut off behind some digits.
        segments: Folder of the files with the rows that were archived.
        on_rows: Gets how many rows fit so far, and how many there are, now and then.
    """
    expected: dict[int, list[str]] = {}
    for receipt in receipts:
        expected.setdefault(receipt.id, []).append(receipt.hash)
    total = connection.execute(select(func.max(audit_event.c.id))).scalar() or 0
    events, last_hash = 0, FIRST_PREVIOUS_HASH

    def report(broken_at: int | None = None, reason: str = "") -> ChainReport:
        return ChainReport(events=events, last_hash=last_hash, broken_at=broken_at, reason=reason)

    try:
        with closing(walk(connection, segments)) as fitting:
            for number, own_hash in fitting:
                if number in expected and not all(map(own_hash.startswith, expected.pop(number))):
                    return report(number, "it is not the row of the receipt")
                events, last_hash = number, own_hash
                if events % _ROWS_BETWEEN_REPORTS == 0:
                    on_rows(events, total)
    except ChainBroken as broken:
        return report(broken.number, broken.reason)
    if expected:
        reason = "it was there, and is missing: rows were cut off the end, or the database is another one"
        return report(min(expected), reason)
    return report()


def walk(connection: Connection, segments: Path = Path()) -> Generator[tuple[int, str]]:
    """Yield number and hash of each event, from the first one, as long as they fit: what was archived, then the rows.

    Args:
        connection: In a transaction.
        segments: Folder of the files with the rows that were archived.

    Raises:
        ChainBroken: The next one does not.
    """
    last = (0, FIRST_PREVIOUS_HASH)
    for segment in SegmentReader(connection).all():
        if (segment.first_id - 1, segment.previous_hash) != last:
            raise ChainBroken(segment.first_id, "its segment does not continue what is before it")
        for last in segment_hashes(segment, segments):
            yield last
    for number, own_hash, _ in fitting_rows(connection, *last):
        yield number, own_hash


def fitting_rows(
    connection: Connection, last: int, last_hash: str, until: int | None = None
) -> Generator[tuple[int, str, bytes]]:
    """Yield number, hash and what is under it, of each row of the table behind one, as long as they fit.

    Args:
        connection: In a transaction.
        last: Number of the row before the first one.
        last_hash: Its hash.
        until: Number of the last one; all unless given.

    Raises:
        ChainBroken: The next one does not.
    """
    columns = (audit_event.c.id, audit_event.c.previous_hash, audit_event.c.hash, *_HASHED_COLUMNS)
    statement = select(*columns).where(audit_event.c.id > last).order_by(audit_event.c.id)
    if until is not None:
        statement = statement.where(audit_event.c.id <= until)
    with connection.execution_options(yield_per=_AT_ONCE).execute(statement) as rows:
        for row in rows:
            number, previous_hash, own_hash = row[:3]
            if number != last + 1:
                raise ChainBroken(number, f"expected row {last + 1}: rows before it are missing")
            if previous_hash != last_hash:
                raise ChainBroken(number, "does not name the hash of the row before it")
            line = hashed_line(row[3:])
            if own_hash != event_hash(last_hash, line):
                raise ChainBroken(number, "its columns do not give its hash")
            yield number, own_hash, line
            last, last_hash = number, own_hash
