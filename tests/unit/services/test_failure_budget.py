"""Failures of anonymous clients, many minutes of them at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.services.failure_budget import FailureBudget

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still between its steps."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def step(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def failure(address: str = "192.0.2.1", *, actor: str = "anonymous", error: str = "ArchiveNotFound") -> AuditEvent:
    """Return the event of a failed registration."""
    return AuditEvent(
        origin=Origin(actor=actor, address=address),
        action=AuditAction.REGISTER,
        workflow="",
        outcome=AuditOutcome.FAILED,
        detail={"error": {"type": error, "message": "no"}},
    )


def test_ten_minutes_of_failures_have_bounded_events_and_none_is_lost() -> None:
    """Ten addresses that fail ten times a second get so many events, and one a minute counts the others."""
    clock = Clock()
    budget = FailureBudget(60, clock=clock)
    failed, admitted, summaries = 0, 0, []
    for _ in range(10 * 60):
        for number in range(100):
            failed += 1
            admitted += budget.admits(failure(f"192.0.2.{number % 10}"))
        clock.step(1)
        summaries += budget.summaries()
    assert failed == 60_000
    assert admitted == 10 * 60
    assert len(summaries) == 10
    assert admitted + sum(summary.detail["count"] for summary in summaries) == failed


def test_one_address_cannot_take_the_events_of_the_others() -> None:
    """Half of the events are for others."""
    budget = FailureBudget(60, clock=Clock())
    assert sum(budget.admits(failure()) for _ in range(1000)) == 30
    assert sum(budget.admits(failure("192.0.2.2")) for _ in range(1000)) == 30
    assert not budget.admits(failure("192.0.2.3"))


def test_summary_has_the_counts() -> None:
    """How many, since when, from where and why; each minute once."""
    clock = Clock()
    budget = FailureBudget(2, clock=clock)
    for address, error in [("a", "X")] * 3 + [("b", "Y")] * 2:
        budget.admits(failure(address, error=error))
    assert budget.summaries() == []
    clock.step(61)
    (summary,) = budget.summaries()
    assert budget.summaries() == []
    assert (summary.origin, summary.outcome) == (Origin(actor="anonymous"), AuditOutcome.FAILED)
    assert summary.detail == {
        "error": {
            "type": "FailuresCounted",
            "message": "3 more registrations failed; WFMGMT_MAX_AUDITED_FAILURES bounds those with own events.",
        },
        "count": 3,
        "since": "2026-01-31T12:00:00+00:00",
        "until": "2026-01-31T12:01:01+00:00",
        "addresses": {"a": 2, "b": 1},
        "actors": {"anonymous": 3},
        "errors": {"X": 2, "Y": 1},
    }


def test_many_addresses_take_bounded_memory() -> None:
    """Somebody with a whole network is counted too."""
    clock = Clock()
    budget = FailureBudget(1, clock=clock)
    for number in range(5001):
        budget.admits(failure(f"2001:db8::{number:x}"))
    clock.step(61)
    (summary,) = budget.summaries()
    assert summary.detail["count"] == 5000
    assert len(summary.detail["addresses"]) == 10


def test_commands_of_the_operator_always_get_their_events() -> None:
    """Who has a shell on the host needs no bound."""
    budget = FailureBudget(1, clock=Clock())
    assert all(budget.admits(failure("", actor="cli:root")) for _ in range(100))


def test_clock_that_is_set_back_begins_a_new_minute() -> None:
    """Nothing waits for the time that has been already."""
    clock = Clock()
    budget = FailureBudget(2, clock=clock)
    assert [budget.admits(failure()) for _ in range(2)] == [True, False]
    clock.step(-3600)
    assert budget.admits(failure())
    assert [summary.detail["count"] for summary in budget.summaries()] == [1]


def test_minute_under_way_is_summarised_at_the_end() -> None:
    """Its summary comes once, and counting goes on."""
    budget = FailureBudget(2, clock=Clock())
    for _ in range(4):
        budget.admits(failure())
    assert [summary.detail["count"] for summary in budget.summaries(at_end=True)] == [3]
    assert budget.summaries(at_end=True) == []


def test_each_action_has_a_summary_of_its_own() -> None:
    """Refused registrations are not counted among refused scalings."""
    clock = Clock()
    budget = FailureBudget(2, clock=clock)
    for action in [AuditAction.REGISTER, AuditAction.SCALE, AuditAction.SCALE]:
        budget.admits(replace(failure(), action=action))
    budget.admits(replace(failure(), action=AuditAction.REGISTER))
    clock.step(61)
    summaries = {summary.action: summary.detail["error"]["message"] for summary in budget.summaries()}
    more = "WFMGMT_MAX_AUDITED_FAILURES bounds those with own events."
    assert summaries == {
        AuditAction.SCALE: f"2 more changes (scale) failed; {more}",
        AuditAction.REGISTER: f"1 more registrations failed; {more}",
    }
