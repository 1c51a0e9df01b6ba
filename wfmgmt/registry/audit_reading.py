"""Queries over the audit trail, each of which looks at a bounded number of rows, however many there are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, false, func, select

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH
from wfmgmt.registry.audit import fitting_rows
from wfmgmt.registry.scopes import within
from wfmgmt.registry.segments import Rows, SegmentReader
from wfmgmt.registry.tables import audit_event as table

#: Numbers of events are not larger.
MAX_NUMBER = 2**31 - 1
#: Rows that one page looks at, at most; with several conditions it may have fewer than wanted, or none, and go on.
MAX_LOOKED_AT = 2500
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
        archived: Up to this number events were archived, and are on no page.
        total: How many there are in all; None when that takes too long to count, or was not asked for.
    """

    events: Sequence[RecordedEvent]
    next_id: int | None
    archived: int
    total: int | None = None


class EventReader:
    """The audit trail as one transaction sees it; made by `Reader.events` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._segments = SegmentReader(connection)

    def get(self, number: int) -> RecordedEvent | None:
        """Return one event, None when there is none of that number, or it was archived."""
        if number > MAX_NUMBER or number <= self._segments.last_id():
            return None
        row = self._connection.execute(select(table).where(table.c.id == number)).mappings().one_or_none()
        return None if row is None else _event(row)

    def head(self) -> RecordedEvent | None:
        """Return the newest event, None when there is none."""
        row = self._connection.execute(select(table).order_by(table.c.id.desc()).limit(1)).mappings().one_or_none()
        return None if row is None else _event(row)

    def archivable(self, before: str) -> Rows | None:
        """Return which rows can be archived: the oldest ones, up to the first that is not from before a time.

        The newest row stays in any case.
        """
        segments = self._segments.all()
        first, previous_hash = 1, FIRST_PREVIOUS_HASH
        if segments:
            first, previous_hash = segments[-1].last_id + 1, segments[-1].hash
        younger = select(table.c.id).where(table.c.id >= first, table.c.at >= before).order_by(table.c.id).limit(1)
        head = self.head()
        end = self._connection.execute(younger).scalar() or (0 if head is None else head.id)
        return Rows(first, end - 1, previous_hash) if end > first else None

    def lines(self, rows: Rows) -> Iterator[tuple[int, str, bytes]]:
        """Yield number, hash and what is under it of rows.

        Raises:
            ChainBroken: A row does not fit.
        """
        return fitting_rows(self._connection, rows.first_id - 1, rows.previous_hash, rows.last_id)

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
        archived = self._segments.last_id()
        in_table = [table.c.id > archived] if archived else []
        bounds = [*in_table, *self._moments(wanted), *self._beyond(start, is_ascending=is_ascending)]
        values = wanted.values
        leading = [table.c[name] == value for name, value in list(values.items())[:1]]
        others = [
            *(_looked_at(table.c[name]) == value for name, value in list(values.items())[1:]),
            *([_looked_at(table.c.at) >= wanted.since] if wanted.since is not None else []),
            *([_looked_at(table.c.at) < wanted.until] if wanted.until is not None else []),
            *within(self._connection, _looked_at(table.c.workflow), wanted.scope),
            *([table.c.detail.icontains(wanted.text, autoescape=True)] if wanted.text else []),
        ]
        looked_at = select(table.c.id).where(*leading, *bounds).order_by(order).limit(MAX_LOOKED_AT).subquery()
        farthest = func.max(looked_at.c.id) if is_ascending else func.min(looked_at.c.id)
        count, last = self._connection.execute(select(func.count(), farthest).select_from(looked_at)).one()
        if not count:
            return EventPage(events=(), next_id=None, archived=archived)
        window = table.c.id <= last if is_ascending else table.c.id >= last
        statement = select(table).where(*leading, *bounds, *others, window).order_by(order).limit(limit + 1)
        events = [_event(row) for row in self._connection.execute(statement).mappings()]
        if len(events) > limit:
            next_id: int | None = events[limit - 1].id
        else:
            next_id = last if count == MAX_LOOKED_AT else None
        return EventPage(events=events[:limit], next_id=next_id, archived=archived)

    def total(self, wanted: EventFilter) -> int | None:
        """Return how many events there are; None when that takes too long to count."""
        if not wanted.is_simple:
            return None
        archived = self._segments.last_id()
        if not wanted.values:  # Numbers have no gaps.
            head = self.head()
            return 0 if head is None else head.id - archived
        conditions = [table.c.id > archived, *(table.c[name] == value for name, value in wanted.values.items())]
        counted = select(table.c.id).where(*conditions).limit(MAX_COUNTED + 1).subquery()
        count: int = self._connection.execute(select(func.count()).select_from(counted)).scalar_one()
        return None if count > MAX_COUNTED else count

    def _beyond(self, start: int | None, *, is_ascending: bool) -> list[ColumnElement[bool]]:
        if start is None:
            return []
        return [table.c.id > start if is_ascending else table.c.id < start]

    def _moments(self, wanted: EventFilter) -> list[ColumnElement[bool]]:
        """Return between which numbers events of the wanted times are; some of others may be among them."""
        found: list[ColumnElement[bool]] = []
        if wanted.since is not None:
            near = select(table.c.id).where(table.c.at >= wanted.since).order_by(table.c.at).limit(_MAX_DISORDER)
            first = self._connection.execute(select(func.min(near.subquery().c.id))).scalar()
            found.append(false() if first is None else table.c.id >= first)
        if wanted.until is not None:
            near = select(table.c.id).where(table.c.at < wanted.until).order_by(table.c.at.desc()).limit(_MAX_DISORDER)
            last = self._connection.execute(select(func.max(near.subquery().c.id))).scalar()
            found.append(table.c.id <= (last or 0))
        return found


def _looked_at(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return a column for a condition that no index serves: one would find all rows of a value to sort them."""
    return func.coalesce(column, "")


def _event(row: RowMapping) -> RecordedEvent:
    values = {each.name: row[each.name] for each in fields(RecordedEvent)}
    return RecordedEvent(**{**values, "detail": json.loads(values["detail"])})
