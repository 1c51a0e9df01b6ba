"""Operations that somebody cancels: nothing is left of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.management_api import ManagementApi, loading
from tests.support.operations import make_operation
from tests.support.service import wait_until
from wfmgmt.domain.operations import OperationPhase, Progress

CANCELLED = "This was cancelled; nothing of it is left."


def test_registration_under_way_is_undone(api: ManagementApi) -> None:
    """Its client hears of it, the name is free, and the trail has who cancelled it and why."""
    with loading(api) as (found, answer):
        path = f"/operations/{found['id']}"
        cancelling = api.answer(f"POST {path}/cancel?reason=wrong%20one", 202)
        assert cancelling.get_json() == {"status": "Cancelling the operation...", "operation": path}
        assert (cancelling.headers["Location"], cancelling.headers["Retry-After"]) == (path, "1")
        api.send(f"POST {path}/cancel", 202)
        api.services.operations.write_progress()
        refused = answer.result(30)
    assert (refused.status_code, refused.get_json()["message"]) == (409, CANCELLED)
    ended = api.send(f"GET {path}")
    assert (ended["state"], ended["done"], ended["error"], ended["cancelledBy"]) == (
        "cancelled",
        True,
        None,
        "anonymous",
    )
    assert api.query("SELECT * FROM workflow") == []
    assert api.runtime.loaded == set()
    assert api.events() == [("cancel", "succeeded"), ("register", "failed")]
    assert "wrong one" in api.query("SELECT detail FROM audit_event WHERE action = 'cancel'")[0][0]
    api.register("1.0")


def test_registration_that_comes_up_meanwhile_is_undone_all_the_same(api: ManagementApi) -> None:
    """A cancellation that was accepted is never followed by a success."""
    with loading(api) as (found, answer):
        path = f"/operations/{found['id']}"
        api.send(f"POST {path}/cancel", 202)
        api.runtime.may_load.set()
        assert answer.result(30).status_code == 409
    assert api.send(f"GET {path}")["state"] == "cancelled"
    assert api.send("GET /workflows") == {"workflows": []}


def test_registration_that_waits_ends_at_once(api: ManagementApi) -> None:
    """It is never begun."""
    path = api.send("POST /workflows?url=seq.war&synchronous=false", 202)["operation"]
    api.send(f"POST {path}/cancel", 202)
    ended = api.send(f"GET {path}")
    assert (ended["state"], ended["startedAt"]) == ("cancelled", None)
    api.services.registration_queue.dispatch()
    assert api.runtime.loads == []
    assert api.events() == [("cancel", "succeeded")]


def test_operation_that_has_made_what_it_was_to_make_is_not_cancelled(api: ManagementApi) -> None:
    """It succeeds, whatever comes; while it switches it is still under way."""
    new = make_operation()
    with api.services.registry.write() as writer:
        assert writer.operations.begin(new, "lease")
        writer.operations.advance(new.uid, Progress(phase=OperationPhase.SWITCHING), workflow="seq")
    for request in (f"POST /operations/{new.uid}/cancel", f"POST /operations/{new.uid}/cancel?dry_run=true"):
        assert api.send(request, 409)["message"] == f"Operation {new.uid} is switching and cannot be cancelled."
    assert api.send(f"GET /operations/{new.uid}")["cancelledBy"] is None


def test_registration_whose_process_dies_meanwhile_is_cancelled(api: ManagementApi) -> None:
    """Whoever undoes it knows that it was to end."""
    path = api.send("POST /workflows?url=seq.war&synchronous=false", 202)["operation"]
    with api.services.registry.write() as writer:
        assert writer.operations.take_next("dead", lambda _: True) is not None
    api.send(f"POST {path}/cancel", 202)
    assert len(api.services.operations.recover()) == 1
    assert api.send(f"GET {path}")["state"] == "cancelled"


def test_what_has_ended_cannot_be_cancelled(api: ManagementApi) -> None:
    """Nor what there is not; the first is recorded as a refusal."""
    api.register("1.0")
    path = f"/operations/{api.send('GET /operations')['operations'][0]['id']}"
    refused = api.send(f"POST {path}/cancel", 409)
    assert (refused["type"], refused["message"].split(" ", 2)[2]) == (
        "ConflictStatusException",
        "is succeeded and cannot be cancelled.",
    )
    for uid in ("0" * 32, "x", "%00"):
        assert api.send(f"POST /operations/{uid}/cancel", 404)["type"] == "OperationNotFoundException"
    assert api.events() == [("register", "succeeded"), ("cancel", "failed")]


def test_cancelling_takes_what_every_write_takes(api: ManagementApi) -> None:
    """A plan, a condition, and a key."""
    api.register("1.0")
    with loading(api, "POST /workflows?url=other.war&workflow_name=seq&version=2.0") as (found, answer):
        path = f"/operations/{found['id']}"
        plan = api.send(f"POST {path}/cancel?dry_run=true")
        assert (plan["action"], plan["workflow"], plan["version"]) == ("remove", "seq", "2.0")
        assert api.send(f"GET {path}")["cancelledBy"] is None
        api.send(f"POST {path}/cancel", 412, headers={"If-Match": '"9"'})
        api.send(f"POST {path}/cancel?sate=x", 400)
        key = {"Idempotency-Key": "k1"}
        first = api.send(f"POST {path}/cancel?plan={plan['fingerprint']}", 202, headers=key)
        api.services.operations.write_progress()
        assert answer.result(30).status_code == 409
    again = api.answer(f"POST {path}/cancel?plan={plan['fingerprint']}", 202, headers=key)
    assert (again.get_json(), again.headers["idempotent-replayed"]) == (first, "true")
    assert [each["version"] for each in api.send("GET /workflows/seq/all")] == ["1.0"]


@pytest.mark.parametrize("prefer", ["wait=30"])
def test_client_that_waits_a_while_hears_of_it(api: ManagementApi, prefer: str) -> None:
    """As one that waits for the end."""
    client = api.client.application.test_client()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, "/workflows?url=seq.war", headers={"Prefer": prefer})
        found = wait_until(lambda: api.send("GET /operations")["operations"], what="the operation")
        api.send(f"POST /operations/{found[0]['id']}/cancel", 202)
        assert (answer.result(30).status_code, answer.result().get_json()["message"]) == (409, CANCELLED)
