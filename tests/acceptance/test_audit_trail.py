"""The audit trail of a running service: one row for every change, in the same transaction."""

import json
import signal
import sqlite3
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support.commands import call
from tests.support.evidence import rows
from tests.support.factories import make_mar, make_war
from tests.support.records import make_database
from tests.support.service import Service, wait_until


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("audit") / "instance")
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    make_war(service.workflow_store, name="broken", spec="models: {b: {url: broken.mar}}\ndag: {b: []}\n")
    make_mar(service.model_store, name="broken", source="raise ValueError('broken on purpose')\n")
    service.start()
    yield service
    service.kill()


def events_of(service: Service, request_id: str) -> list[tuple[object, ...]]:
    """Return action, workflow, outcome and address of the events of one request."""
    statement = "SELECT action, workflow, outcome, address FROM audit_event WHERE request_id = ? ORDER BY id"
    return rows(service, statement, request_id)


@pytest.mark.parametrize(
    ("method", "path", "status", "events"),
    [
        ("POST", "workflows?url=seq.war", 200, [("register", "seq", "succeeded", "127.0.0.1")]),
        ("POST", "workflows?url=seq.war", 409, [("register", "seq", "failed", "127.0.0.1")]),
        ("POST", "workflows?url=broken.war", 500, [("register", "broken", "failed", "127.0.0.1")]),
        ("POST", "workflows?url=x.war&workflow_name=x", 404, [("register", "x", "failed", "127.0.0.1")]),
        ("GET", "workflows/seq", 200, []),
        ("DELETE", "workflows/seq", 200, [("unregister", "seq", "succeeded", "127.0.0.1")]),
        ("DELETE", "workflows/seq", 404, []),
    ],
    ids=["register", "taken", "model fails", "no archive", "describe", "unregister", "nothing to unregister"],
)
def test_each_change_leaves_exactly_one_row(
    service: Service, method: str, path: str, status: int, events: list[tuple[object, ...]]
) -> None:
    """Success and failure alike are recorded once, with who asked; what changes nothing is not."""
    request_id = uuid.uuid4().hex
    answer = requests.request(method, f"{service.management}/{path}", headers={"x-request-id": request_id}, timeout=30)
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, request_id)
    assert events_of(service, request_id) == events


def test_failures_of_anonymous_clients_grow_the_trail_by_bounded_amounts(tmp_path: Path) -> None:
    """Few of many get rows, whose texts are cut, and every change still has its own; the chain holds."""
    service = Service(tmp_path / "i", max_audited_failures=20, web_workers=1)
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    url = "http://192.0.2.1/" + "x" * 4000
    with service, requests.Session() as session:
        for number in range(200):
            refused = session.post(f"{service.management}/workflows", json={"url": url if number % 2 else "x" * 60_000})
            assert refused.status_code in {400, 404}
        assert service.register("seq.war").status_code == 200
        assert service.unregister("seq").status_code == 200
        failed = rows(service, "SELECT detail FROM audit_event WHERE outcome = 'failed'")
        changes = rows(service, "SELECT action FROM audit_event WHERE outcome = 'succeeded' ORDER BY id")
        verified = call(service, "audit", "verify")
    # The test may last into a second minute, which has ten more.
    assert len(failed) in {10, 20, 21}
    assert max(len(detail) for (detail,) in failed) < 1200
    assert any("more characters)" in detail for (detail,) in failed)
    assert changes == [("register",), ("unregister",)]
    assert verified.returncode == 0


def test_failures_that_were_only_counted_outlive_their_web_workers(tmp_path: Path) -> None:
    """The minute under way is recorded when a web worker ends, whether it is replaced or the service stops."""
    failures = 0
    with Service(tmp_path / "i", max_audited_failures=4) as service:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            process = service.process or service.start().process
            assert process is not None
            for _ in range(30):
                assert service.register("missing.war").status_code == 404
            failures += 30
            process.send_signal(number)
            if number != signal.SIGHUP:
                assert process.wait(30) == 0
                service.kill()
            wait_until(partial(has_counted, service, failures), timeout_s=60, what=f"all failures after {number.name}")


def has_counted(service: Service, failures: int) -> bool:
    """Return whether the trail has so many failed registrations."""
    return counted_failures(service) == failures


def counted_failures(service: Service) -> int:
    """Return how many failed registrations the trail tells of."""
    failed = rows(service, "SELECT detail FROM audit_event WHERE outcome = 'failed'")
    return sum(json.loads(detail).get("count", 1) for (detail,) in failed)


def test_change_does_not_happen_when_its_row_cannot_be_written(service: Service) -> None:
    """A database that refuses audit rows refuses the changes, and what was begun is reconciled later, with a row."""
    assert service.register("seq.war", workflow_name="old").status_code == 200
    before = rows(service, "SELECT count(*) FROM audit_event")
    execute(
        service,
        "CREATE TRIGGER refuses BEFORE INSERT ON audit_event WHEN NEW.workflow IN ('new', 'old') "
        "BEGIN SELECT RAISE(ABORT, 'on purpose'); END",
    )
    assert service.register("seq.war", workflow_name="new").status_code == 503
    assert service.unregister("old").status_code == 503
    assert rows(service, "SELECT count(*) FROM audit_event") == before
    assert rows(service, "SELECT name, status FROM v_workflow ORDER BY name") == [
        ("new", "registering"),
        ("old", "unregistering"),
    ]
    assert service.names() == []
    execute(service, "DROP TRIGGER refuses")
    wait_until(lambda: rows(service, "SELECT name FROM workflow") == [], what="the end of both")
    reconciled = rows(
        service, "SELECT workflow, actor, detail FROM audit_event WHERE action = 'reconcile' ORDER BY workflow"
    )
    assert [(name, actor, json.loads(str(detail))["found"]) for name, actor, detail in reconciled] == [
        ("new", "housekeeping", "registering"),
        ("old", "housekeeping", "unregistering"),
    ]
    assert service.worker_pids()[1:] == []


def execute(service: Service, statement: str, *parameters: object) -> None:
    """Run a statement as somebody with the file and a SQL prompt."""
    connection = sqlite3.connect(service.database, isolation_level=None, timeout=10)
    try:
        connection.execute(statement, parameters)
    finally:
        connection.close()


def test_verify_exits_with_1_at_the_first_row_that_does_not_fit(service: Service) -> None:
    """The command finds what somebody changed who could drop the triggers; before that it exits with 0."""
    assert service.register("seq.war", workflow_name="verified").status_code == 200
    whole = call(service, "audit", "verify")
    assert whole.returncode == 0, whole.stderr
    assert "rows fit" in whole.stdout
    row = rows(service, "SELECT max(id) FROM audit_event WHERE workflow = 'verified'")[0][0]
    trigger = rows(service, "SELECT sql FROM sqlite_schema WHERE name = 'audit_event_refuses_update'")[0][0]
    execute(service, "DROP TRIGGER audit_event_refuses_update")
    execute(service, "UPDATE audit_event SET actor = 'nobody' WHERE id = ?", row)
    changed = call(service, "audit", "verify")
    assert changed.returncode == 1
    assert changed.stdout.startswith(f"row {row} does not fit")
    execute(service, "UPDATE audit_event SET actor = 'anonymous' WHERE id = ?", row)
    execute(service, str(trigger))
    assert call(service, "audit", "verify").returncode == 0


def test_verify_needs_a_database(tmp_path: Path) -> None:
    """A wrong instance is not taken for an empty trail: exit code 3, and no database is made."""
    service = Service(tmp_path / "empty")
    done = service.command("audit", "verify")
    assert done.returncode == 3, done.stdout
    assert done.stderr.startswith("wfmgmt: the database")
    assert not service.database.exists()
