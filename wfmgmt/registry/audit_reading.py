"""Queries over the audit trail, each of which looks at a bounded number of rows, however many there are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, false, func, select

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.registry.scopes import within
from wfmgmt.registry.tables import audit_event as table

#: Numbers of events are not larger.
MAX_NUMBER = 2**31 - 1
#: Rows that one page looks at, at most; with several conditions it may have fewer than wanted, or none, and go on.
MAX_LOOKED_AT = 10_000
#: Rows up to which they are counted.
MAX_COUNTED = 10_000
#: Rows next to a moment of which the outermost counts: the clock may have been set back meanwhile.
_MAX_DISORDER = 1000
#: Columns by which events are found, the one first that leaves fewest.
_BY_VALUE = ("request_id", "workflow", "address", "actor", "action", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """A row of the audit trail.

    Attributes:
        id: Its number.
        at: When it was recorded.
        actor: Who asked.
        address: From where; empty when that is not known.
        request_id: Of the request; empty without one.
        action: What was done.
        workflow: Name of the workflow; may be empty.
        outcome: `succeeded` or `failed`.
        detail: Plain JSON.
        previous_hash: Hash of the row before.
        hash: Its own.
    """

    id: int
    at: str
    actor: str
    address: str
    request_id: str
    action: str
    workflow: str
    outcome: str
    detail: Mapping[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; None and an empty text for all.

    Attributes:
        request_id: Of this request.
        workflow: About this workflow.
        address: From this address.
        actor: Of this actor.
        action: Of this kind.
        outcome: That ended so.
        since: Recorded at this time or later, as the table has times.
        until: Recorded before this time.
        text: With this text in their detail, in any case of letters; on SQLite of ASCII letters.
        scope: About workflows that exist for the client.
    """

    request_id: str | None = None
    workflow: str | None = None
    address: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: str | None = None
    until: str | None = None
    text: str = ""
    scope: Scope = field(default=EVERYTHING)

    @property
    def values(self) -> dict[str, str]:
        """The columns that have to have certain values, the one first that leaves fewest rows."""
        return {name: value for name in _BY_VALUE if (value := getattr(self, name)) is not None}

    @property
    def is_simple(self) -> bool:
        """Whether one index finds exactly the events."""
        rest = (self.since, self.until, self.text or None, self.scope.patterns)
        return len(self.values) <= 1 and all(each is None for each in rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events.

    Attributes:
        events: In the order that was asked for.
        next_id: Where the next page begins; None when this is the last one. There may be one although this page has
            fewer events than wanted.
        total: How many there are in all; None when that takes too long to count, or was not asked for.
    """

    events: Sequence[RecordedEvent]
    next_id: int | None
    total: int | None = None


class EventReader:
    """The audit trail as one transaction sees it; made by `Reader.events` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, number: int) -> RecordedEvent | None:
        """Return one event, None when there is none of that number."""
        if number > MAX_NUMBER:
            return None
        row = self._connection.execute(select(table).where(table.c.id == number)).mappings().one_or_none()
        return None if row is None else _event(row)

    def head(self) -> RecordedEvent | None:
        """Return the newest event, None when there is none."""
        row = self._connection.execute(select(table).order_by(table.c.id.desc()).limit(1)).mappings().one_or_none()
        return None if row is None else _event(row)

    def page(
        self, wanted: EventFilter, *, limit: int, start: int | None = None, is_ascending: bool = False
    ) -> EventPage:
        """Return a page of events, the newest first.

        Args:
            wanted: Which.
            limit: Events at most, >= 1.
            start: The number beyond which it begins: below it, or above it when ascending; the end unless given.
            is_ascending: Whether the oldest come first.
        """
        order = table.c.id.asc() if is_ascending else table.c.id.desc()
        bounds = [*self._moments(wanted), *self._beyond(start, is_ascending=is_ascending)]
        values = wanted.values
        leading = [table.c[name] == value for name, value in list(values.items())[:1]]
        others = [
            *(table.c[name] == value for name, value in list(values.items())[1:]),
            *within(self._connection, table.c.workflow, wanted.scope),
            *([table.c.detail.icontains(wanted.text, autoescape=True)] if wanted.text else []),
        ]
        looked_at = select(table.c.id).where(*leading, *bounds).order_by(order).limit(MAX_LOOKED_AT).subquery()
        farthest = func.max(looked_at.c.id) if is_ascending else func.min(looked_at.c.id)
        count, last = self._connection.execute(select(func.count(), farthest).select_from(looked_at)).one()
        if not count:
            return EventPage(events=(), next_id=None)
        window = table.c.id <= last if is_ascending else table.c.id >= last
        statement = select(table).where(*leading, *bounds, *others, window).order_by(order).limit(limit + 1)
        events = [_event(row) for row in self._connection.execute(statement).mappings()]
        if len(events) > limit:
            next_id: int | None = events[limit - 1].id
        else:
            next_id = last if count == MAX_LOOKED_AT else None
        return EventPage(events=events[:limit], next_id=next_id)

    def total(self, wanted: EventFilter) -> int | None:
        """Return how many events there are; None when that takes too long to count."""
        if not wanted.is_simple:
            return None
        if not wanted.values:  # Numbers have no gaps.
            head = self.head()
            return 0 if head is None else head.id
        conditions = [table.c[name] == value for name, value in wanted.values.items()]
        counted = select(table.c.id).where(*conditions).limit(MAX_COUNTED + 1).subquery()
        count: int = self._connection.execute(select(func.count()).select_from(counted)).scalar_one()
        return None if count > MAX_COUNTED else count

    def _beyond(self, start: int | None, *, is_ascending: bool) -> list[ColumnElement[bool]]:
        if start is None:
            return []
        return [table.c.id > start if is_ascending else table.c.id < start]

    def _moments(self, wanted: EventFilter) -> list[ColumnElement[bool]]:
        """Return the conditions of times, with the numbers between which the events are."""
        found: list[ColumnElement[bool]] = []
        if wanted.since is not None:
            near = select(table.c.id).where(table.c.at >= wanted.since).order_by(table.c.at).limit(_MAX_DISORDER)
            first = self._connection.execute(select(func.min(near.subquery().c.id))).scalar()
            found += [table.c.at >= wanted.since, false() if first is None else table.c.id >= first]
        if wanted.until is not None:
            near = select(table.c.id).where(table.c.at < wanted.until).order_by(table.c.at.desc()).limit(_MAX_DISORDER)
            last = self._connection.execute(select(func.max(near.subquery().c.id))).scalar()
            found += [table.c.at < wanted.until, table.c.id <= (last or 0)]
        return found


def _event(row: RowMapping) -> RecordedEvent:
    values = {each.name: row[each.name] for each in fields(RecordedEvent)}
    return RecordedEvent(**{**values, "detail": json.loads(values["detail"])})
