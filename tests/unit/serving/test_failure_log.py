"""Records of failed predictions: what they say, how bad they are, and how many there are."""

import logging
from contextlib import suppress
from typing import Any

import pytest

from tests.support.model_servers import until
from tests.unit.serving.test_predictions import Workflow, failing, never
from wfmgmt.control.messages import TrafficKind
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.failure_log import MAX_RECORDS_PER_SECOND
from wfmgmt.serving.models.base import NodeAnswer, NodeRequest, NoWorker, PredictionFailed, PredictionRefused
from wfmgmt.testing import in_event_loop


@pytest.fixture(name="log")
def _log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="wfmgmt.prediction")
    return caplog


def raised(reason: str, traceback: str = "Traceback: …", pid: int = 7) -> PredictionFailed:
    """Return what a handler's error becomes."""
    error = PredictionFailed(reason, 1, traceback=traceback)
    error.pid = pid
    return error


def answering(status: int) -> Any:
    """Return a node that answers with a status."""

    def play(_request: NodeRequest) -> NodeAnswer:
        return NodeAnswer(content=b"", status=status)

    return play


async def run(play: Any, kind: TrafficKind = TrafficKind.SERVE, *, retries: int = 1, timeout_s: float = 5) -> None:
    """Have a workflow of one node answer, or fail."""
    workflow = Workflow({"a": []}, retries=retries, timeout_s=timeout_s, a=play)
    with suppress(WfmgmtError):
        await workflow.run(kind=kind)


REFUSED, FAILED = PredictionRefused("no such city", 404), PredictionRefused("sold out", 503, traceback="T")
CASES: dict[str, tuple[Any, TrafficKind, str, str, int, str]] = {
    "fails": (failing(raised("bad", "T1"), raised("bad", "T2")), TrafficKind.SERVE,
        "ERROR", "prediction failed: bad", 2, "T2"),
    "fails otherwise": (failing(raised("bad", "T1"), PredictionFailed("no answer")), TrafficKind.SERVE,
        "ERROR", "prediction failed: no answer", 2, "Attempt 1: bad\nT1\nAttempt 2: no answer"),
    "copy fails": (failing(raised("bad", "T"), raised("bad", "T")), TrafficKind.MIRROR,
        "WARNING", "prediction failed (a copy): bad", 2, "T"),
    "is answered later": (failing(raised("bad", "T"), None), TrafficKind.SERVE,
        "WARNING", "prediction answered in attempt 2 after: bad", 2, "T"),
    "is refused": (failing(REFUSED), TrafficKind.SERVE,
        "INFO", "prediction refused with status 404: no such city", 1, ""),
    "is failed with a status": (failing(FAILED), TrafficKind.SERVE,
        "ERROR", "prediction failed: status 503: sold out", 1, "T"),
    "finds no worker": (failing(NoWorker("a has no worker")), TrafficKind.SERVE,
        "WARNING", "prediction not taken: a has no worker", 1, ""),
    "finds no worker later": (failing(raised("bad", "T"), NoWorker("a has no worker")), TrafficKind.SERVE,
        "WARNING", "prediction not taken: a has no worker", 2, "T"),
    "sets a status": (answering(500), TrafficKind.SERVE,
        "WARNING", "prediction answered with status 500", 1, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@in_event_loop
async def test_prediction_that_fails_is_one_record(log: pytest.LogCaptureFixture, case: str) -> None:
    """It has all that is known, whatever became of the attempts."""
    play, kind, level, message, attempt, traceback = CASES[case]
    await run(play, kind)
    (record,) = log.records
    fields = record.__dict__
    assert (record.levelname, record.getMessage()) == (level, message)
    assert (fields["workflow"], fields["version"], fields["node"], fields["request_id"]) == ("w", "1.0", "a", "id")
    assert (fields["attempt"], fields["traceback"]) == (attempt, traceback)


@in_event_loop
async def test_record_names_the_process_of_the_last_attempt(log: pytest.LogCaptureFixture) -> None:
    """Where the worker was one of this machine."""
    await run(failing(raised("bad", pid=7), raised("bad", pid=8)))
    assert log.records[0].__dict__["pid"] == 8


@pytest.mark.parametrize("status", [200, 404])
@in_event_loop
async def test_prediction_that_is_answered_is_no_record(log: pytest.LogCaptureFixture, status: int) -> None:
    """A status below 500 that a handler sets is an answer like any other."""
    await run(answering(status))
    assert log.records == []


@in_event_loop
async def test_workflow_that_takes_too_long_is_a_record_of_the_node_that_was_awaited(
    log: pytest.LogCaptureFixture,
) -> None:
    """Nodes that had answered are not to blame."""
    workflow = Workflow({"a": ["b"], "b": []}, timeout_s=0.05, b=never)
    with pytest.raises(WfmgmtError):
        await workflow.run()
    (record,) = log.records
    assert record.getMessage() == "prediction failed: no answer within the response_timeout of 0.05 s of the workflow"
    assert (record.levelname, record.__dict__["node"], record.__dict__["attempt"]) == ("ERROR", "b", 1)


@in_event_loop
async def test_records_of_a_flood_are_counted(log: pytest.LogCaptureFixture) -> None:
    """A node that fails every request writes some in each second, and how many there were on top."""
    workflow = Workflow({"a": []}, retries=0, a=failing(*[raised("bad")] * (MAX_RECORDS_PER_SECOND + 30)))
    for _ in range(MAX_RECORDS_PER_SECOND + 30):
        with pytest.raises(WfmgmtError):
            await workflow.run()
    await until(lambda: "dropped" in log.text)
    failed = [message for message in log.messages if message == "prediction failed: bad"]
    dropped = [int(message.split()[0]) for message in log.messages if "more records" in message]
    assert len(failed) + sum(dropped) == MAX_RECORDS_PER_SECOND + 30
    assert len(failed) < MAX_RECORDS_PER_SECOND + 30
    assert log.records[-1].__dict__["node"] == "a"


@in_event_loop
async def test_refusals_of_a_flood_hide_no_failure(log: pytest.LogCaptureFixture) -> None:
    """While nothing is taken any more, it can still be seen what fails."""
    refusals = [NoWorker("100 requests wait for a already")] * 100
    workflow = Workflow({"a": []}, retries=0, a=failing(*refusals, raised("bad")))
    for _ in range(101):
        with pytest.raises(WfmgmtError):
            await workflow.run()
    assert log.messages[-1] == "prediction failed: bad"
    assert len(log.messages) < 50
