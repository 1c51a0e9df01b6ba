"""The commands about operations, against a service that answers as the API says."""

import json
from typing import Any

import pytest

from tests.support.fake_service import FakeService, Reply, Request
from tests.support.operation_answers import ACCEPTED, FAILED, FAILURE, LOADING, OPERATION, SUCCEEDED
from wfmgmt.cli.main import main

RELEASE: dict[str, Any] = {
    "number": 7,
    "at": "2026-11-23T20:53:36.386429Z",
    "actor": "anonymous",
    "reason": "",
    "previous": None,
    "kind": "rollback",
    "routes": [{"version": "2.0", "weight": 100}],
    "mirror": None,
    "sticky": None,
    "guard": None,
    "steps": None,
    "paused": False,
}
#: Of a cancellation.
PLAN: dict[str, Any] = {
    "action": "cancel",
    "workflow": "seq",
    "version": "1.0",
    "fingerprint": "p-0123456789abcdef",
    "archive": None,
    "changes": [],
    "models": [],
    "functions": [],
    "workers": {"now": 0, "after": 0},
    "routes": {"before": {}, "after": {}},
    "unknown": [],
    "warnings": [],
}
RELEASED = {"status": "Release 7 is in force", "release": RELEASE}


def run(arguments: list[str], *bodies: Any) -> tuple[int, list[Request]]:
    """Run a command against a service that gives one answer after the other; return its code, and what it sent."""
    replies = iter(bodies)
    with FakeService(lambda _: _reply(next(replies))) as service:
        code = main([*arguments, "--url", service.url])
    return code, service.requests


def _reply(body: Any) -> Reply:
    return Reply(status=202 if body.keys() == ACCEPTED.keys() else 200, body=body)


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


@pytest.mark.parametrize(
    ("argument", "found", "awaited"),
    [
        ("seq", [SUCCEEDED, OPERATION], OPERATION),
        ("seq", [FAILED, SUCCEEDED], FAILED),
        (
            "seq/2.0",
            [SUCCEEDED, {**SUCCEEDED, "version": "2.0", "id": "b" * 32}],
            {"id": "b" * 32, "state": "succeeded"},
        ),
    ],
    ids=["under-way", "last", "version"],
)
def test_operation_on_a_workflow_is_waited_for(
    capfd: pytest.CaptureFixture[str], argument: str, found: list[Any], awaited: Any
) -> None:
    """By the name of the workflow: what is under way, else what was last, with the code of that."""
    code, requests = run(["wait", argument, "-o", "name"], {"operations": found}, SUCCEEDED)
    assert (requests[0].path, requests[0].query) == ("/operations", {"workflow": "seq"})
    assert len(requests) == (2 if awaited["state"] == "running" else 1)
    assert (code, capfd.readouterr().out) == (1 if awaited is FAILED else 0, f"{awaited['id']}\n")


def test_workflow_without_operations_cannot_be_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    """It is the code of what is not there."""
    assert run(["wait", "nosuch"], {"operations": []})[0] == 4
    assert capfd.readouterr().err == "wfmgmt: No operation on nosuch is known.\n"


def test_json_of_what_is_waited_for_is_its_end_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """So that it can be read as one value."""
    run(["register", "a.war", "--follow", "-o", "json"], ACCEPTED, OPERATION, SUCCEEDED)
    assert json.loads(capfd.readouterr().out) == SUCCEEDED


def test_wait_ends_after_its_time(capfd: pytest.CaptureFixture[str]) -> None:
    """The operation goes on, and the error says how to wait for it again."""
    with FakeService(lambda _: Reply(body=OPERATION)) as service:
        assert main(["wait", "a" * 32, "--timeout", "1", "--url", service.url]) == 1
    expected = f"wfmgmt: It was not done within 1 s; it goes on: wfmgmt wait {'a' * 32}\n"
    assert capfd.readouterr().err.endswith(expected)


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
    code, requests = run(["list", "--state", "all", "--name", "s*", "--node", "m*"], *pages)
    assert code == 0
    lines = [each.split() for each in capfd.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["-", "1.0", "registering", "http://x/a.war", "a" * 32],
        ["seq", "1.0", "ready", "seq.war", "-"],
    ]
    assert [each.query.get("next_page_token") for each in requests] == [None, "1"]
    assert {(each.query["state"], each.query["name"], each.query["node"]) for each in requests} == {("all", "s*", "m*")}


def test_operation_is_cancelled(capfd: pytest.CaptureFixture[str]) -> None:
    """With what every change takes."""
    accepted = {**ACCEPTED, "status": "Cancelling the operation..."}
    code, (request,) = run(["cancel", "a" * 32, "--reason", "wrong one"], accepted)
    assert (code, capfd.readouterr().out) == (0, "Cancelling the operation...\n")
    assert (request.line, request.query) == (f"POST /operations/{'a' * 32}/cancel", {"reason": "wrong one"})
    assert request.headers["idempotency-key"]


@pytest.mark.parametrize(("options", "query", "code"), [([], {}, 0), (["--dry-run"], {"dry_run": "true"}, 5)])
def test_operation_on_a_workflow_is_cancelled(options: list[str], query: dict[str, str], code: int) -> None:
    """By the name of the workflow: what `wait` waits for, which a dry run leaves alone."""
    last = PLAN if options else {**ACCEPTED, "status": "Cancelling the operation..."}
    found, requests = run(["cancel", "seq", *options], {"operations": [SUCCEEDED, OPERATION]}, last)
    assert found == code
    assert (requests[0].line, requests[0].query) == ("GET /operations", {"workflow": "seq"})
    assert (requests[1].line, requests[1].query) == (f"POST /operations/{'a' * 32}/cancel", query)


def test_dry_run_of_a_registration_ends_with_its_plan() -> None:
    """There is nothing to follow."""
    code, requests = run(["register", "a.war", "--dry-run"], PLAN)
    assert (code, [each.query for each in requests]) == (5, [{"url": "a.war", "dry_run": "true"}])


RELEASES = ("set-default seq 2.0", "traffic seq 2.0=100", "rollback seq", "rollout seq promote")


@pytest.mark.parametrize("command", RELEASES)
def test_release_is_left_to_the_service(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The command ends with what `wait` takes, or with the release if there was nothing to load."""
    accepted = Reply(status=202, body={**ACCEPTED, "status": "Processing the release..."})
    with FakeService(lambda _: accepted) as service:
        assert main([*command.split(), "--no-wait", "--url", service.url]) == 0
    assert capfd.readouterr().out == f"Processing the release... {'a' * 32}\n"
    assert service.requests[0].query["synchronous"] == "false"
    with FakeService(lambda _: Reply(body=RELEASED)) as service:
        assert main([*command.split(), "--no-wait", "--url", service.url]) == 0
    assert capfd.readouterr().out == "Release 7 is in force\n"


@pytest.mark.parametrize(("last", "code", "said"), [(SUCCEEDED, 0, ""), (FAILED, 1, f": {FAILURE['message']}")])
@pytest.mark.parametrize("command", RELEASES)
def test_release_that_the_service_left_for_later_is_waited_for(
    command: str, last: Any, code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a registration is."""
    last = {**last, "kind": "release", "version": "", "url": ""}
    replies = iter([Reply(status=202, body=ACCEPTED), Reply(body=LOADING), Reply(body=last)])
    with FakeService(lambda _: next(replies)) as service:
        assert main([*command.split(), "--url", service.url]) == code
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == (f"release seq {last['state']}{said}\n", "loading: 1/2 workers\n")
    assert "synchronous" not in service.requests[0].query


def test_scaling_names_its_operation(capfd: pytest.CaptureFixture[str]) -> None:
    """Without waiting, and when the workers took too long."""
    scaled = {"status": "Processing worker updates...", "operation": ACCEPTED["operation"]}
    with FakeService(lambda _: Reply(status=202, body=scaled)) as service:
        assert main(["scale", "seq", "--min", "2", "--no-wait", "--url", service.url]) == 0
    assert capfd.readouterr().out == f"Processing worker updates... {'a' * 32}\n"
    with FakeService(lambda _: Reply(status=206, body=scaled)) as service:
        assert main(["scale", "seq", "--min", "2", "--url", service.url]) == 1
    assert capfd.readouterr().err.endswith(f"{ACCEPTED['operation']}\n")
