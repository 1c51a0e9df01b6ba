"""The lines of the log about changes, each written when the change is committed."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.records import make_event, make_registry
from wfmgmt.domain.audit import AuditAction, AuditOutcome, Origin
from wfmgmt.registry.registry import Registry

TABLE = {
    "routes": [{"version": "2.0", "weight": 10}, {"version": "1.0", "weight": 90}],
    "mirror": {"version": "3.0", "percent": 5},
}
CHANGES = [{"path": "nodes.m1.minWorkers", "before": 1, "after": 2}]
ERROR = {"type": "WorkflowExists", "message": "Workflow seq is already registered."}
#: Action, detail, and the line behind who made the change.
CASES: list[tuple[AuditAction, Mapping[str, Any], str]] = [
    (AuditAction.REGISTER, {"version": "0.9", "url": "seq.war"}, "registered BY: seq.war"),
    (AuditAction.REGISTER_VERSION, {"version": "2.0", "url": "seq-2.war", "after": TABLE},
        "version registered BY: seq-2.war, 2.0=10% 1.0=90%, mirror 3.0=5%"),
    (AuditAction.UNREGISTER, {"version": "1.0", "versions": {"1.0": "", "2.0": ""}},
        "unregistered BY: versions 1.0 2.0"),
    (AuditAction.UNREGISTER_VERSION, {"version": "2.0", "reason": "old"}, "version unregistered BY; reason: old"),
    (AuditAction.TRAFFIC, {"release": 4, "before": TABLE, "after": TABLE, "reason": "canary"},
        "released BY: release 4 (traffic), 2.0=10% 1.0=90%, mirror 3.0=5%; reason: canary"),
    (AuditAction.SCALE, {"version": "1.0", "changes": CHANGES}, "scaled BY: m1.minWorkers 1 -> 2"),
    (AuditAction.UPDATE, {"changes": CHANGES * 12},
        "node changed BY: " + "m1.minWorkers 1 -> 2, " * 10 + "2 more"),
    (AuditAction.RESET, {"changes": []}, "node reset BY"),
    (AuditAction.TOKEN_CREATE, {}, "token-create BY"),
]  # fmt: skip


@pytest.fixture(name="registry")
def _registry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    caplog.set_level(logging.INFO, logger="wfmgmt.change")
    yield registry
    registry.close()


def record(registry: Registry, **event: Any) -> None:
    """Record an event."""
    with registry.write() as writer:
        writer.record(make_event(**event))


@pytest.mark.parametrize(("action", "detail", "line"), CASES, ids=[action.value for action, *_ in CASES])
def test_change_is_a_line(
    registry: Registry, caplog: pytest.LogCaptureFixture, action: AuditAction, detail: Mapping[str, Any], line: str
) -> None:
    """It begins with what was done and by whom, and belongs to the request and the workflow."""
    record(registry, action=action, detail=detail)
    (logged,) = caplog.records
    fields = logged.__dict__
    assert (logged.levelname, logged.getMessage()) == ("INFO", line.replace("BY", "by anonymous from 127.0.0.1"))
    assert (fields["request_id"], fields["workflow"], fields["version"]) == ("r1", "seq", detail.get("version"))
    assert (fields["actor"], fields["action"], fields["client"]) == ("anonymous", action.value, "127.0.0.1")


def test_first_registration_without_a_version_is_of_the_first_version(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """As everywhere else, so that a search for the version finds it; one that failed before it had a name has none."""
    record(registry, action=AuditAction.REGISTER, detail={"url": "seq.war"})
    record(registry, action=AuditAction.REGISTER, workflow="", outcome=AuditOutcome.FAILED, detail={"error": ERROR})
    assert [logged.__dict__["version"] for logged in caplog.records] == ["1.0", None]


def test_failed_change_is_a_line_with_the_reason(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever was tried."""
    record(registry, outcome=AuditOutcome.FAILED, detail={"error": ERROR})
    line = "failed: register by anonymous from 127.0.0.1: WorkflowExists: Workflow seq is already registered."
    assert caplog.messages == [line]


def test_release_that_a_guard_makes_is_a_warning(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody asked for it, and it has no address."""
    detail = {"release": 5, "after": TABLE, "reason": "12 % of the requests failed"}
    record(registry, action=AuditAction.GUARD, origin=Origin(actor="guard"), detail=detail)
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.messages[0].startswith("released by guard: release 5 (guard), ")
    assert caplog.messages[0].endswith("; reason: 12 % of the requests failed")


def test_change_that_is_not_committed_is_no_line(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """What is rolled back has not happened."""
    with pytest.raises(KeyError), registry.write() as writer:
        writer.record(make_event())
        raise KeyError
    assert caplog.messages == []


def test_secrets_and_long_texts_stay_out_of_the_line(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """As out of the audit trail."""
    message = f"cannot be read: https://user:secret@host/x?token=secret {'x' * 5_000}"
    record(registry, outcome=AuditOutcome.FAILED, detail={"error": {"type": "DownloadFailed", "message": message}})
    assert "secret" not in caplog.text
    assert "more characters)" in caplog.messages[0]
