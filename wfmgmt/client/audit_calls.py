"""The requests about the audit trail; they belong to those of `calls`."""

from datetime import datetime

from wfmgmt.client.audit import AuditEvent, AuditHead, AuditPage, Outcome
from wfmgmt.client.call import Call, reader, reading


def events(
    *,
    workflow: str | None = None,
    action: str | None = None,
    actor: str | None = None,
    outcome: Outcome | None = None,
    address: str | None = None,
    request_id: str | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
    text: str | None = None,
    limit: int | None = None,
    before_id: int | None = None,
    oldest_first: bool = False,
) -> Call[AuditPage]:
    """List events of the audit trail, the newest first.

    Args:
        workflow: About this one.
        action: Of this kind, like `register`.
        actor: Of this one, like `token:ci`.
        outcome: That ended so.
        address: From there.
        request_id: Of the request with this id.
        after: Recorded then or later.
        before: Recorded before.
        text: With this text in the detail.
        limit: Events at most, 1 to 1000; 100 unless given.
        before_id: The `next_before_id` of the page before.
        oldest_first: The other order.
    """
    query = {
        "workflow": workflow,
        "action": action,
        "actor": actor,
        "outcome": outcome,
        "address": address,
        "request_id": request_id,
        "after": None if after is None else after.isoformat(),
        "before": None if before is None else before.isoformat(),
        "q": text,
        "limit": limit,
        "before_id": before_id,
        "order": "asc" if oldest_first else None,
    }
    return reading("/audit", reader(AuditPage), **query)


def event(number: int) -> Call[AuditEvent]:
    """Return one event of the audit trail."""
    return reading(f"/audit/{number}", reader(AuditEvent))


def audit_head() -> Call[AuditHead]:
    """Return the newest event's number and hash, by which a cut tail is noticed later."""
    return reading("/audit/head", reader(AuditHead))
