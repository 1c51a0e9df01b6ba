"""The last lines of the log over the API."""

import pytest

from tests.support.management_api import ManagementApi


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("seq/logs", "seq 1.0 None 100"),
        ("seq/2.0/logs", "seq 2.0 None 100"),
        ("seq/logs?node=m1&lines=1000", "seq 1.0 m1 1000"),
        ("seq/logs?node=&lines=", "seq 1.0 None 100"),
    ],
)
def test_lines_are_those_of_the_runtime(two: ManagementApi, path: str, asked: str) -> None:
    """Of the default version, unless another one is named."""
    line = {"at": "2026-01-31T12:00:00.000Z", "node": "m1", "pid": None, "level": "info", "text": asked}
    assert two.send(f"GET /workflows/{path}") == {"lines": [line]}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("none/logs", 404, "Workflow not found: none"),
        ("seq/9/logs", 404, "Workflow version: 9 does not exist for workflow: seq"),
        ("seq/logs?node=m9", 404, "Workflow node: m9 does not exist in version 1.0 of workflow: seq"),
        ("seq/logs?lines=0", 400, "Parameter lines: expected a whole number"),
        ("seq/logs?lines=1001", 400, "Parameter lines: expected a whole number"),
        ("seq/logs?nod=m1", 400, "did you mean node?"),
    ],
)
def test_what_is_not_there_is_named(two: ManagementApi, path: str, status: int, message: str) -> None:
    """So is what cannot be understood."""
    assert message in two.send(f"GET /workflows/{path}", status)["message"]


def test_runtime_that_is_down_is_a_503(two: ManagementApi) -> None:
    """It has the lines, and nothing else has."""
    two.runtime.problem = "The runtime is down; it is being started."
    answer = two.answer("GET /workflows/seq/logs", 503)
    assert answer.get_json()["message"] == two.runtime.problem
    assert answer.headers["Retry-After"]


def test_error_that_was_not_foreseen_is_logged_under_the_id_of_its_answer(
    two: ManagementApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the answer says."""

    def fail(*_arguments: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(two.runtime, "log", fail)
    answer = two.answer("GET /workflows/seq/logs", 500, headers={"x-request-id": "r1"})
    assert answer.get_json()["message"].endswith("the log has the details under this answer's x-request-id.")
    assert answer.headers["x-request-id"] == "r1"
    (record,) = [each for each in caplog.records if each.getMessage() == "unforeseen error"]
    assert record.__dict__["request_id"] == "r1"
    assert record.exc_info is not None
