"""The audit trail as the service shows it, as frozen values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE

Outcome = Literal["succeeded", "failed"]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """An event of the audit trail.

    Attributes:
        id: Its number.
        at: When it was recorded.
        actor: Who asked.
        address: From where; empty when that is not known.
        request_id: Of the request; empty without one.
        action: What was done.
        workflow: Name of the workflow; may be empty.
        outcome: How it ended.
        detail: More about it.
        previous_hash: Hash of the event before.
        hash: Its own.
    """

    id: int
    at: datetime
    actor: str
    address: str
    request_id: str
    action: str
    workflow: str
    outcome: Outcome
    detail: Mapping[str, Any]
    previous_hash: str
    hash: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some events.

    Attributes:
        total: How many there are in all; None when that takes too long to count.
        next_before_id: For the next page; None with the last one.
        archived: Events 1 to this one are in files, and on no page; 0 for none.
        events: In the order that was asked for; there may be fewer than wanted.
    """

    total: int | None
    next_before_id: int | None
    archived: int
    events: tuple[AuditEvent, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class AuditHead:
    """The newest event: number (0 before the first one), hash and time."""

    id: int
    hash: str | None
    at: datetime | None
