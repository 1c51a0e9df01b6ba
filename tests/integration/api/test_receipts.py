"""Receipts of changes: on every answer to one, on repeated answers, and on operations that end later."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.management_api import ManagementApi, carrying_out, loading
from tests.support.tokens import bearer
from wfmgmt.http.answers import RECEIPT

_SEQ, _VERSION = "/workflows/<workflow:name>", "/workflows/<workflow:name>/<version:version>"
_FILE = "/archives/<any(workflows, models):store>/<file>"
_STEPS = {
    "routes": [{"version": "1.0", "weight": 95}, {"version": "2.0", "weight": 5}],
    "steps": [{"weight": 5, "forSeconds": 600}, {"weight": 100}],
}
#: A request for each route that changes something, in an order in which each does, and its body.
WRITES: Mapping[str, tuple[str, Any]] = {
    "POST /apply": ("POST /apply", {"wfmgmt": 1, "workflows": {"more": {"versions": {"1.0": {"url": "fun.war"}}}}}),
    f"PUT {_FILE}": ("PUT /archives/models/m9.mar", None),
    f"DELETE {_FILE}": ("DELETE /archives/models/m9.mar", None),
    "POST /workflows": ("POST /workflows?url=fun.war&workflow_name=other", None),
    "PUT /workflows/<name>": ("PUT /workflows/seq?min_worker=2&max_worker=3", None),
    f"PUT {_VERSION}": ("PUT /workflows/seq/2.0?min_worker=2&max_worker=3", None),
    f"PUT {_SEQ}/nodes/<node>": ("PUT /workflows/seq/nodes/m1?batch_size=4", None),
    f"PUT {_VERSION}/nodes/<node>": ("PUT /workflows/seq/2.0/nodes/m1?batch_size=4", None),
    f"DELETE {_SEQ}/nodes/<node>/overrides": ("DELETE /workflows/seq/nodes/m1/overrides", None),
    f"DELETE {_VERSION}/nodes/<node>/overrides": ("DELETE /workflows/seq/2.0/nodes/m1/overrides", None),
    f"PUT {_VERSION}/set-default": ("PUT /workflows/seq/2.0/set-default", None),
    f"POST {_SEQ}/rollback": ("POST /workflows/seq/rollback", None),
    f"PUT {_SEQ}/traffic": ("PUT /workflows/seq/traffic", _STEPS),
    f"POST {_SEQ}/rollout": ("POST /workflows/seq/rollout?action=abort", None),
    f"DELETE {_VERSION}": ("DELETE /workflows/seq/2.0", None),
    "DELETE /workflows/<name>": ("DELETE /workflows/seq", None),
    "POST /operations/<uid>/cancel": ("POST /operations/{waiting}/cancel", None),
    "POST /tokens": ("POST /tokens?name=ci&role=admin", None),
    "DELETE /tokens/<token>": ("DELETE /tokens/ci", None),
}


def newest(api: ManagementApi) -> str:
    """Return the receipt of the newest row of the audit trail."""
    ((number, digits),) = api.query("SELECT id, substr(hash, 1, 16) FROM audit_event ORDER BY id DESC LIMIT 1")
    return f"{number}:{digits}"


def test_every_route_that_changes_something_gives_a_receipt(two: ManagementApi, tmp_path: Path) -> None:
    """That of its own row, and again when the request is repeated under its key; a dry run has none."""
    rules = two.client.application.url_map.iter_rules()
    routes = {f"{method} {rule.rule}" for rule in rules for method in rule.methods or ()}
    safe = ("GET ", "HEAD ", "OPTIONS ", "POST /ui/")  # What forms of the page change is changed by the same services.
    assert {route for route in routes if not route.startswith(safe)} == set(WRITES)
    archive = make_mar(tmp_path, name="m9").read_bytes()
    shown: dict[str, str] = {}
    for route, (request, body) in WRITES.items():
        method, _, path = request.partition(" ")
        if "{waiting}" in path:
            accepted = two.send("POST /workflows?url=fun.war&workflow_name=later&synchronous=false", 202)
            path = path.format(waiting=accepted["operation"].rpartition("/")[2])
        sent: dict[str, Any] = {"json": body} if body else {"data": archive} if route == f"PUT {_FILE}" else {}
        before = newest(two)
        dry = two.client.open(f"{path}{'&' if '?' in path else '?'}dry_run=true", method=method, headers=shown, **sent)
        assert (dry.status_code, RECEIPT in dry.headers) == (200, False), (route, dry.text)
        headers = {"Idempotency-Key": route, **shown}
        with carrying_out(two) if route == "POST /apply" else nullcontext():
            answer = two.client.open(path, method=method, headers=headers, **sent)
        assert answer.status_code < 300, (route, answer.text)
        assert answer.headers.get(RECEIPT) == newest(two) != before, route
        if route == "POST /tokens":  # Its answer is kept nowhere.
            shown = bearer(answer.get_json()["token"])
            continue
        again = two.client.open(path, method=method, headers=headers, **sent)
        assert again.headers.getlist(RECEIPT) == [answer.headers[RECEIPT]], route
        assert again.headers["idempotent-replayed"] == "true", route


@pytest.mark.parametrize("route", [route for route, (request, _) in WRITES.items() if "{waiting}" not in request])
def test_refused_change_gives_a_receipt(two: ManagementApi, route: str) -> None:
    """That of the row about the refusal."""
    method, _, path = WRITES[route][0].partition(" ")
    answer = two.client.open(f"{path}{'&' if '?' in path else '?'}nosuch=1", method=method)
    assert answer.status_code == 400, answer.text
    assert answer.headers.get(RECEIPT) == newest(two)


@pytest.mark.parametrize("is_failing", [False, True], ids=["succeeds", "fails"])
def test_registration_carried_out_later_has_its_receipt_at_its_end(api: ManagementApi, *, is_failing: bool) -> None:
    """In its operation, on the answer that waited for the end, and again under its key."""
    if is_failing:
        api.runtime.failing.add("1.0")
    key = {"Idempotency-Key": "k"}
    accepted = api.answer("POST /workflows?url=seq.war&synchronous=false", 202, headers=key)
    assert RECEIPT not in accepted.headers
    path = accepted.get_json()["operation"]
    assert api.send(f"GET {path}")["receipt"] is None
    api.services.registration_queue.dispatch()
    waited = api.answer(f"GET {path}?wait=30")
    assert waited.get_json()["state"] == ("failed" if is_failing else "succeeded")
    assert waited.get_json()["receipt"] == waited.headers[RECEIPT] == newest(api)
    assert RECEIPT not in api.answer("POST /workflows?url=seq.war&synchronous=false", 202, headers=key).headers


def test_registration_whose_client_waits_has_the_same_receipt(api: ManagementApi) -> None:
    """In its operation as on its answer; a failed one, too."""
    first = api.answer("POST /workflows?url=seq.war")
    assert api.send("GET /operations")["operations"][0]["receipt"] == first.headers[RECEIPT] == newest(api)
    api.runtime.failing.add("2.0")
    failed = api.answer("POST /workflows?url=seq.war&version=2.0", 500)
    assert api.send("GET /operations")["operations"][0]["receipt"] == failed.headers[RECEIPT] == newest(api)


@pytest.mark.parametrize("is_failing", [False, True], ids=["succeeds", "fails"])
def test_release_has_its_receipt_at_its_end(two: ManagementApi, *, is_failing: bool) -> None:
    """Whether its client waits or not."""
    state = "failed" if is_failing else "succeeded"
    for version, query in (("2.0", ""), ("1.0", "?synchronous=false")):
        two.runtime.loaded.clear()
        if is_failing:
            two.runtime.failing.add(version)
        answer = two.client.put(f"/workflows/seq/{'2.0' if is_failing else version}/set-default{query}")
        if query:
            assert answer.status_code == 202, answer.text
            for queue in two.services.change_queues:
                queue.dispatch()
        operation = two.send("GET /operations?kind=release")["operations"][0]
        found = two.answer(f"GET /operations/{operation['id']}?wait=30")
        assert (found.get_json()["state"], found.get_json()["receipt"]) == (state, newest(two)), query
        assert (found.headers if query else answer.headers)[RECEIPT] == newest(two)


def test_new_worker_counts_have_theirs_at_once(two: ManagementApi) -> None:
    """Since they are written then; cancelling them has a later row."""
    answer = two.answer("PUT /workflows/seq?min_worker=2&max_worker=2", 202)
    path = answer.get_json()["operation"]
    assert two.send(f"GET {path}")["receipt"] == answer.headers[RECEIPT] == newest(two)
    cancelling = two.answer(f"POST {path}/cancel", 202)
    assert two.send(f"GET {path}")["receipt"] == cancelling.headers[RECEIPT] == newest(two)


def test_cancelled_registration_has_the_receipt_of_its_end(api: ManagementApi) -> None:
    """Not that of the request which cancelled it."""
    with loading(api) as (found, answer):
        cancelling = api.answer(f"POST /operations/{found['id']}/cancel", 202)
        api.services.operations.write_progress()
        refused = answer.result(30)
    ended = api.send(f"GET /operations/{found['id']}")
    assert ended["receipt"] == refused.headers[RECEIPT] == newest(api) != cancelling.headers[RECEIPT]
