"""Settings of nodes that are changed while they run."""

import json
from typing import Any

import pytest

from tests.support.management_api import ManagementApi


@pytest.fixture(name="seq")
def _seq(api: ManagementApi) -> ManagementApi:
    """The workflow `seq`, whose model has one worker."""
    api.register("1.0")
    return api


def node(api: ManagementApi, name: str, path: str = "seq") -> dict[str, Any]:
    """Return a node as described."""
    return next(each for each in api.describe(path)["nodes"] if each["name"] == name)


def test_scaling_is_answered_as_torchserve_does_for_models(seq: ManagementApi) -> None:
    """At once, once the workers are up, or when the time-out is over."""
    answer = seq.answer("PUT /workflows/seq?min_worker=2&max_worker=4", 202)
    path = answer.headers["Location"]
    assert answer.get_json() == {"status": "Processing worker updates...", "operation": path}
    assert (answer.headers["ETag"], answer.headers["Retry-After"]) == ('"2"', "1")
    assert seq.send("PUT /workflows/seq?min_worker=3&synchronous=true") == {
        "status": "Workers scaled to 3 for workflow: seq"
    }
    assert seq.send("PUT /workflows/seq/1.0/?min_worker=1&synchronous=true") == {
        "status": "Workers scaled to 1 for workflow: seq, version: 1.0"
    }
    seq.runtime.problem = "m1: 1 of 2 workers ready"
    late = seq.answer("PUT /workflows/seq?min_worker=2&synchronous=true&timeout=0", 206)
    assert late.get_json() == {
        "status": "Workers scaling in progress...",
        "operation": late.headers["Location"],
        "problem": "m1: 1 of 2 workers ready",
    }
    assert [revision for _, revision in seq.runtime.reached] == [2, 3, 4, 5]


def test_model_nodes_are_scaled_and_functions_are_not(seq: ManagementApi) -> None:
    """Describe shows what is in force, and what is not from the spec."""
    seq.send("PUT /workflows/seq?min_worker=2&max_worker=4", 202)
    model, function = node(seq, "m1"), node(seq, "pre_processing")
    assert (model["minWorkers"], model["maxWorkers"], model["overridden"]) == (2, 4, ["minWorkers", "maxWorkers"])
    assert (function["minWorkers"], function["overridden"]) == (1, [])
    assert seq.describe()["minWorkers"] == 1
    ((detail,),) = seq.query("SELECT detail FROM audit_event WHERE action = 'scale'")
    assert json.loads(detail) == {
        "version": "1.0",
        "changes": [
            {"path": "nodes.m1.minWorkers", "before": 1, "after": 2},
            {"path": "nodes.m1.maxWorkers", "before": 1, "after": 4},
        ],
    }


def test_what_holds_already_changes_nothing(seq: ManagementApi) -> None:
    """No event and no revision."""
    before = seq.state()
    assert seq.send("PUT /workflows/seq?min_worker=1&synchronous=true") == {
        "status": "Workers scaled to 1 for workflow: seq",
        "changed": False,
    }
    assert seq.state() == before


def test_settings_of_one_node_are_changed_and_given_back(seq: ManagementApi) -> None:
    """Batches, time-outs and retries are answered at once; a function is a node, too."""
    answer = seq.send("PUT /workflows/seq/nodes/m1", json={"batch_size": 8, "max_batch_delay": 5, "retry_attempts": 0})
    assert answer == {"status": 'Node settings updated for workflow "seq", version 1.0'}
    seq.send("PUT /workflows/seq/nodes/pre_processing?timeout_ms=77")
    seq.send("PUT /workflows/seq/1.0/nodes/m1?max_worker=2", 202)
    model = node(seq, "m1")
    assert [model[name] for name in ("batchSize", "maxBatchDelay", "retryAttempts", "maxWorkers")] == [8, 5, 0, 2]
    assert node(seq, "pre_processing")["timeoutMs"] == 77
    seq.send("DELETE /workflows/seq/nodes/m1/overrides")
    assert (node(seq, "m1")["batchSize"], node(seq, "m1")["overridden"]) == (1, [])
    assert node(seq, "pre_processing")["overridden"] == ["timeoutMs"]
    assert seq.send("DELETE /workflows/seq/1.0/nodes/m1/overrides")["changed"] is False
    assert [action for action, _ in seq.events()] == ["register", "update", "update", "update", "reset"]


def test_setting_that_is_the_specs_again_is_not_overridden(seq: ManagementApi) -> None:
    """By a change as by a reset; those that others changed stay as they are, with who changed them."""
    seq.send("PUT /workflows/seq/nodes/m1?batch_size=8&retry_attempts=0")
    seq.send("PUT /workflows/seq/nodes/m1?batch_size=1")
    assert node(seq, "m1")["overridden"] == ["retryAttempts"]
    assert seq.query("SELECT setting, value FROM node_override") == [("retry_attempts", 0)]


def test_another_version_is_scaled_by_its_name(seq: ManagementApi) -> None:
    """The default one keeps what it has."""
    seq.register("2.0")
    seq.send("PUT /workflows/seq/2.0?max_worker=3", 202)
    assert (node(seq, "m1")["maxWorkers"], node(seq, "m1", "seq/2.0")["maxWorkers"]) == (1, 3)


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ("PUT seq?min_worker=2", 400, "max_worker cannot be less than min_worker."),
        ("PUT seq?max_worker=0", 400, "Parameter max_worker: expected a whole number from 1 to 1000, got '0'."),
        ("PUT seq?min_worker=-1", 400, "Parameter min_worker: expected a whole number"),
        ("PUT seq?min_worker=1001&max_worker=1001", 400, "Parameter min_worker: expected a whole number"),
        ("PUT seq", 400, "Expected min_worker or max_worker"),
        ("PUT seq?min_workers=2", 400, "did you mean min_worker?"),
        ("PUT seq?max_worker=2&synchronous=maybe", 400, "Parameter synchronous: expected true or false"),
        ("PUT seq?max_worker=2&synchronous=true&timeout=-1", 400, "Parameter timeout: expected a whole number"),
        ("PUT seq/9?max_worker=2", 404, "Workflow version: 9 does not exist for workflow: seq"),
        ("PUT fun?max_worker=2", 400, "Workflow fun has no model whose workers could be scaled."),
        ("PUT seq/nodes/m1", 400, "Expected one of min_worker, max_worker, batch_size"),
        ("PUT seq/nodes/m1?batch_size=0", 400, "Parameter batch_size: expected a whole number from 1"),
        ("PUT seq/nodes/m9?batch_size=2", 404, "Workflow node: m9 does not exist in version 1.0 of workflow: seq"),
        ("PUT seq/nodes/m1?min_worker=5", 400, "max_worker cannot be less than min_worker."),
        ("DELETE seq/nodes/m9/overrides", 404, "Workflow node: m9 does not exist"),
        ("DELETE seq/nodes/m1/overrides?all=true", 400, "Unknown parameter 'all'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_and_changes_nothing(seq: ManagementApi, request_: str, status: int, message: str) -> None:
    """Each message names what is wrong; the refusal leaves an event."""
    seq.send("POST /workflows?url=fun.war")
    method, path = request_.split(" ", 1)
    before, events = [line for line in seq.state() if "audit_event" not in line], len(seq.events())
    assert message in seq.send(f"{method} /workflows/{path}", status)["message"]
    assert [line for line in seq.state() if "audit_event" not in line] == before
    assert [outcome for _, outcome in seq.events()[events:]] == ["failed"]
