"""What clients see of registrations that are under way, and of those that are done."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.management_api import ManagementApi, loading

FIELDS = ["id", "kind", "workflow", "version", "url", "state", "done", "phase", "progress", "error", "result", "actor"]
FIELDS += ["requestId", "createdAt", "startedAt", "endedAt", "cancelledBy", "receipt"]


def operations(api: ManagementApi, query: str = "") -> list[dict[str, Any]]:
    """List operations."""
    found: list[dict[str, Any]] = api.send(f"GET /operations{query}")["operations"]
    return found


def test_registration_is_an_operation_while_it_is_under_way_and_afterwards(api: ManagementApi) -> None:
    """With all fields, and in the same list."""
    with loading(api) as (operation, answer):
        assert list(operation) == FIELDS
        shown = {name: operation[name] for name in ("kind", "workflow", "version", "url", "state", "done", "phase")}
        assert shown == {
            "kind": "register",
            "workflow": "seq",
            "version": "1.0",
            "url": "seq.war",
            "state": "running",
            "done": False,
            "phase": "loading",
        }
        nodes = operation["progress"]["nodes"]
        assert nodes == {name: {"ready": 0, "wanted": 1} for name in ("pre_processing", "m1", "post_processing")}
        assert (operation["error"], operation["result"], operation["endedAt"]) == (None, None, None)
        assert "wfmgmt_operations_running 1.0" in api.answer("GET /metrics").text
    done = api.send(f"GET /operations/{operation['id']}/")
    assert (done["state"], done["done"], done["requestId"]) == (
        "succeeded",
        True,
        answer.result().headers["x-request-id"],
    )
    assert done["result"] == {"version": "1.0", "default": True, "revision": 1, "warnings": []}
    assert {node["ready"] for node in done["progress"]["nodes"].values()} == {1}
    assert operations(api) == [done]
    assert "wfmgmt_operations_running 0.0" in api.answer("GET /metrics").text


def test_registration_that_fails_says_why_as_its_answer_does(api: ManagementApi) -> None:
    """With the code and the type that its client was answered, and the phase in which that was."""
    api.runtime.failing.add("1.0")
    answer = api.send("POST /workflows?url=seq.war", 500)
    (operation,) = operations(api)
    assert (operation["state"], operation["phase"], operation["result"]) == ("failed", "loading", None)
    assert operation["error"] == answer


def test_request_that_is_refused_at_once_is_no_operation(api: ManagementApi) -> None:
    """Anybody can send such requests, and nothing has begun."""
    api.register("1.0")
    for request, status in (
        ("url=nosuch.war", 404),
        ("url=../seq.war", 404),
        ("url=file:///etc/passwd", 404),
        ("url=http://127.0.0.1/seq.war", 404),
        ("url=seq.war&workflow_name=seq", 409),
        ("url=seq.war&workflow_name=seq&version=1.0", 409),
        ("url=seq.war&version=all", 400),
    ):
        assert "operation" not in api.send(f"POST /workflows?{request}", status)
    assert len(operations(api)) == 1


def test_workflow_that_is_being_registered_is_found(api: ManagementApi) -> None:
    """In lists by its state, and by what is answered to those who look for it or want its name."""
    with loading(api) as (operation, _):
        path = f"/operations/{operation['id']}"
        line = {"workflowName": "seq", "workflowUrl": "seq.war", "version": "1.0", "state": "registering"}
        for state in ("registering", "all"):
            assert api.send(f"GET /workflows?state={state}") == {"workflows": [{**line, "operation": path}]}
        assert api.send("GET /workflows?state=all&node=post*") == {"workflows": [{**line, "operation": path}]}
        assert api.send("GET /workflows?state=ready") == {"workflows": []}
        assert api.send("GET /workflows") == {"workflows": []}
        assert api.send("GET /workflows/seq", 404) == {
            "code": 404,
            "type": "WorkflowNotFoundException",
            "message": "Workflow not found: seq",
            "operation": path,
        }
        assert "operation" not in api.send("GET /workflows/other", 404)
        for request in ("url=seq.war", "url=seq.war&workflow_name=seq", "url=other.war&version=1.0"):
            refused = api.send(f"POST /workflows?{request}", 409)
            assert (refused["operation"], refused["type"]) == (path, "ConflictStatusException")
            assert refused["message"].endswith("is being registered right now; try again when that is finished.")
            assert "hint" not in refused
    assert api.send("GET /workflows?state=registering") == {"workflows": []}


def test_further_version_that_is_being_registered_is_found(api: ManagementApi) -> None:
    """Beside the workflow, which serves and is described as before."""
    api.register("1.0")
    with loading(api, "POST /workflows?url=other.war&workflow_name=seq&version=2.0&set_default=true") as (
        operation,
        answer,
    ):
        missing = api.send("GET /workflows/seq/2.0", 404)
        assert missing["operation"] == f"/operations/{operation['id']}"
        assert "operation" not in api.send("GET /workflows/seq/3.0", 404)
        assert api.describe()["version"] == "1.0"
        states = [(each["version"], each["state"]) for each in api.send("GET /workflows?state=all")["workflows"]]
        assert states == [("1.0", "loading"), ("2.0", "registering")]
    assert answer.result().status_code == 200
    done = operations(api)[0]
    assert (done["state"], done["phase"], done["result"]["default"]) == ("succeeded", "switching", True)


def test_lists_by_state_and_name_have_pages(api: ManagementApi) -> None:
    """As the plain list has, with the lines that are meant only."""
    for name in ("a1", "b1", "b2", "b3"):
        api.send(f"POST /workflows?url=seq.war&workflow_name={name}")

    def names(query: str) -> tuple[list[str], str | None]:
        page = api.send(f"GET /workflows?{query}")
        return [each["workflowName"] for each in page["workflows"]], page.get("nextPageToken")

    assert names("state=loading&limit=3") == (["a1", "b1", "b2"], "3")
    assert names("state=loading&limit=3&next_page_token=3") == (["b3"], None)
    assert names("name=b*&limit=2") == (["b1", "b2"], "2")
    assert names("name=b*&state=all&next_page_token=2") == (["b3"], None)
    assert names("name=b2") == (["b2"], None)
    assert names("name=*") == (["a1", "b1", "b2", "b3"], None)
    assert names("name=b*&state=failed") == ([], None)
    assert names("node=m*&name=b*&limit=2") == (["b1", "b2"], "2")
    assert names("node=pre_processing&name=b3") == (["b3"], None)
    assert names("node=m2") == ([], None)
    assert names("state=&name=") == (["a1", "b1", "b2", "b3"], None)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            "/workflows?state=gone",
            "Parameter state: expected one of ready, loading, failed, registering, unregistering, all",
        ),
        ("/workflows?state=all&after=a", "Parameters state and after: give one of them, not both"),
        ("/workflows?name=b*a", "Parameter name: expected the name of a workflow, or its beginning and *"),
        ("/workflows?node=b*a", "Parameter node: expected the name of a node, or its beginning and *"),
        ("/workflows?node=%00", "Parameter node: expected the name of a node, or its beginning and *"),
        ("/operations?state=gone", "Parameter state: expected one of queued, running, succeeded, failed, cancelled"),
        ("/operations?kind=scaling", "Parameter kind: expected one of register, scale, release"),
        ("/operations?workflow=%00", "Parameter workflow: expected the name of a workflow."),
        ("/operations?limit=0", "Parameter limit: "),
        ("/operations?sate=failed", "Unknown parameter 'sate', did you mean state?"),
        (f"/operations/{'0' * 32}?wait=-1", "Parameter wait: "),
    ],
)
def test_parameters_that_are_wrong_are_named(api: ManagementApi, request_: str, message: str) -> None:
    """With what would be right."""
    assert api.send(f"GET {request_}", 400)["message"].startswith(message)


@pytest.mark.parametrize("uid", ["0" * 32, "x", "%00", "x" * 500])
def test_unknown_operation_is_404(api: ManagementApi, uid: str) -> None:
    """Whatever is asked for."""
    answer = api.send(f"GET /operations/{uid}", 404)
    assert answer["type"] == "OperationNotFoundException"
    assert len(answer["message"]) < 100


def test_operations_are_listed_by_what_they_are(api: ManagementApi) -> None:
    """The newest first, a page at a time."""
    api.runtime.failing.add("2.0")
    for version, status in (("1.0", 200), ("2.0", 500), ("3.0", 200)):
        api.send(f"POST /workflows?url=seq.war&workflow_name=seq&version={version}", status)
    api.send("POST /workflows?url=fun.war")

    def versions(query: str) -> list[tuple[str, str]]:
        return [(each["workflow"], each["version"]) for each in operations(api, query)]

    assert versions("") == [("fun", "1.0"), ("seq", "3.0"), ("seq", "2.0"), ("seq", "1.0")]
    assert versions("?workflow=seq&state=succeeded") == [("seq", "3.0"), ("seq", "1.0")]
    assert versions("?state=failed&kind=register") == [("seq", "2.0")]
    page = api.send("GET /operations?limit=3")
    assert len(page["operations"]) == 3
    assert api.send(f"GET /operations?after={page['nextAfter']}") == {"operations": operations(api)[3:]}


def test_client_may_wait_for_the_end_of_an_operation(api: ManagementApi) -> None:
    """It is answered when that is there, not before and not much later."""
    with ThreadPoolExecutor(1) as pool, loading(api) as (operation, _):
        path = f"/operations/{operation['id']}"
        waiting = pool.submit(api.client.application.test_client().get, f"{path}?wait=60")
        assert not waiting.done()
        assert api.send(f"GET {path}?wait=0")["state"] == "running"
        api.runtime.may_load.set()
        assert waiting.result(30).get_json()["state"] == "succeeded"
