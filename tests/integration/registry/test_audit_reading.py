"""Pages of the audit trail, by any filter, on SQLite and PostgreSQL."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.query_plans import executed_statements, query_plan
from tests.support.records import make_registry
from wfmgmt.domain.access import Scope
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.registry import audit_reading
from wfmgmt.registry.audit_reading import EventFilter, EventPage
from wfmgmt.registry.registry import Registry, parsed_moment
from wfmgmt.services.audit_trail import AuditTrail

START = datetime(2026, 11, 27, tzinfo=UTC)
#: Actor, address, request, action, workflow and outcome of each event, one a minute.
EVENTS = [
    ("token:ci", "10.0.0.1", "r1", AuditAction.REGISTER, "a", AuditOutcome.SUCCEEDED),
    ("token:ci", "10.0.0.1", "r2", AuditAction.REGISTER, "b", AuditOutcome.FAILED),
    ("cli:ops", "", "", AuditAction.RECONCILE, "", AuditOutcome.SUCCEEDED),
    ("token:ci", "10.0.0.2", "r3", AuditAction.SCALE, "a", AuditOutcome.SUCCEEDED),
    ("anonymous", "10.0.0.2", "r4", AuditAction.SCALE, "a", AuditOutcome.FAILED),
    ("guard", "", "", AuditAction.GUARD, "A", AuditOutcome.SUCCEEDED),
]


@pytest.fixture(name="trail")
def _trail(registry: Registry, database: str) -> Registry:
    moments = iter(START + timedelta(minutes=number) for number in range(len(EVENTS)))
    with closing(Registry(database, clock=lambda: next(moments))) as clocked:
        write(clocked)
    return registry


def write(registry: Registry) -> None:
    """Record the events."""
    for number, (actor, address, request_id, action, workflow, outcome) in enumerate(EVENTS, start=1):
        event = AuditEvent(
            origin=Origin(actor=actor, address=address, request_id=request_id),
            action=action,
            workflow=workflow,
            outcome=outcome,
            detail={"url": f"Archive_{number}%.war", **({"reason": "Für ÉTÉ"} if number == 4 else {})},
        )
        with registry.write() as writer:
            writer.record(event)


def page(registry: Registry, limit: int = 100, start: int | None = None, **wanted: Any) -> EventPage:
    """Return a page, the newest first unless `ascending` is wanted."""
    is_ascending = wanted.pop("ascending", False)
    return AuditTrail(registry).page(EventFilter(**wanted), limit=limit, start=start, is_ascending=is_ascending)


@pytest.mark.parametrize(
    ("wanted", "found", "total"),
    [
        ({}, [6, 5, 4, 3, 2, 1], 6),
        ({"ascending": True}, [1, 2, 3, 4, 5, 6], 6),
        ({"workflow": "a"}, [5, 4, 1], 3),
        ({"actor": "token:ci"}, [4, 2, 1], 3),
        ({"action": "scale"}, [5, 4], 2),
        ({"outcome": "failed"}, [5, 2], 2),
        ({"address": "10.0.0.2"}, [5, 4], 2),
        ({"request_id": "r3"}, [4], 1),
        ({"request_id": "r9"}, [], 0),
        ({"workflow": "a", "outcome": "failed"}, [5], None),
        ({"actor": "token:ci", "action": "register", "outcome": "succeeded"}, [1], None),
        ({"since": "2026-11-27T00:02:00Z"}, [6, 5, 4, 3], None),
        ({"until": "2026-11-27T00:02:00Z"}, [2, 1], None),
        ({"since": "2026-11-27T02:01:00+02:00", "until": "2026-11-27T00:03:00Z"}, [3, 2], None),
        ({"since": "2027-01-01"}, [], None),
        ({"until": "2020-01-01"}, [], None),
        ({"text": "archive_3%"}, [3], None),
        ({"text": "e_"}, [6, 5, 4, 3, 2, 1], None),
        ({"text": "%"}, [6, 5, 4, 3, 2, 1], None),
        ({"text": "archive%3"}, [], None),
        ({"text": "füR ÉtÉ"}, [4], None),
        ({"scope": Scope.of(["a"])}, [5, 4, 1], None),
    ],
    ids=str,
)
def test_filter_finds_its_events(trail: Registry, wanted: dict[str, Any], found: list[int], total: int | None) -> None:
    """All of them and no others, in their order."""
    times: dict[str, Any] = {name: parsed_moment(wanted[name]) for name in ("since", "until") if name in wanted}
    answer = page(trail, **{**wanted, **times})
    assert [each.id for each in answer.events] == found
    assert (answer.next_id, answer.total) == (None, total)


@pytest.mark.parametrize("is_ascending", [False, True], ids=["newest first", "oldest first"])
def test_pages_follow_each_other(trail: Registry, monkeypatch: pytest.MonkeyPatch, *, is_ascending: bool) -> None:
    """Also where a page looks at fewer rows than it takes to find what is wanted."""
    monkeypatch.setattr(audit_reading, "MAX_LOOKED_AT", 2)
    found: list[int] = []
    start, pages = None, 0
    while pages == 0 or start is not None:
        answer = page(trail, 1, start, workflow="a", outcome="failed", ascending=is_ascending)
        found += [each.id for each in answer.events]
        start, pages = answer.next_id, pages + 1
    assert (found, pages > 1) == ([5], True)


def test_event_has_all_of_its_row(trail: Registry) -> None:
    """And the newest one is the head."""
    with trail.read() as reader:
        first, last = reader.events.get(1), reader.events.head()
        none = reader.events.get(7) or reader.events.get(2**62) or reader.events.get(10**30)
    assert first is not None
    assert last is not None
    assert (first.at, first.actor, first.detail) == (
        "2026-11-27T00:00:00.000000Z",
        "token:ci",
        {"url": "Archive_1%.war"},
    )
    assert (last.id, none, first.previous_hash) == (6, None, "0" * 64)


def test_every_filter_has_an_index(tmp_path: Path) -> None:
    """So no page walks through rows that are not wanted."""
    with closing(make_registry(tmp_path)) as registry:
        write(registry)
        for column in ("at", "request_id", "workflow", "address", "actor", "action", "outcome"):
            wanted: dict[str, Any] = {"since": "2026"} if column == "at" else {column: "x"}
            with executed_statements() as statements:
                page(registry, start=9, **wanted)
            plan = query_plan(tmp_path / "wfmgmt.db", statements)
            assert f"ix_audit_event_{column}" in plan
            assert "SCAN audit_event" not in plan
            assert "TEMP B-TREE" not in plan
