"""The audit trail over HTTP: pages, exports, one event, and who may read it."""

import csv
import io
import json
import socket

import pytest

from tests.support.management_api import ManagementApi
from tests.support.tokens import bearer
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.registry.segments import Segment
from wfmgmt.services.audit_trail import AuditTrail


@pytest.fixture(name="trail")
def _trail(api: ManagementApi) -> ManagementApi:
    """A trail with a registration, a refusal and a removal."""
    api.register("1.0", reason="=1+1")
    api.send("POST /workflows?url=", 400)
    api.send("DELETE /workflows/seq")
    return api


def test_page_has_the_newest_events_first(trail: ManagementApi) -> None:
    """With what each has, and the way to the next one."""
    page = trail.send("GET /audit?limit=2")
    assert [each["action"] for each in page["events"]] == ["unregister", "register"]
    assert (page["total"], page["nextBeforeId"]) == (3, 2)
    rest = trail.send("GET /audit?limit=2&before_id=2")
    assert ([each["id"] for each in rest["events"]], rest["nextBeforeId"]) == ([1], None)
    assert rest["events"][0] == trail.send("GET /audit/1")
    assert rest["events"][0]["actor"] == "anonymous"
    head = trail.send("GET /audit/head")
    assert (head["id"], head["hash"]) == (3, page["events"][0]["hash"])


def test_filters_are_those_of_the_columns(trail: ManagementApi) -> None:
    """Each alone and together."""
    assert [each["id"] for each in trail.send("GET /audit?outcome=failed")["events"]] == [2]
    assert [each["id"] for each in trail.send("GET /audit?workflow=seq&order=asc")["events"]] == [1, 3]
    assert [each["id"] for each in trail.send("GET /audit?q=SEQ.war&action=register")["events"]] == [1]
    assert trail.send("GET /audit?before=2020-01-01")["events"] == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("after=soon", "Parameter after: expected a time like"),
        ("outcome=maybe", "expected one of succeeded, failed"),
        ("action=dance", "expected one of register"),
        ("limit=0", "Parameter limit"),
        ("who=me", "Unknown parameter 'who'"),
        ("actor=%00", "control characters"),
    ],
    ids=["time", "outcome", "action", "limit", "parameter", "control"],
)
def test_filter_that_makes_no_sense_is_refused(api: ManagementApi, query: str, message: str) -> None:
    """The message says what is expected."""
    assert message in api.send(f"GET /audit?{query}", 400)["message"]


def test_export_is_all_of_it(trail: ManagementApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """As lines of JSON, page by page; with a limit no more than that."""
    monkeypatch.setattr("wfmgmt.services.audit_trail._AT_ONCE", 1)
    answer = trail.client.get("/audit?order=asc", headers={"Accept": "application/x-ndjson"})
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.content_type, [each["id"] for each in events]) == ("application/x-ndjson", [1, 2, 3])
    assert events[0] == trail.send("GET /audit/1")
    answer.close()
    limited = trail.client.get("/audit?limit=2", headers={"Accept": "application/x-ndjson"})
    assert len(limited.text.splitlines()) == 2
    limited.close()


def test_csv_has_nothing_that_a_spreadsheet_runs(trail: ManagementApi) -> None:
    """What would be a formula has an apostrophe before it."""
    trail.client.post("/workflows?url=x", headers={"x-request-id": "=cmd", "x-Remote": "y"}).close()
    trail.client.post("/workflows?url=", headers={"x-request-id": "@SUM"}).close()
    answer = trail.client.get("/audit?order=asc", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    answer.close()
    assert answer.content_type == "text/csv; charset=utf-8"
    assert json.loads(rows[0]["detail"])["reason"] == "=1+1"
    assert "'@SUM" in {row["requestId"] for row in rows}
    assert not any(value[:1] in set("=+-@\t\r") for row in rows for value in row.values())


def test_one_export_is_made_at_a_time(trail: ManagementApi) -> None:
    """Another one is asked to come back; the next one after it is answered."""
    headers = {"Accept": "text/csv"}
    first = trail.client.get("/audit", headers=headers, buffered=False)
    refused = trail.client.get("/audit", headers=headers)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    first.close()
    for _ in range(2):
        again = trail.client.get("/audit", headers=headers)
        assert again.status_code == 200
        again.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_export_is_made_for_any_kind_of_connection(trail: ManagementApi, method: str) -> None:
    """Gunicorn's own, as it has them for TLS, cannot wait; one answer or another, the next one is made, too."""
    with socket.socket() as connection:
        for _ in range(2):
            answer = trail.client.open(
                "/audit",
                method=method,
                headers={"Accept": "text/csv"},
                environ_base={"gunicorn.socket": connection},
            )
            assert answer.status_code == 200
            assert method == "HEAD" or len(answer.text.splitlines()) == 4
            answer.close()


def test_export_that_cannot_begin_does_not_stand_in_the_way(
    trail: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the next one, once the database can be read again."""

    def fail(_: AuditTrail) -> list[Segment]:
        raise RegistryUnavailable("down")

    headers = {"Accept": "text/csv"}
    with monkeypatch.context() as patch:
        patch.setattr(AuditTrail, "segments", fail)
        assert trail.client.get("/audit", headers=headers).status_code == 503
    answer = trail.client.get("/audit", headers=headers)
    assert answer.status_code == 200
    answer.close()


def test_trail_is_for_those_who_may_read_it(trail: ManagementApi) -> None:
    """And of those who may see some workflows only, what is about these."""
    admin = bearer(trail.send("POST /tokens?name=a&role=admin", 201)["token"])
    tokens = {
        name: bearer(trail.send(f"POST /tokens?name={name}&role={role}&workflows={scope}", 201, headers=admin)["token"])
        for name, role, scope in (
            ("v", "view", ""),
            ("r", "register", ""),
            ("t", "audit", "team-*"),
            ("s", "audit", "s*"),
        )
    }
    for name in ("v", "r"):
        trail.send("GET /audit", 403, headers=tokens[name])
    assert trail.send("GET /audit", headers=tokens["t"])["events"] == []
    trail.send("GET /audit/1", 404, headers=tokens["t"])
    assert [each["id"] for each in trail.send("GET /audit", headers=tokens["s"])["events"]] == [3, 1]
    trail.send("GET /audit/99", 404, headers=admin)


def test_answer_to_a_change_has_its_receipt(api: ManagementApi) -> None:
    """Also a refusal, and the answer that is kept under a key; reading has none, and neither has a dry run."""
    key = {"Idempotency-Key": "once"}
    answers = [
        api.client.post("/workflows?url=seq.war", headers=key),
        api.client.post("/workflows?url=", headers={}),
        api.client.delete("/workflows/seq", headers={"Idempotency-Key": "gone"}),
    ]
    rows = api.query("SELECT id || ':' || substr(hash, 1, 16) FROM audit_event ORDER BY id")
    assert [answer.headers["x-wfmgmt-audit"] for answer in answers] == [receipt for (receipt,) in rows]
    again = api.client.delete("/workflows/seq", headers={"Idempotency-Key": "gone"})
    assert again.headers.getlist("x-wfmgmt-audit") == [rows[2][0]]
    for quiet in (api.client.get("/workflows"), api.client.post("/workflows?url=seq.war&dry_run=true")):
        assert "x-wfmgmt-audit" not in quiet.headers
