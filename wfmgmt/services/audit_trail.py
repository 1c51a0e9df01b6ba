"""The audit trail for those who may read it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.errors.access import EventNotFound
from wfmgmt.registry.audit_reading import EventFilter, EventPage, RecordedEvent
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.segments import Segment

#: Events that are read at a time for an export, each time in a transaction of its own.
_AT_ONCE = 1000


class AuditTrail:
    """Reads the audit trail. Thread-safe.

    Args:
        registry: Has it.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def page(self, wanted: EventFilter, *, limit: int, start: int | None, is_ascending: bool) -> EventPage:
        """Return a page of events, as `EventReader.page` does, with their total."""
        with self._registry.read() as reader:
            page = reader.events.page(wanted, limit=limit, start=start, is_ascending=is_ascending)
            return replace(page, total=reader.events.total(wanted))

    def all(
        self, wanted: EventFilter, *, limit: int | None = None, start: int | None = None, is_ascending: bool = False
    ) -> Iterator[RecordedEvent]:
        """Yield events page by page, so that neither memory nor the database is held for long.

        Args:
            wanted: Which.
            limit: Events at most; all unless given.
            start: As for `EventReader.page`.
            is_ascending: Whether the oldest come first.
        """
        left = limit
        while left is None or left > 0:
            at_once = _AT_ONCE if left is None else min(_AT_ONCE, left)
            with self._registry.read() as reader:
                page = reader.events.page(wanted, limit=at_once, start=start, is_ascending=is_ascending)
            yield from page.events
            left = None if left is None else left - len(page.events)
            start = page.next_id
            if start is None:
                return

    def last_about(self, workflow: str, *, limit: int, scope: Scope = EVERYTHING) -> Sequence[RecordedEvent]:
        """Return the last events about a workflow, the newest first."""
        with self._registry.read() as reader:
            return reader.events.page(EventFilter(workflow=workflow, scope=scope), limit=limit).events

    def event(self, number: int, *, scope: Scope = EVERYTHING) -> RecordedEvent:
        """Return one event.

        Raises:
            EventNotFound: There is none of that number, or it is about a workflow that does not exist for the client,
                or it was archived, and where is in the text.
        """
        with self._registry.read() as reader:
            event, segment = reader.events.get(number), reader.segments.of(number)
        if segment is not None:
            raise EventNotFound(number, archived_in=segment.file_name)
        if event is None or event.workflow not in scope:
            raise EventNotFound(number)
        return event

    def segments(self) -> list[Segment]:
        """Return what was archived; no page, no export and no event shows it."""
        with self._registry.read() as reader:
            return reader.segments.all()

    def head(self) -> RecordedEvent | None:
        """Return the newest event; None before the first one."""
        with self._registry.read() as reader:
            return reader.events.head()
