"""How many failed changes of clients get an audit event of their own; the rest is counted."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from wfmgmt.domain.access import ACTOR_PREFIX, ANONYMOUS
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin

WINDOW_S = 60
#: Addresses, and actors, that are counted by themselves in one window, and named in its summary.
MAX_ADDRESSES, MAX_NAMED = 1000, 10


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FailureBudget:
    """A bound on events a minute, all in all and for each address, which gets half of them. Thread-safe.

    Anybody who can reach the server can make changes fail as fast as the network allows, and what an audit trail
    has, it keeps. Failures beyond the bound are counted, and each minute that had some gets one event for each
    action that says so.

    Args:
        events: Events of their own in one minute.
        clock: Gives the time, as an aware value.
    """

    def __init__(self, events: int, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._events = events
        self._events_per_address = max(1, events // 2)
        self._clock = clock
        self._lock = threading.Lock()
        self._window = _Window(clock())
        self._summaries: list[AuditEvent] = []

    def admits(self, event: AuditEvent) -> bool:
        """Return whether a failure gets an event of its own; if not, it has been counted."""
        if not event.origin.actor.startswith((ANONYMOUS, ACTOR_PREFIX)):
            return True
        with self._lock:
            self._close_window_if_over()
            window, address = self._window, event.origin.address
            if window.admitted.total() < self._events and window.admitted[address] < self._events_per_address:
                window.admitted[address] += 1
                return True
            window.count(event)
            return False

    def summaries(self, *, at_end: bool = False) -> list[AuditEvent]:
        """Return the events about the failures that were only counted, each once.

        Args:
            at_end: Whether to report the minute under way, too, and not only those that are over.
        """
        with self._lock:
            if at_end:
                self._close_window(self._clock())
            else:
                self._close_window_if_over()
            summaries, self._summaries = self._summaries, []
            return summaries

    def _close_window_if_over(self) -> None:
        now = self._clock()
        # A clock that was set back begins a new minute, too.
        if 0 <= (now - self._window.began).total_seconds() < WINDOW_S:
            return
        self._close_window(now)

    def _close_window(self, now: datetime) -> None:
        self._summaries += self._window.summaries(now)
        self._window = _Window(now)


class _Window:
    """The failures since a moment."""

    def __init__(self, began: datetime) -> None:
        self.began = began
        self.admitted: Counter[str] = Counter()
        self._counted: dict[AuditAction, _Counted] = defaultdict(_Counted)

    def count(self, event: AuditEvent) -> None:
        """Count a failure that gets no event."""
        self._counted[event.action].add(event)

    def summaries(self, until: datetime) -> list[AuditEvent]:
        """Return one event about the counted failures of each action."""
        since = {"since": self.began.isoformat(), "until": until.isoformat()}
        return [counted.summary(action, since) for action, counted in self._counted.items()]


class _Counted:
    """The failures of one action that got no events."""

    def __init__(self) -> None:
        self._count = 0
        self._addresses: Counter[str] = Counter()
        self._actors: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def add(self, event: AuditEvent) -> None:
        """Count one."""
        self._count += 1
        self._errors[str(event.detail["error"]["type"])] += 1
        for found, counted in ((event.origin.address, self._addresses), (event.origin.actor, self._actors)):
            if found in counted or len(counted) < MAX_ADDRESSES:
                counted[found] += 1

    def summary(self, action: AuditAction, since: Mapping[str, str]) -> AuditEvent:
        """Return the event about them."""
        what = "registrations" if action is AuditAction.REGISTER else f"changes ({action})"
        message = f"{self._count} more {what} failed; WFMGMT_MAX_AUDITED_FAILURES bounds those with own events."
        detail: dict[str, Any] = {
            "error": {"type": "FailuresCounted", "message": message},
            "count": self._count,
            **since,
            "addresses": dict(self._addresses.most_common(MAX_NAMED)),
            "actors": dict(self._actors.most_common(MAX_NAMED)),
            "errors": dict(self._errors.most_common(MAX_NAMED)),
        }
        address = next(iter(self._addresses)) if len(self._addresses) == 1 else ""
        actor = next(iter(self._actors)) if len(self._actors) == 1 else ANONYMOUS
        return AuditEvent(
            origin=Origin(actor=actor, address=address),
            action=action,
            workflow="",
            outcome=AuditOutcome.FAILED,
            detail=detail,
        )
