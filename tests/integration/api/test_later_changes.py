"""Releases that have to load versions, and new worker counts: operations that others see, wait for and cancel."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_war
from tests.support.management_api import ManagementApi, loading, make_instance, management_api
from tests.support.service import wait_until
from wfmgmt.control.messages import ReachReport
from wfmgmt.domain.operations import OperationKind, OperationState
from wfmgmt.errors import OperationCancelled, RegistryUnavailable

SET_DEFAULT = "PUT /workflows/seq/2.0/set-default"
SCALE = "PUT /workflows/seq?min_worker=2&max_worker=4"


@pytest.fixture(name="seq")
def _seq(api: ManagementApi) -> ManagementApi:
    """Give `seq`, of which 1.0 has all requests and 2.0 is parked."""
    api.register("1.0")
    api.register("2.0")
    park(api)
    return api


def park(api: ManagementApi) -> None:
    """Have 2.0 loaded no more."""
    ((uid,),) = api.query("SELECT uid FROM workflow_version WHERE version = '2.0'")
    api.runtime.loaded.discard(uid)
    api.runtime.loads.clear()


def operation(api: ManagementApi, path: str) -> dict[str, Any]:
    """Return an operation."""
    found: dict[str, Any] = api.send(f"GET {path}")
    return found


def done(api: ManagementApi, path: str) -> dict[str, Any]:
    """Have the service carry out what waits, and return an operation once it is done."""

    def look() -> dict[str, Any] | None:
        for queue in api.services.change_queues:
            queue.dispatch()
        api.services.operations.write_progress()
        found = operation(api, path)
        return found if found["done"] else None

    ended: dict[str, Any] = wait_until(look, what="the end of the operation")
    return ended


def settings(api: ManagementApi) -> tuple[int, int]:
    """Return the worker counts of the model of the default version."""
    model = next(each for each in api.describe()["nodes"] if each["name"] == "m1")
    return model["minWorkers"], model["maxWorkers"]


def default(api: ManagementApi) -> str:
    """Return the version that answers."""
    return str(api.describe()["version"])


def test_release_that_loads_nothing_is_made_at_once_for_those_who_would_not_wait(api: ManagementApi) -> None:
    """There is nothing to wait for, and no operation."""
    api.register("1.0")
    api.register("2.0")
    assert api.send(f"{SET_DEFAULT}?synchronous=false")["release"]["number"] == 2
    assert api.send("POST /workflows/seq/rollback", headers={"Prefer": "respond-async"})["release"]["number"] == 3
    assert api.send("GET /operations?kind=release") == {"operations": []}


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (SET_DEFAULT, None),
        ("PUT /workflows/seq/traffic?version=2.0&weight=10", None),
        ("PUT /workflows/seq/traffic", {"routes": [{"version": "2.0", "weight": 100}]}),
    ],
    ids=["set-default", "share", "table"],
)
@pytest.mark.parametrize("prefer", [None, "respond-async"])
def test_release_that_has_to_load_is_accepted_and_made_later(
    seq: ManagementApi, request_: str, body: Any, prefer: str | None
) -> None:
    """With one event, of the request that asked for it."""
    headers = {"x-request-id": "r7", **({"Prefer": prefer} if prefer else {})}
    mark = "" if prefer else f"{'&' if '?' in request_ else '?'}synchronous=false"
    answer = seq.answer(f"{request_}{mark}", 202, headers=headers, json=body)
    path = answer.headers["Location"]
    assert answer.get_json() == {"status": "Processing the release...", "operation": path}
    assert answer.headers["Retry-After"] == "1"
    waiting = operation(seq, path)
    assert (waiting["kind"], waiting["workflow"], waiting["state"]) == ("release", "seq", "queued")
    ended = done(seq, path)
    assert (ended["state"], ended["phase"]) == ("succeeded", "switching")
    assert set(ended["progress"]["nodes"]) == {"pre_processing", "m1", "post_processing"}
    result = ended["result"]
    assert (result["revision"], result["changed"]) == (3, True)
    assert result["release"] == seq.send("GET /workflows/seq/releases/2")
    assert seq.runtime.loads == ["seq/2.0"]
    assert seq.query("SELECT outcome FROM audit_event WHERE request_id = 'r7'") == [("succeeded",)]


def test_client_that_waits_for_a_release_sees_it_as_an_operation(seq: ManagementApi) -> None:
    """The same release again names it; another one does not mind."""
    with loading(seq, SET_DEFAULT) as (begun, answer):
        path = f"/operations/{begun['id']}"
        found = operation(seq, path)
        assert (found["state"], found["phase"], found["version"]) == ("running", "loading", "2.0")
        for mark in ("", "?synchronous=false"):
            refused = seq.send(f"{SET_DEFAULT}{mark}", 409)
            assert refused["operation"] == path
            assert "Workflow seq is getting this release right now" in refused["message"]
        shares = {"routes": [{"version": "1.0", "weight": 90}, {"version": "2.0", "weight": 10}]}
        other = seq.send("PUT /workflows/seq/traffic?synchronous=false", 202, json=shares)["operation"]
        seq.runtime.may_load.set()
        assert answer.result(30).get_json()["release"]["number"] == 2
    assert operation(seq, path)["state"] == "succeeded"
    assert done(seq, other)["state"] == "succeeded"


def test_cancelled_release_changes_nothing(seq: ManagementApi) -> None:
    """Also one whose versions come up all the same; two events say so."""
    with loading(seq, SET_DEFAULT) as (begun, answer):
        path = f"/operations/{begun['id']}"
        seq.send(f"POST {path}/cancel?reason=no", 202)
        seq.services.operations.write_progress()
        assert answer.result(30).status_code == 409
    assert operation(seq, path)["state"] == "cancelled"
    park(seq)
    with loading(seq, SET_DEFAULT) as (begun, answer):
        path = f"/operations/{begun['id']}"
        seq.send(f"POST {path}/cancel", 202)
        seq.runtime.may_load.set()
        assert answer.result(30).status_code == 409
    assert default(seq) == "1.0"
    assert seq.events()[2:] == [("cancel", "succeeded"), ("set-default", "failed")] * 2


def test_release_whose_version_does_not_load_fails_with_the_reason(seq: ManagementApi) -> None:
    """And with an event, although nobody waits for it."""
    seq.runtime.failing.add("2.0")
    ended = done(seq, seq.send(f"{SET_DEFAULT}?synchronous=false", 202)["operation"])
    assert (ended["state"], ended["error"]["type"], ended["result"]) == ("failed", "ConflictStatusException", None)
    assert "the test makes it fail" in ended["error"]["message"]
    assert (default(seq), seq.events()[2:]) == ("1.0", [("set-default", "failed")])


def test_client_that_waits_a_while_is_answered_as_one_that_waits(seq: ManagementApi) -> None:
    """When it is done by then."""
    client = seq.client.application.test_client()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.put, "/workflows/seq/2.0/set-default", headers={"Prefer": "wait=30"})
        (found,) = wait_until(lambda: seq.send("GET /operations?kind=release")["operations"], what="the operation")
        assert done(seq, f"/operations/{found['id']}")["state"] == "succeeded"
        made = answer.result(30)
    assert made.get_json()["status"] == 'Default version successfully updated for workflow "seq" to "2.0"'
    assert (made.status_code, made.headers["ETag"]) == (200, '"3"')


def test_release_that_finds_no_thread_is_made_later(seq: ManagementApi) -> None:
    """Registrations have threads of their own."""
    with ExitStack() as slots:
        for _ in range(seq.services.settings.concurrent_registrations):
            slots.enter_context(seq.services.long_requests.registration_slot())
        seq.send(SET_DEFAULT)
        seq.send("PUT /workflows/seq/1.0/set-default")
        park(seq)
        for _ in range(seq.services.settings.concurrent_changes):
            slots.enter_context(seq.services.long_requests.change_slot())
        assert done(seq, seq.send(SET_DEFAULT, 202)["operation"])["state"] == "succeeded"


def test_conditions_of_a_release_hold_when_it_is_made(seq: ManagementApi) -> None:
    """A key has the same answer; a rollback means what it meant when it was asked for."""
    seq.send(SET_DEFAULT)
    seq.send("PUT /workflows/seq/1.0/set-default")
    park(seq)
    stale = seq.send(f"{SET_DEFAULT}?synchronous=false", 202, headers={"If-Match": '"4"', "Idempotency-Key": "k"})
    again = seq.answer(f"{SET_DEFAULT}?synchronous=false", 202, headers={"If-Match": '"4"', "Idempotency-Key": "k"})
    assert (again.get_json(), again.headers["idempotent-replayed"]) == (stale, "true")
    back = seq.send("POST /workflows/seq/rollback?synchronous=false", 202)["operation"]
    seq.send(
        "PUT /workflows/seq/traffic", json={"routes": [{"version": "1.0", "weight": 100}], "sticky": {"header": "u"}}
    )
    assert done(seq, stale["operation"])["error"]["type"] == "PreconditionFailedException"
    ended = done(seq, back)
    assert (ended["state"], ended["result"]["release"]["routes"]) == ("succeeded", [{"version": "2.0", "weight": 100}])
    plan = seq.send(f"{SET_DEFAULT}?synchronous=false&dry_run=true")
    assert plan["workflow"] == "seq"


def test_release_whose_process_dies_is_made_by_the_next(seq: ManagementApi) -> None:
    """Once: what was killed twice ends with the reason, and with an event."""
    path = seq.send(f"{SET_DEFAULT}?synchronous=false", 202)["operation"]
    for state in ("queued", "failed"):
        with seq.services.registry.write() as writer:
            assert writer.operations.take_next("dead", lambda _: True) is not None
        (sentence,) = seq.services.operations.recover()
        assert sentence.endswith("the interrupted release of seq")
        assert operation(seq, path)["state"] == state
    assert "in 2 attempts" in operation(seq, path)["error"]["message"]
    assert (default(seq), seq.events()[2:]) == ("1.0", [("set-default", "failed")])


def test_new_worker_counts_are_followed_until_the_workers_are_up(seq: ManagementApi) -> None:
    """One event, which was there at once."""
    path = seq.send(f"{SCALE}&reason=busy", 202)["operation"]
    waiting = operation(seq, path)
    assert (waiting["kind"], waiting["version"], waiting["state"]) == ("scale", "1.0", "queued")
    ended = done(seq, path)
    assert (ended["state"], ended["phase"], ended["result"]) == (
        "succeeded",
        "loading",
        {"version": "1.0", "revision": 3},
    )
    assert ended["progress"]["nodes"] == {"m1": {"ready": 2, "wanted": 2}}
    assert seq.events()[2:] == [("scale", "succeeded")]
    assert seq.query("SELECT kind, state FROM v_operation ORDER BY created_at DESC LIMIT 1") == [("scale", "succeeded")]


def test_client_that_waited_for_workers_has_an_operation_that_is_done(seq: ManagementApi) -> None:
    """Its next change does not end that as if it had not been in time."""
    for count in (2, 3):
        seq.send(f"PUT /workflows/seq?min_worker={count}&max_worker=4&synchronous=true")
        (found,) = seq.send("GET /operations?limit=1")["operations"]
        assert (found["state"], found["progress"]["nodes"]) == ("succeeded", {"m1": {"ready": count, "wanted": count}})
        assert (found["result"]["version"], found["startedAt"] is None) == ("1.0", False)
    assert {each["state"] for each in seq.send("GET /operations?kind=scale")["operations"]} == {"succeeded"}


def test_workers_that_do_not_come_up_are_why_it_fails(seq: ManagementApi) -> None:
    """They stay wanted, and the runtime goes on."""
    seq.runtime.problem = "version 1.0: m1: 1 of 2 workers ready"
    ended = done(seq, seq.send(SCALE, 202)["operation"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", 503)
    assert "will come into force by itself; not yet: version 1.0: m1: 1 of 2" in ended["error"]["message"]
    assert settings(seq) == (2, 4)
    again = seq.send(SCALE, 202)
    assert (again["changed"], again["status"]) == (False, "Processing worker updates...")
    waited = seq.send(f"{SCALE}&synchronous=true&timeout=1", 206)
    assert (waited["operation"], waited["problem"]) == (again["operation"], seq.runtime.problem)
    seq.runtime.problem = ""
    assert done(seq, again["operation"])["state"] == "succeeded"


def test_counts_that_are_in_force_are_so_whatever_cannot_be_recorded(
    seq: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is made and answered; the thread that follows the operation ends it a little later."""
    with monkeypatch.context() as broken:
        broken.setattr(seq.services.operations, "succeed", _unavailable)
        assert seq.send(f"{SCALE}&synchronous=true")["status"] == "Workers scaled to 2 for workflow: seq"
    assert seq.events()[2:] == [("scale", "succeeded")]
    (found,) = seq.send("GET /operations?limit=1")["operations"]
    assert done(seq, f"/operations/{found['id']}")["state"] == "succeeded"


def test_registration_is_made_whatever_cannot_be_read_after_it(
    seq: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime finds out by itself."""
    monkeypatch.setattr(
        seq.runtime, "on_registered", lambda _: monkeypatch.setattr(seq.services.registry, "read", _unavailable)
    )
    answer = seq.send("POST /workflows", json={"url": "seq.war", "version": "3.0", "set_default": True})
    assert answer["default"] is True
    assert seq.events()[2:] == [("register-version", "succeeded")]


def _unavailable(*_: object) -> None:
    raise RegistryUnavailable("The registry cannot be reached.")


def test_scaling_that_hangs_holds_no_release_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind has threads of its own."""
    with management_api(make_instance(tmp_path / "instance"), operations=1) as api:
        api.register("1.0")
        api.register("2.0")
        park(api)
        api.send("POST /workflows?url=fun.war")
        ((hanging,),) = api.query("SELECT uid FROM workflow WHERE name = 'fun'")
        reach = api.runtime.reach

        def reach_others(uid: str, revision: int, wait_s: float, **more: Any) -> ReachReport:
            is_hanging = uid == hanging
            return ReachReport(revision=0, reached=False) if is_hanging else reach(uid, revision, wait_s, **more)

        with monkeypatch.context() as held:
            held.setattr(api.runtime, "reach", reach_others)
            scaling = api.send("PUT /workflows/fun/nodes/pre_processing?max_worker=2", 202)["operation"]
            release = api.send(f"{SET_DEFAULT}?synchronous=false", 202)["operation"]
            assert done(api, release)["state"] == "succeeded"
            wait_until(lambda: operation(api, scaling)["state"] == "running", what="the scaling")
        assert done(api, scaling)["state"] == "succeeded"


def test_counts_of_one_node_end_no_operation_about_others(seq: ManagementApi) -> None:
    """That goes on, and cancelling it gives only these their former counts back."""
    store = seq.services.settings.workflow_store
    make_war(store, name="two", spec="models: {a: {url: m1.mar}, b: {url: m1.mar}}\ndag: {a: [b]}\n", handler=None)
    seq.send("POST /workflows?url=two.war")
    both = seq.send("PUT /workflows/two?max_worker=5", 202)["operation"]
    one = seq.send("PUT /workflows/two/nodes/a?max_worker=3", 202)["operation"]
    assert [operation(seq, path)["state"] for path in (both, one)] == ["queued"] * 2
    seq.send(f"POST {both}/cancel", 202)
    assert [node["maxWorkers"] for node in seq.describe("two")["nodes"]] == [3, 1]
    assert done(seq, one)["state"] == "succeeded"


def test_same_counts_again_have_the_operation_that_is_at_work(seq: ManagementApi) -> None:
    """A request may be repeated; what is done has none."""
    path = seq.send(SCALE, 202)["operation"]
    again = seq.send(SCALE, 202)
    assert again == {"status": "Processing worker updates...", "operation": path, "changed": False}
    seq.runtime.problem = "the test says so"
    assert seq.send("PUT /workflows/seq/nodes/m1?batch_size=1")["changed"] is False
    seq.runtime.problem = ""
    assert done(seq, path)["state"] == "succeeded"
    assert seq.send(SCALE) == {"status": "Workers scaled to 2 for workflow: seq", "changed": False}


def test_other_counts_take_the_place_of_those_that_are_not_there_yet(seq: ManagementApi) -> None:
    """The first operation ends without success; that of another node goes on."""
    first = seq.send(SCALE, 202)["operation"]
    other = seq.send("PUT /workflows/seq/nodes/pre_processing?max_worker=2", 202)["operation"]
    second = seq.send("PUT /workflows/seq?min_worker=1&max_worker=3", 202)["operation"]
    assert operation(seq, first)["state"] == "cancelled"
    assert seq.ended[2:] == [(OperationKind.SCALE, OperationState.CANCELLED)]
    assert [done(seq, path)["state"] for path in (other, second)] == ["succeeded"] * 2
    assert settings(seq) == (1, 3)


def test_cancelled_scaling_gives_the_former_counts_back(seq: ManagementApi) -> None:
    """At once, with one event; what was changed since, and other settings, stay."""
    path = seq.send(SCALE, 202)["operation"]
    seq.send("PUT /workflows/seq/nodes/m1?batch_size=4")
    plan = seq.send(f"POST {path}/cancel?dry_run=true")
    assert (plan["action"], settings(seq)) == ("update", (2, 4))
    seq.send(f"POST {path}/cancel?plan={plan['fingerprint']}", 202)
    assert (operation(seq, path)["state"], settings(seq)) == ("cancelled", (1, 1))
    model = next(each for each in seq.describe()["nodes"] if each["name"] == "m1")
    assert (model["batchSize"], model["overridden"]) == (4, ["batchSize"])
    ((detail,),) = seq.query("SELECT detail FROM audit_event WHERE action = 'cancel'")
    assert (
        json.loads(detail)["changes"]
        == plan["changes"]
        == [
            {"path": "nodes.m1.minWorkers", "before": 2, "after": 1},
            {"path": "nodes.m1.maxWorkers", "before": 4, "after": 1},
        ]
    )
    assert seq.events()[2:] == [("scale", "succeeded"), ("update", "succeeded"), ("cancel", "succeeded")]


def test_scaling_under_way_is_cancelled_before_it_can_succeed(seq: ManagementApi) -> None:
    """By the process that follows it."""
    path = seq.send(SCALE, 202)["operation"]
    _releases, queue, _applications = seq.services.change_queues
    operations = seq.services.operations
    with pytest.raises(OperationCancelled), operations.run_next(queue.kinds, queue.may_take) as taken:
        assert taken is not None
        seq.send(f"POST {path}/cancel", 202)
        assert settings(seq) == (1, 1)
        queue.carry_out(*taken)
    assert operation(seq, path)["state"] == "cancelled"


def test_scaling_is_followed_by_the_next_process_however_often_one_dies(seq: ManagementApi) -> None:
    """It only looks; and it ends with its version."""
    path = seq.send(SCALE, 202)["operation"]
    for _ in range(4):
        with seq.services.registry.write() as writer:
            assert writer.operations.take_next("dead", lambda _: True) is not None
        assert seq.services.operations.recover() == ["begin again with the interrupted scaling of seq"]
    with management_api(seq.services.settings.instance, like=seq.runtime) as other:
        assert done(other, path)["state"] == "succeeded"
    path = seq.send("PUT /workflows/seq?min_worker=1", 202)["operation"]
    seq.send("DELETE /workflows/seq")
    assert done(seq, path)["error"]["code"] == 404
