"""The audit trail: a table that only grows, each row hashed together with the one before it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH, AuditEvent, Receipt, bounded, canonical_json, event_hash
from wfmgmt.registry.tables import audit_event

#: The columns under the hash, besides the row's number.
HASHED_COLUMNS = ("at", "actor", "address", "request_id", "action", "workflow", "outcome", "detail")


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
    own_hash = event_hash(previous_hash, {"id": str(number), **columns})
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


def verify(connection: Connection, receipts: Collection[Receipt] = ()) -> ChainReport:
    """Recompute the chain from its first row and stop at the first one that does not fit.

    Args:
        connection: In a transaction.
        receipts: Of rows that were there, whose hashes may be cut off behind some digits.
    """
    expected = {receipt.id: receipt.hash for receipt in receipts}
    previous_hash, events = FIRST_PREVIOUS_HASH, 0
    for number, problem, own_hash in _walk(connection):
        is_another = not own_hash.startswith(expected.pop(number, ""))
        reason = problem or ("it is not the row of the receipt" if is_another else "")
        if reason:
            return ChainReport(events=events, last_hash=previous_hash, broken_at=number, reason=reason)
        previous_hash, events = own_hash, events + 1
    if expected:
        reason = "it was there, and is missing: rows were cut off the end, or the database is another one"
        return ChainReport(events=events, last_hash=previous_hash, broken_at=min(expected), reason=reason)
    return ChainReport(events=events, last_hash=previous_hash)


def _walk(connection: Connection) -> Iterator[tuple[int, str, str]]:
    previous_hash, expected = FIRST_PREVIOUS_HASH, 1
    rows = connection.execution_options(yield_per=1000).execute(select(audit_event).order_by(audit_event.c.id))
    for row in rows.mappings():
        columns = {"id": str(row["id"])} | {name: str(row[name]) for name in HASHED_COLUMNS}
        reason = ""
        if row["id"] != expected:
            reason = f"expected row {expected}: rows before it are missing"
        elif row["previous_hash"] != previous_hash:
            reason = "does not name the hash of the row before it"
        elif row["hash"] != event_hash(previous_hash, columns):
            reason = "its columns do not give its hash"
        yield row["id"], reason, row["hash"]
        previous_hash, expected = row["hash"], expected + 1
