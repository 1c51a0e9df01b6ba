"""The commands about operations, against a service that answers as the API says."""

from typing import Any

import pytest

from tests.support.fake_service import FakeService, Reply, Request
from wfmgmt.cli.main import main

ACCEPTED = {"status": "Processing the registration...", "operation": f"/operations/{'a' * 32}"}
OPERATION = {
    "id": "a" * 32,
    "kind": "register",
    "workflow": "seq",
    "version": "1.0",
    "url": "seq.war",
    "state": "running",
    "done": False,
    "phase": "fetching",
    "progress": {"bytes": 3 * 1024**2, "totalBytes": 6 * 1024**2, "nodes": {}},
    "error": None,
    "result": None,
    "actor": "anonymous",
    "requestId": "r1",
    "createdAt": "2026-11-27T06:00:00.000000Z",
    "startedAt": "2026-11-27T06:00:00.000000Z",
    "endedAt": None,
    "cancelledBy": None,
}
LOADING = {
    **OPERATION,
    "phase": "loading",
    "progress": {"bytes": 0, "totalBytes": None, "nodes": {"m": {"ready": 1, "wanted": 2}}},
}
SUCCEEDED = {**OPERATION, "state": "succeeded", "done": True, "endedAt": "2026-11-27T06:00:02.500000Z"}
FAILURE: dict[str, Any] = {"code": 400, "type": "DownloadArchiveException", "message": "Failed to download it"}
FAILED = {**SUCCEEDED, "state": "failed", "error": FAILURE}


def run(arguments: list[str], *bodies: Any) -> tuple[int, list[Request]]:
    """Run a command against a service that gives one answer after the other; return its code, and what it sent."""
    replies = iter(bodies)
    with FakeService(lambda _: Reply(body=next(replies))) as service:
        code = main([*arguments, "--url", service.url])
    return code, service.requests


def test_registration_is_left_to_the_service(capfd: pytest.CaptureFixture[str]) -> None:
    """The command ends with what `wait` takes."""
    code, (request,) = run(["register", "a.war", "--no-wait"], ACCEPTED)
    printed = capfd.readouterr()
    assert (code, printed.err) == (0, "")
    assert printed.out == f"Processing the registration... {'a' * 32}\n"
    assert request.query == {"url": "a.war", "synchronous": "false"}
    run(["register", "a.war", "--no-wait", "-o", "name"], ACCEPTED)
    assert capfd.readouterr().out == f"{'a' * 32}\n"


@pytest.mark.parametrize(("last", "code", "said"), [(SUCCEEDED, 0, ""), (FAILED, 1, f": {FAILURE['message']}")])
def test_registration_is_followed(capfd: pytest.CaptureFixture[str], last: Any, code: int, said: str) -> None:
    """To its end, with how far it is in between, and a code that says how it ended."""
    found, requests = run(["register", "a.war", "--follow"], ACCEPTED, OPERATION, LOADING, last)
    printed = capfd.readouterr()
    assert found == code
    assert printed.out == f"register seq 1.0 {last['state']}{said}\n"
    assert printed.err == "fetching: 3.0/6.0MiB\nloading: 1/2 workers\n"
    assert [each.line for each in requests] == ["POST /workflows", *[f"GET /operations/{'a' * 32}"] * 3]


@pytest.mark.parametrize(("last", "code", "said"), [(SUCCEEDED, 0, ""), (FAILED, 1, f": {FAILURE['message']}")])
def test_registration_that_the_service_left_for_later_is_waited_for(
    capfd: pytest.CaptureFixture[str], last: Any, code: int, said: str
) -> None:
    """Since the command was asked to wait, whether a thread of the service does or not."""
    replies = iter([Reply(status=202, body=ACCEPTED), Reply(body=OPERATION), Reply(body=last)])
    with FakeService(lambda _: next(replies)) as service:
        assert main(["register", "a.war", "--url", service.url]) == code
    assert capfd.readouterr().out == f"register seq 1.0 {last['state']}{said}\n"
    assert service.requests[0].query == {"url": "a.war"}


def test_error_names_the_operation_that_is_at_work(capfd: pytest.CaptureFixture[str]) -> None:
    """What is still being registered is not found, and not free either."""
    error = {"code": 404, "type": "WorkflowNotFoundException", "message": "Workflow not found: seq"}
    with FakeService(lambda _: Reply(status=404, body={**error, "operation": ACCEPTED["operation"]})) as service:
        assert main(["describe", "seq", "--url", service.url]) == 4
    assert capfd.readouterr().err == f"wfmgmt: Workflow not found: seq (its operation: wfmgmt wait {'a' * 32})\n"


def test_operation_is_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    """As a registration is followed."""
    found, requests = run(["wait", "a" * 32], OPERATION, SUCCEEDED)
    assert (found, capfd.readouterr().out) == (0, "register seq 1.0 succeeded\n")
    assert requests[0].query == {"wait": "1"}


def test_operations_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """With how long each took, and why it failed."""
    code, (request,) = run(
        ["operations", "--state", "failed", "--kind", "register", "-n", "5"], {"operations": [FAILED]}
    )
    out = capfd.readouterr().out
    assert (code, request.query) == (0, {"state": "failed", "kind": "register", "limit": "5"})
    row = out.splitlines()[1].split()
    assert row[:9] == ["a" * 32, "register", "seq", "1.0", "failed", "fetching", "3.0/6.0MiB", "2.5", "anonymous"]
    assert FAILURE["message"] in out


def test_workflows_are_listed_by_state(capfd: pytest.CaptureFixture[str]) -> None:
    """Page after page, with the operation of what is being registered."""
    path = ACCEPTED["operation"]
    line = {
        "workflowName": "",
        "workflowUrl": "http://x/a.war",
        "version": "1.0",
        "state": "registering",
        "operation": path,
    }
    other = {"workflowName": "seq", "workflowUrl": "seq.war", "version": "1.0", "state": "ready"}
    pages = ({"nextPageToken": "1", "workflows": [line]}, {"workflows": [other]})
    code, requests = run(["list", "--state", "all", "--name", "s*"], *pages)
    assert code == 0
    lines = [each.split() for each in capfd.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["-", "1.0", "registering", "http://x/a.war", "a" * 32],
        ["seq", "1.0", "ready", "seq.war", "-"],
    ]
    assert [each.query.get("next_page_token") for each in requests] == [None, "1"]
    assert {(each.query["state"], each.query["name"]) for each in requests} == {("all", "s*")}


def test_operation_is_cancelled(capfd: pytest.CaptureFixture[str]) -> None:
    """With what every change takes."""
    accepted = {**ACCEPTED, "status": "Cancelling the operation..."}
    code, (request,) = run(["cancel", "a" * 32, "--reason", "wrong one"], accepted)
    assert (code, capfd.readouterr().out) == (0, "Cancelling the operation...\n")
    assert (request.line, request.query) == (f"POST /operations/{'a' * 32}/cancel", {"reason": "wrong one"})
    assert request.headers["idempotency-key"]
