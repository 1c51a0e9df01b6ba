"""Registrations that are accepted now and carried out later."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_war
from tests.support.management_api import ManagementApi, management_api
from tests.support.service import wait_until
from tests.support.web_files import WebFiles, web_files
from wfmgmt.services import operations as operations_module
from wfmgmt.services import registration_queue

LATER = "POST /workflows?synchronous=false&url=seq.war"
NODES = ("pre_processing", "m1", "post_processing")


def operation(api: ManagementApi, accepted: dict[str, Any]) -> dict[str, Any]:
    """Return the operation of what was accepted."""
    found: dict[str, Any] = api.send(f"GET {accepted['operation']}")
    return found


def done(api: ManagementApi, accepted: dict[str, Any]) -> dict[str, Any]:
    """Have the service carry out what waits, and return the operation of what was accepted once it is done."""

    def look() -> dict[str, Any] | None:
        api.services.registration_queue.dispatch()
        found = operation(api, accepted)
        return found if found["done"] else None

    ended: dict[str, Any] = wait_until(look, what="the end of the operation")
    return ended


@contextmanager
def dispatching(api: ManagementApi) -> Iterator[None]:
    """Have the service carry out what comes while the block runs, as its threads do."""
    is_over = False

    def dispatch() -> None:
        while not is_over:
            api.services.registration_queue.dispatch()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(dispatch)
        try:
            yield
        finally:
            is_over = True
            working.result(10)


def test_registration_is_accepted_and_carried_out_later(api: ManagementApi) -> None:
    """The answer says where its operation is; the audit trail has the request that asked for it."""
    answer = api.answer(LATER, 202, headers={"x-request-id": "r7"})
    accepted = answer.get_json()
    assert list(accepted) == ["status", "operation"]
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == (accepted["operation"], "1")
    waiting = operation(api, accepted)
    assert (waiting["state"], waiting["phase"], waiting["startedAt"]) == ("queued", None, None)
    assert [each["state"] for each in api.send("GET /workflows?state=registering")["workflows"]] == ["registering"]
    assert api.send("GET /workflows") == {"workflows": []}
    ended = done(api, accepted)
    assert (ended["state"], ended["workflow"]) == ("succeeded", "seq")
    assert ended["result"] == {"version": "1.0", "default": True, "revision": 1, "warnings": []}
    assert api.describe()["version"] == "1.0"
    events = api.query("SELECT action, outcome, actor, request_id FROM audit_event")
    assert events == [("register", "succeeded", "anonymous", "r7")]


@pytest.mark.parametrize("prefer", ["respond-async", "foo, Respond-Async", "respond-async, wait=0"])
def test_client_may_prefer_not_to_wait(api: ManagementApi, prefer: str) -> None:
    """In the words of RFC 7240."""
    assert done(api, api.send("POST /workflows?url=seq.war", 202, headers={"Prefer": prefer}))["state"] == "succeeded"


def test_client_may_prefer_to_wait_for_a_while(api: ManagementApi) -> None:
    """What is done by then is answered as if it had waited for the end."""
    with dispatching(api):
        prefer = {"Prefer": "wait=30"}
        answer = api.answer("POST /workflows?url=seq.war", headers=prefer)
        status = "Workflow seq has been registered and scaled successfully."
        assert answer.data == f'{{\n  "status": "{status}"\n}}\n'.encode()
        further = api.send("POST /workflows?url=seq.war&version=2.0", headers=prefer)
        assert further == {
            "status": "Workflow seq version 2.0 has been registered and scaled successfully.",
            "version": "2.0",
            "default": False,
        }
        api.runtime.failing.add("3.0")
        failed = api.send("POST /workflows?url=seq.war&version=3.0", 500, headers=prefer)
        assert failed["type"] == "WorkflowException"
        api.runtime.may_load.clear()
        api.send("POST /workflows?url=fun.war", 202, headers={"Prefer": "wait=1"})
        api.runtime.may_load.set()


def test_what_can_be_refused_at_once_is(api: ManagementApi) -> None:
    """As without it, and nothing waits."""
    api.register("1.0")
    for request, status in (
        ("url=nosuch.war", 404),
        ("url=seq.war&workflow_name=seq", 409),
        ("url=seq.war&version=all", 400),
        ("url=http://127.0.0.1/x.war", 404),
        ("url=seq.war&sinchronous=false", 400),
    ):
        api.send(f"POST /workflows?synchronous=false&{request}", status)
    api.send("POST /workflows?url=seq.war&synchronous=perhaps", 400)
    first = api.send(f"{LATER}&version=2.0", 202)
    assert api.send(f"{LATER}&version=2.0", 409)["operation"] == first["operation"]
    assert api.send("POST /workflows?url=seq.war&version=2.0", 409)["operation"] == first["operation"]
    assert done(api, first)["state"] == "succeeded"


def test_few_are_carried_out_at_a_time_and_all_in_their_order(api: ManagementApi) -> None:
    """The others wait in the table, without a thread."""
    api.runtime.may_load.clear()
    accepted = [api.send(f"{LATER}&workflow_name=w{number}", 202) for number in range(7)]
    for _ in range(3):
        api.services.registration_queue.dispatch()
    wait_until(lambda: len(api.runtime.loads) == 4, what="the loads")
    assert sorted(api.runtime.loads) == [f"w{number}/1.0" for number in range(4)]
    assert [operation(api, each)["state"] for each in accepted] == ["running"] * 4 + ["queued"] * 3
    api.runtime.may_load.set()
    assert {done(api, each)["state"] for each in accepted} == {"succeeded"}
    assert sorted(api.runtime.loads[4:]) == ["w4/1.0", "w5/1.0", "w6/1.0"]


def test_registration_that_finds_no_thread_is_carried_out_later(api: ManagementApi) -> None:
    """What can be refused at once still is; one that asks for a plan has nothing to carry out."""
    request = "POST /workflows?url=seq.war"
    with ExitStack() as slots:
        for _ in range(api.services.settings.concurrent_registrations):
            slots.enter_context(api.services.long_requests.registration_slot())
        answer = api.answer(request, 202, headers={"x-request-id": "r7"})
        accepted = answer.get_json()
        assert list(accepted) == ["status", "operation"]
        assert (answer.headers["Location"], answer.headers["Retry-After"]) == (accepted["operation"], "1")
        assert api.send(request, 409)["operation"] == accepted["operation"]
        api.send("POST /workflows?url=nosuch.war", 404)
        api.send("POST /workflows?url=fun.war&dry_run=true", 503)
        assert done(api, accepted)["state"] == "succeeded"
    assert api.query("SELECT action, outcome, request_id FROM audit_event WHERE request_id = 'r7'") == [
        ("register", "succeeded", "r7")
    ]


def test_conditions_hold_when_it_is_carried_out(api: ManagementApi) -> None:
    """The revision and the plan are those of the request, and the world may have moved."""
    api.register("1.0")
    planned = api.send("POST /workflows?url=seq.war&version=2.0&dry_run=true&synchronous=false")
    tag = api.answer("GET /workflows/seq").headers["ETag"]
    good = api.send(f"{LATER}&version=2.0&plan={planned['fingerprint']}", 202, headers={"If-Match": tag})
    assert done(api, good)["state"] == "succeeded"
    for parameters, error_type in (("", "PreconditionFailedException"), (planned["fingerprint"], "StalePlanException")):
        stale = api.send(f"{LATER}&version=3.0&plan={parameters}", 202, headers={} if parameters else {"If-Match": tag})
        ended = done(api, stale)
        assert (ended["state"], ended["error"]["type"]) == ("failed", error_type)
    any_ = api.send(f"{LATER}&version=4.0&reason=because", 202, headers={"If-Match": "*"})
    assert done(api, any_)["state"] == "succeeded"
    assert api.query("SELECT detail FROM audit_event WHERE detail LIKE '%because%'") != []


def test_repeated_request_is_accepted_once(api: ManagementApi) -> None:
    """Its key has the same answer, also when the work is done."""
    key = {"Idempotency-Key": "k1"}
    accepted = api.send(LATER, 202, headers=key)
    assert done(api, accepted)["state"] == "succeeded"
    again = api.answer(LATER, 202, headers=key)
    assert (again.get_json(), again.headers["idempotent-replayed"]) == (accepted, "true")
    assert len(api.send("GET /operations")["operations"]) == 1


def test_too_many_are_refused(api: ManagementApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 503, as what is not there yet."""
    monkeypatch.setattr(operations_module, "MAX_QUEUED", 1)
    first = api.send(LATER, 202)
    assert (
        "As many registrations as allowed wait (1)"
        in api.send("POST /workflows?synchronous=false&url=fun.war", 503)["message"]
    )
    assert done(api, first)["state"] == "succeeded"
    done(api, api.send("POST /workflows?synchronous=false&url=fun.war", 202))


def test_what_is_under_way_when_the_service_stops_begins_again(api: ManagementApi) -> None:
    """It is undone without a record, and the next process carries it out, with one event."""
    api.runtime.may_load.clear()
    accepted = api.send(LATER, 202)
    api.services.registration_queue.dispatch()
    wait_until(lambda: api.runtime.loads, what="the load")
    api.services.long_requests.stop()
    api.services.registration_queue.stop()
    waiting = operation(api, accepted)
    assert (waiting["state"], waiting["progress"]["nodes"]) == ("queued", {})
    assert api.query("SELECT * FROM workflow") == []
    assert api.events() == []
    api.services.registration_queue.dispatch()
    assert operation(api, accepted)["state"] == "queued"
    with management_api(api.services.settings.instance) as other:
        assert done(other, accepted)["state"] == "succeeded"
        assert other.events() == [("register", "succeeded")]


@pytest.fixture(name="web")
def _web() -> Iterator[WebFiles]:
    with web_files() as files:
        yield files


@pytest.fixture(name="downloading")
def _downloading(tmp_path: Path, instance: Path) -> Iterator[ManagementApi]:
    """Give one that may download from this machine."""
    folder = shutil.copytree(instance, tmp_path / "i")
    (folder / "wfmgmt.toml").write_text('allowed_urls = "http://127.0.0.1:.*"\n')
    with management_api(folder) as api:
        yield api


def test_secret_of_an_address_stays_with_the_process_that_has_it(
    downloading: ManagementApi, web: WebFiles, tmp_path: Path
) -> None:
    """No other one carries it out, and it ends with that process."""
    address = web.put("/far.war?signature=s3cr3t", make_war(tmp_path, name="far"))
    request = f"POST /workflows?synchronous=false&url={address}"
    here = downloading.send(request, 202)
    named = downloading.send(f"{request}&workflow_name=named", 202)
    assert "s3cr3t" not in "".join(downloading.state())
    with management_api(downloading.services.settings.instance) as other:
        other.services.registration_queue.dispatch()
        assert operation(other, here)["state"] == operation(other, named)["state"] == "queued"
        assert other.services.operations.recover() == []
    assert done(downloading, here)["state"] == "succeeded"
    assert done(downloading, named)["state"] == "succeeded"


def test_addresses_of_cancelled_registrations_do_not_stay_in_memory(
    downloading: ManagementApi, web: WebFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So others may wait in their place; those that wait keep theirs."""
    monkeypatch.setattr(registration_queue, "MAX_OWN", 2)
    address = web.put("/far.war?signature=s3cr3t", make_war(tmp_path, name="far"))
    request = f"POST /workflows?synchronous=false&url={address}"
    waiting, cancelled = (downloading.send(f"{request}&workflow_name={name}", 202) for name in "ab")
    downloading.send(f"{request}&workflow_name=c", 503)
    downloading.send(f"POST {cancelled['operation']}/cancel", 202)
    assert done(downloading, waiting)["state"] == "succeeded"
    for name in "cd":
        downloading.send(f"{request}&workflow_name={name}", 202)
    downloading.send(f"{request}&workflow_name=e", 503)


def test_registration_ends_with_the_process_that_has_its_address(downloading: ManagementApi, web: WebFiles) -> None:
    """With the reason, and with the event of its request."""
    accepted = downloading.send(f"POST /workflows?synchronous=false&url={web.url('/far.war')}?signature=s3cr3t", 202)
    downloading.services.registration_queue.stop()
    with management_api(downloading.services.settings.instance) as other:
        other.services.registration_queue.dispatch()
        assert len(other.services.operations.recover()) == 1
        ended = operation(other, accepted)
        assert (ended["state"], ended["error"]["code"]) == ("failed", 503)
        assert other.events() == [("register", "failed")]
