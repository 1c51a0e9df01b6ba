"""What all routes that change something have in common: conditions, idempotency, plans."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.management_api import ManagementApi, Snapshot
from tests.support.service import wait_until
from wfmgmt.host import available_cores
from wfmgmt.registry.kept_answers import KeyedRequest
from wfmgmt.services import idempotency

#: Each route that changes something, with a request that it carries out on `two`.
WRITES: dict[str, tuple[str, Any]] = {
    "POST /workflows": ("POST /workflows", {"url": "seq.war", "version": "3.0"}),
    "DELETE /workflows/<name>": ("DELETE /workflows/seq", None),
    "DELETE /workflows/<workflow:name>/<version:version>": ("DELETE /workflows/seq/2.0", None),
    "PUT /workflows/<workflow:name>/<version:version>/set-default": ("PUT /workflows/seq/2.0/set-default", None),
    "PUT /workflows/<workflow:name>/traffic": ("PUT /workflows/seq/traffic", {"version": "2.0", "weight": 10}),
    "POST /workflows/<workflow:name>/rollback": ("POST /workflows/seq/rollback?to=2", None),
    "POST /workflows/<workflow:name>/rollout": ("POST /workflows/seq/rollout?action=promote", None),
    "PUT /workflows/<name>": ("PUT /workflows/seq", {"max_worker": 3, "synchronous": True}),
    "PUT /workflows/<workflow:name>/<version:version>": ("PUT /workflows/seq/2.0?max_worker=4&synchronous=true", None),
    "PUT /workflows/<workflow:name>/nodes/<node>": ("PUT /workflows/seq/nodes/m1?batch_size=2", None),
    "PUT /workflows/<workflow:name>/<version:version>/nodes/<node>": (
        "PUT /workflows/seq/2.0/nodes/m1?batch_size=3",
        None,
    ),
    "DELETE /workflows/<workflow:name>/nodes/<node>/overrides": ("DELETE /workflows/seq/nodes/m1/overrides", None),
    "DELETE /workflows/<workflow:name>/<version:version>/nodes/<node>/overrides": (
        "DELETE /workflows/seq/2.0/nodes/m1/overrides",
        None,
    ),
}
CASES = pytest.mark.parametrize(("request_", "body"), WRITES.values(), ids=WRITES)


@pytest.fixture(name="busy_kept", scope="module")
def _busy_kept(tmp_path_factory: pytest.TempPathFactory, two_kept: Snapshot) -> Snapshot:
    """An instance to copy, of `busy`."""
    folder = tmp_path_factory.mktemp("busy") / "i"
    with two_kept.copy(folder) as two:
        two.send("PUT /workflows/seq/2.0/set-default")
        shares = [{"version": "1.0", "weight": 90}, {"version": "2.0", "weight": 10}]
        two.send("PUT /workflows/seq/traffic", json={"routes": shares, "guard": {"maxErrorRate": 0.1}})
        for version in ("1.0", "2.0"):
            two.send(f"PUT /workflows/seq/{version}/nodes/m1?batch_size=9")
    return Snapshot(folder=folder, runtime=two.runtime)


@pytest.fixture(name="busy")
def _busy(tmp_path: Path, busy_kept: Snapshot) -> Iterator[ManagementApi]:
    """Both versions have a share or had one, a guard, and other settings than the spec's."""
    with busy_kept.copy(tmp_path / "i") as api:
        yield api


def make_possible(api: ManagementApi, request: str) -> None:
    """Let a request have something to change."""
    if request == "DELETE /workflows/seq/2.0":
        api.send("PUT /workflows/seq/1.0/set-default")
    if "traffic" in request:
        api.send("PUT /workflows/seq/1.0/set-default")


def test_list_of_writes_is_complete(api: ManagementApi) -> None:
    """It has every route of the API that may change a workflow; others are about no single one."""
    safe = {"GET", "HEAD", "OPTIONS"}
    rules = api.client.application.url_map.iter_rules()
    found = {f"{method} {rule.rule}" for rule in rules for method in (rule.methods or set()) - safe}
    archive = "/archives/<any(workflows, models):store>/<file>"
    others = {
        "POST /operations/<uid>/cancel",
        f"PUT {archive}",
        f"DELETE {archive}",
        "POST /apply",
        "POST /tokens",
        "DELETE /tokens/<token>",
    }
    assert {route for route in found if " /ui/" not in route} == {*WRITES, *others}


@CASES
def test_change_of_another_revision_is_refused(busy: ManagementApi, request_: str, body: Any) -> None:
    """The answer names the revision that holds, and who made it; nothing is changed."""
    make_possible(busy, request_)
    before = busy.state(with_records=False)
    revision = busy.answer("GET /workflows/seq").headers["ETag"].strip('"')
    answer = busy.send(request_, 412, json=body, headers={"If-Match": '"1", "2"'})
    assert answer["type"] == "PreconditionFailedException"
    assert answer["message"].startswith(f"Workflow seq has revision {revision}, which is not in If-Match: ")
    assert " by anonymous at 20" in answer["message"]
    assert busy.state(with_records=False) == before
    assert busy.events()[-1][1] == "failed"


@CASES
@pytest.mark.parametrize("tag", ['"{}"', "*", '"1", "{}"', "{}"])
def test_change_of_the_expected_revision_is_made_once(busy: ManagementApi, request_: str, body: Any, tag: str) -> None:
    """The entity tag of the answer is the next revision."""
    make_possible(busy, request_)
    revision = busy.describe()["revision"]
    answer = busy.answer(request_, json=body, headers={"If-Match": tag.format(revision)})
    if request_ != "DELETE /workflows/seq":
        assert answer.headers["ETag"] == f'"{revision + 1}"'
        assert busy.describe()["revision"] == revision + 1
    assert busy.events()[-1][1] == "succeeded"


def test_dry_run_leaves_its_key_for_the_change(two: ManagementApi) -> None:
    """Its answer is not kept either: the next one shows how things are then."""
    headers, path = {"Idempotency-Key": "k"}, "PUT /workflows/seq/traffic"
    body = {"routes": [{"version": "2.0", "weight": 100}]}
    for query in ("?dry_run=true", "?dry_run=TRUE"):
        assert two.send(path + query, json=body, headers=headers)["action"] == "release"
    assert two.send(path, json={**body, "dry_run": True}, headers=headers)["action"] == "release"
    assert two.send(path, json=body, headers=headers)["release"]["number"] == 2
    assert two.send(path, json={**body, "dry_run": True}, headers=headers)["action"] == "none"


@pytest.mark.parametrize("tag", ["", '""', '"', 'W/"2"', '"02"', '"2.0"', '"٢"', f'"{10**20}"', f'"{"9" * 5000}"', "é"])
def test_tag_that_is_none_of_ours_is_no_revision(two: ManagementApi, tag: str) -> None:
    """It is refused like that of another revision."""
    answer = two.send("PUT /workflows/seq/2.0/set-default", 412, headers={"If-Match": tag})
    assert answer["type"] == "PreconditionFailedException"
    assert two.describe()["revision"] == 2


def test_registration_can_ask_for_a_name_that_is_there(api: ManagementApi) -> None:
    """A workflow that does not exist has no revision."""
    answer = api.send("POST /workflows?url=seq.war", 412, headers={"If-Match": "*"})
    assert answer["message"] == "Workflow seq does not exist, so it has none of the revisions in If-Match."


@pytest.mark.parametrize("path", ["", "/1.0", "/all", "/traffic", "/releases", "/releases/1", "/diff?from=1.0&to=2.0"])
def test_answer_that_the_client_has_is_not_sent_again(two: ManagementApi, path: str) -> None:
    """As long as the revision stays."""
    tag = two.answer(f"GET /workflows/seq{path}").headers["ETag"]
    assert tag == '"2"'
    answer = two.answer(f"GET /workflows/seq{path}", 304, headers={"If-None-Match": tag})
    assert (answer.data, answer.headers["ETag"]) == (b"", tag)
    two.send("PUT /workflows/seq?max_worker=2", 202)
    assert two.answer(f"GET /workflows/seq{path}", headers={"If-None-Match": tag}).headers["ETag"] == '"3"'


@CASES
def test_repeated_request_is_answered_alike_and_carried_out_once(busy: ManagementApi, request_: str, body: Any) -> None:
    """Also a second later, with a trailing slash or without."""
    make_possible(busy, request_)
    headers = {"Idempotency-Key": "key 1"}
    first = busy.answer(request_, json=body, headers=headers)
    assert "idempotent-replayed" not in first.headers
    before = busy.state()
    method, path = request_.split(" ", 1)
    path, question, query = path.partition("?")
    for repeated in (request_, f"{method} {path}/{question}{query}"):
        again = busy.answer(repeated, json=body, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.data == first.data
        assert [again.headers.get(name) for name in ("ETag", "Location")] == [
            first.headers.get(name) for name in ("ETag", "Location")
        ]
    assert busy.state() == before


def test_key_belongs_to_method_and_path(two: ManagementApi) -> None:
    """The same one elsewhere is another."""
    headers = {"Idempotency-Key": "k"}
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10", headers=headers)
    two.send("PUT /workflows/seq/2.0/set-default", headers=headers)
    assert len(two.query("SELECT * FROM idempotency_key")) == 2


@pytest.mark.parametrize(
    ("request_", "body", "more"),
    [
        ("PUT /workflows/seq/traffic?version=2.0&weight=11", None, {}),
        ("PUT /workflows/seq/traffic", {"version": "2.0", "weight": 10}, {}),
        ("PUT /workflows/seq/traffic?version=2.0&weight=10", None, {"If-Match": '"3"'}),
    ],
    ids=["query", "body", "condition"],
)
def test_key_of_another_request_is_refused(two: ManagementApi, request_: str, body: Any, more: dict[str, str]) -> None:
    """A client that takes the same key for different requests has a defect."""
    headers = {"Idempotency-Key": "k"}
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10", headers=headers)
    answer = two.send(request_, 422, json=body, headers={**headers, **more})
    assert answer["type"] == "IdempotencyKeyReusedException"
    assert two.describe()["revision"] == 3


def test_refusals_are_kept_and_failures_of_the_server_are_not(two: ManagementApi) -> None:
    """Another attempt after a 503 is another attempt."""
    headers = {"Idempotency-Key": "k"}
    first = two.answer("PUT /workflows/seq/9/set-default", 404, headers=headers)
    again = two.answer("PUT /workflows/seq/9/set-default", 404, headers=headers)
    assert (again.data, again.headers["idempotent-replayed"]) == (first.data, "true")
    two.runtime.failing.add("3.0")
    registration = {"url": "seq.war", "version": "3.0"}
    two.answer("POST /workflows", 500, json=registration, headers=headers)
    two.runtime.failing.clear()
    assert "idempotent-replayed" not in two.answer("POST /workflows", json=registration, headers=headers).headers


def test_request_under_way_is_not_carried_out_twice(two: ManagementApi) -> None:
    """The second one is told to come back."""
    headers = {"Idempotency-Key": "k"}
    two.runtime.may_load.clear()
    registration = {"url": "seq.war", "version": "3.0"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(two.answer, "POST /workflows", json=registration, headers=headers)
        wait_until(lambda: "seq/3.0" in two.runtime.loads, timeout_s=30, what="the load")
        answer = two.answer("POST /workflows", 409, json=registration, headers=headers)
        assert (answer.headers["Retry-After"], answer.get_json()["type"]) == ("1", "ConflictStatusException")
        two.runtime.may_load.set()
        assert first.result(30).status_code == 200
    assert two.answer("POST /workflows", json=registration, headers=headers).headers["idempotent-replayed"] == "true"


class Killed(BaseException):
    """The end of a process in the middle of a request."""


def test_change_of_a_process_that_died_is_not_made_again(two: ManagementApi) -> None:
    """The answer is kept with the change: a second rollback would go one release too far."""
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10")
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=20")
    headers = {"Idempotency-Key": "k"}
    two.runtime.dies = Killed()
    with pytest.raises(Killed):
        two.answer("POST /workflows/seq/rollback", headers=headers)
    two.runtime.dies = None
    again = two.answer("POST /workflows/seq/rollback", headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.get_json()["release"]["number"] == 4
    assert two.describe()["release"] == 4


def test_request_whose_process_died_before_its_change_is_carried_out(two: ManagementApi) -> None:
    """Its lease is gone with it."""
    headers = {"Idempotency-Key": "k"}
    two.send("PUT /workflows/seq/2.0/set-default", headers=headers)
    with two.services.registry.write() as writer:
        (scope, sha256) = two.query("SELECT scope, request_sha256 FROM idempotency_key")[0]
        writer.kept_answers.begin(KeyedRequest(scope=scope, key="k", sha256=sha256), "request-of-a-dead-process")
    answer = two.answer("PUT /workflows/seq/2.0/set-default", headers=headers)
    assert "idempotent-replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "ü"], ids=["empty", "long", "tab", "not ASCII"])
def test_malformed_keys_are_refused(two: ManagementApi, key: str) -> None:
    """Before anything is done."""
    before = two.state()
    answer = two.send("DELETE /workflows/seq", 400, headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert answer["message"].startswith("Header Idempotency-Key: expected 1 to 255 printable ASCII characters")
    assert two.state() == before


def test_oldest_keys_are_freed_when_there_are_too_many(two: ManagementApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are for clients that repeat a request soon."""
    monkeypatch.setattr(idempotency, "MAX_KEPT", 2)
    for number in range(4):
        two.send(f"PUT /workflows/seq/traffic?version=2.0&weight={number}", headers={"Idempotency-Key": str(number)})
    two.services.idempotency.clean()
    assert two.query("SELECT key FROM idempotency_key ORDER BY at") == [("2",), ("3",)]


def test_keys_are_freed_after_a_day(two: ManagementApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """By housekeeping, and by a request that comes before it does."""
    headers = {"Idempotency-Key": "k"}
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10", headers=headers)
    two.services.idempotency.clean()
    assert len(two.query("SELECT * FROM idempotency_key")) == 1
    monkeypatch.setattr(idempotency, "KEPT", timedelta(0))
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=11", headers=headers)
    two.services.idempotency.clean()
    assert two.query("SELECT * FROM idempotency_key") == []


@CASES
def test_dry_run_changes_nothing_and_shows_the_plan(busy: ManagementApi, request_: str, body: Any) -> None:
    """Nothing is recorded either, loaded or reached; the plan can be carried out then."""
    make_possible(busy, request_)
    before, loads, reached = busy.state(), list(busy.runtime.loads), list(busy.runtime.reached)
    plan = busy.send(_with(request_, "dry_run=true"), json=body)
    assert (plan["workflow"], plan["fingerprint"][:2]) == ("seq", "p-")
    assert plan["action"] != "none"
    assert busy.state() == before
    assert (busy.runtime.loads, busy.runtime.reached) == (loads, reached)
    done = busy.answer(_with(request_, f"plan={plan['fingerprint']}"), json=body)
    assert "fingerprint" not in done.get_json()
    assert busy.events()[-1][1] == "succeeded"


def _with(request: str, parameter: str) -> str:
    return f"{request}{'&' if '?' in request else '?'}{parameter}"


def test_plan_of_a_registration_covers_its_timeouts(busy: ManagementApi) -> None:
    """With others it is another plan."""
    request = "POST /workflows?url=seq.war&workflow_name=seq&version=9.0&response_timeout=60"
    plan = busy.send(_with(request, "dry_run=true"))
    assert {"path": "responseTimeout", "before": None, "after": 60} in plan["changes"]
    refused = busy.send(_with(request.replace("=60", "=61"), f"plan={plan['fingerprint']}"), 409)
    assert refused["type"] == "StalePlanException"


@CASES
def test_plan_that_is_outdated_is_not_carried_out(busy: ManagementApi, request_: str, body: Any) -> None:
    """Any change of the workflow makes it so."""
    make_possible(busy, request_)
    plan = busy.send(_with(request_, "dry_run=true"), json=body)["fingerprint"]
    busy.send("PUT /workflows/seq/nodes/pre_processing?timeout_ms=5")
    before = busy.state(with_records=False)
    answer = busy.send(_with(request_, f"plan={plan}"), 409, json=body)
    assert answer["type"] == "StalePlanException"
    assert busy.state(with_records=False) == before


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("POST /workflows?url=seq.war", 409),
        ("POST /workflows?url=nosuch.war", 404),
        ("POST /workflows?url=seq.war&version=all", 400),
        ("DELETE /workflows/nosuch", 404),
        ("DELETE /workflows/seq/1.0", 409),
        ("PUT /workflows/seq/9/set-default", 404),
        ("PUT /workflows/seq/traffic?version=2.0&weight=101", 400),
        ("PUT /workflows/seq?min_worker=7", 400),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dry_run_is_refused_as_the_change_would_be(two: ManagementApi, request_: str, status: int) -> None:
    """With the same words, and no event."""
    before = two.state()
    planned = two.send(_with(request_, "dry_run=true"), status)
    assert two.state() == before
    assert two.send(request_, status) == planned


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        ("POST /workflows", {"error": {"type": "BadRequest", "message": "Parameter url is required."}}),
        (
            "PUT /workflows/seq/9/nodes/m1?batch_size=0",
            {
                "version": "9",
                "node": "m1",
                "error": {
                    "type": "BadRequest",
                    "message": "Parameter batch_size: expected a whole number from 1 to 2147483647, got '0'.",
                },
            },
        ),
    ],
    ids=["registration", "setting"],
)
def test_refusal_is_recorded_once_with_what_was_asked_unless_it_was_a_dry_run(
    two: ManagementApi, request_: str, detail: dict[str, Any]
) -> None:
    """Also one that could not even be understood."""
    events = len(two.events())
    two.send(_with(request_, "dry_run=true"), 400)
    assert len(two.events()) == events
    two.send(request_, 400)
    (recorded,) = two.query("SELECT detail FROM audit_event WHERE id > ?", events)
    assert json.loads(recorded[0]) == detail


def test_refusal_under_a_name_that_no_workflow_can_have_is_recorded_without_it(two: ManagementApi) -> None:
    """PostgreSQL takes no NUL, and an event that cannot be recorded would hold up those behind it."""
    two.send("DELETE /workflows/a%00b?colour=red", 400)
    assert two.query("SELECT action, workflow FROM audit_event ORDER BY id DESC LIMIT 1") == [("unregister", "")]


def test_plan_of_a_registration_says_what_would_be_loaded(two: ManagementApi) -> None:
    """Archives with digests, functions with lines, workers and routes."""
    plan = two.send("POST /workflows?url=seq.war&version=3.0&set_default=true&dry_run=true")
    assert (plan["action"], plan["version"], plan["archive"]["sameAs"]) == ("add-version", "3.0", "1.0")
    assert (plan["archive"]["url"], plan["archive"]["source"]) == ("seq.war", "store")
    assert [(model["node"], model["url"]) for model in plan["models"]] == [("m1", "m1.mar")]
    threads = available_cores()
    assert plan["functions"] == [
        {"name": "pre_processing", "line": 1, "threads": threads},
        {"name": "post_processing", "line": 5, "threads": threads},
    ]
    assert plan["workers"] == {"now": 3, "after": 3}
    assert plan["routes"] == {"before": {"1.0": 100}, "after": {"3.0": 100}}


def test_plan_of_what_holds_already_is_to_do_nothing(two: ManagementApi) -> None:
    """Its action says so."""
    for request in ("PUT /workflows/seq/1.0/set-default", "PUT /workflows/seq?max_worker=1"):
        plan = two.send(_with(request, "dry_run=true"))
        assert (plan["action"], plan["changes"]) == ("none", [])


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """Return what a call returns for each of many numbers, in threads of their own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_of_many_that_expect_the_same_revision_one_wins(two: ManagementApi) -> None:
    """The others hear of it."""
    application = two.client.application

    def change(number: int) -> int:
        path = f"/workflows/seq/traffic?version=2.0&weight={number + 1}"
        return application.test_client().put(path, headers={"If-Match": '"2"'}).status_code

    assert sorted(at_once(16, change)) == [200] + [412] * 15
    assert two.describe()["revision"] == 3


def test_many_changes_at_once_are_one_after_another(two: ManagementApi) -> None:
    """Each is one release and one event, in one order."""
    application = two.client.application

    def change(number: int) -> int:
        path = f"/workflows/seq/traffic?version=2.0&weight={number + 1}"
        return int(application.test_client().put(path).get_json()["release"]["number"])

    assert sorted(at_once(16, change)) == list(range(2, 18))
    events = two.query("SELECT json_extract(detail, '$.release') FROM audit_event WHERE action = 'traffic' ORDER BY id")
    assert [number for (number,) in events] == list(range(2, 18))
