"""One request on its way through a workflow, with nodes that are not real."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from wfmgmt.control.messages import TrafficKind
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.errors import Saturated, WorkflowNotReady
from wfmgmt.errors.predictions import NodeFailed, NodeRefused, WorkflowTimedOut
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.base import (
    Content,
    InputField,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    PredictionRefused,
)
from wfmgmt.serving.predictions import AdmissionControl, Prediction, PredictionLimits, WorkflowRunner
from wfmgmt.testing import in_event_loop

#: What a fake node does when it is asked: it returns an answer or raises.
Behaviour = Callable[[NodeRequest], bytes | NodeAnswer]
PARALLEL = {"pre": ["a", "b"], "a": ["join"], "b": ["join"], "join": []}


def make_load_request(graph: Mapping[str, list[str]], *, retries: int, timeout_s: Any) -> LoadRequest:
    """Return a workflow of models with this graph."""
    settings = NodeSettings(retry_attempts=retries)
    return LoadRequest(
        uid="uid",
        workflow="w",
        archive_file="w.war",
        archive_sha256="",
        handler=None,
        startup_timeout_s=1,
        response_timeout_s=timeout_s,
        nodes=tuple(Node(name=name, kind=NodeKind.MODEL, settings=settings) for name in graph),
        edges=tuple((source, target) for source, targets in graph.items() for target in targets),
    )


def spelled(request: NodeRequest) -> str:
    """Return the fields of a request in one text."""
    return ",".join(f"{name}={bytes(content).decode()}" for name, content, _ in request.fields)


class Workflow:
    """A workflow whose nodes put their name around what they are given, or do what a test says."""

    def __init__(self, graph: Mapping[str, list[str]], *, retries: int = 1, timeout_s: float = 5, **nodes: Any) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self._nodes = nodes
        request = make_load_request(graph, retries=retries, timeout_s=timeout_s)
        self.measured = Measurements().start("w", graph)
        infer = {node: partial(self._infer, node) for node in graph}
        self._runner = WorkflowRunner(request, infer=infer, measured=self.measured)
        self.traces: Mapping[str, Any] = {}

    def figures(self, node: str) -> tuple[int, int]:
        """Return how many attempts at a node the last minute had, and how many failed."""
        figures = self._runner.figures(node)
        return figures.requests, figures.failures

    def _infer(self, node: str, request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        self.asked.append((node, avoid))
        answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
        play = self._nodes.get(node)
        try:
            played = f"{node}({spelled(request)})".encode() if play is None else play(request)
        except NotImplementedError:
            return answer  # It never answers.
        except Exception as error:  # noqa: BLE001 - it is what the node raises
            answer.set_exception(error.with_traceback(None))  # It would hold this frame, and so itself.
        else:
            answer.set_result(played if isinstance(played, NodeAnswer) else NodeAnswer(content=played))
        return answer

    async def run(self, body: Content = b"x", kind: TrafficKind = TrafficKind.SERVE) -> dict[str, str]:
        """Send a request through; return the text of each leaf."""
        with AdmissionControl(PredictionLimits()).admit() as permit:
            permit.begin()
            request = NodeRequest("id", b"{}", [InputField("body", body)])
            prediction = Prediction(request=request, permit=permit, kind=kind)
            self.traces = prediction.traces
            answers = await self._runner.run(prediction)
        return {name: bytes(answer.content).decode() for name, answer in answers.items()}


def failing(*errors: Exception | None) -> Behaviour:
    """Return a node that raises these, one after the other, and answers where None stands."""
    script = list(errors)

    def play(_request: NodeRequest) -> bytes:
        error = script.pop(0)
        if error is not None:
            raise error
        return b"ok"

    return play


def never(_request: NodeRequest) -> bytes:
    """Do not answer."""
    raise NotImplementedError


@in_event_loop
async def test_chain_passes_each_answer_on() -> None:
    """A node with one parent gets its answer as the body."""
    workflow = Workflow({"a": ["b"], "b": ["c"], "c": []})
    assert await workflow.run() == {"c": "c(body=b(body=a(body=x)))"}


@in_event_loop
async def test_join_gets_an_entry_per_parent() -> None:
    """A node with several parents gets their answers under their names."""
    workflow = Workflow(PARALLEL)
    assert await workflow.run() == {"join": "join(a=a(body=pre(body=x)),b=b(body=pre(body=x)))"}


@in_event_loop
async def test_branches_run_at_the_same_time() -> None:
    """A branch that does not answer holds up no other."""
    workflow = Workflow(PARALLEL, a=never)
    running = asyncio.create_task(workflow.run())
    async with asyncio.timeout(5):
        while ("b", None) not in workflow.asked:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
    running.cancel()


@in_event_loop
async def test_several_leaves_answer_each() -> None:
    """All leaves' answers come back."""
    workflow = Workflow({"a": ["b", "c"], "b": [], "c": []})
    assert await workflow.run() == {"b": "b(body=a(body=x))", "c": "c(body=a(body=x))"}


@in_event_loop
async def test_node_is_tried_again() -> None:
    """A failure is followed by another attempt, away from the worker that failed."""
    workflow = Workflow({"a": []}, a=failing(PredictionFailed("bad", worker=7), None))
    assert await workflow.run() == {"a": "ok"}
    assert workflow.asked == [("a", None), ("a", 7)]
    assert workflow.traces["a"].attempts == 2
    measured = workflow.measured["a"]
    assert (measured.requests, measured.failures, measured.retries) == (2, 1, 1)


@pytest.mark.parametrize("retries", [0, 1, 3])
@in_event_loop
async def test_node_fails_after_its_tries(retries: int) -> None:
    """The error names the node, the attempt and the last reason, and starts as TorchServe's."""
    script = [PredictionFailed(f"bad {number}") for number in range(retries + 1)]
    workflow = Workflow({"s": ["a"], "a": []}, retries=retries, a=failing(*script))
    with pytest.raises(NodeFailed) as raised:
        await workflow.run()
    assert (raised.value.node, raised.value.attempt) == ("a", retries + 1)
    assert str(raised.value) == f"Error executing a: bad {retries}"


def lost_worker() -> PredictionFailed:
    """Return the failure of an attempt whose worker died, or was killed since it took too long."""
    failed = PredictionFailed("its worker is gone")
    failed.is_worker_gone = True
    return failed


@pytest.mark.parametrize(
    ("script", "hints"),
    [
        pytest.param([PredictionFailed("bad"), PredictionFailed("bad")], 1, id="same"),
        pytest.param([PredictionFailed("bad"), PredictionFailed("worse")], 0, id="another"),
        pytest.param([PredictionFailed("bad")], 0, id="one attempt"),
        pytest.param([PredictionFailed("x", fault=Fault.FAILED)] * 2, 0, id="of the server"),
        pytest.param([TimeoutError(), TimeoutError()], 0, id="time-outs"),
        pytest.param([lost_worker(), lost_worker()], 0, id="workers gone"),
    ],
)
@in_event_loop
async def test_failure_that_a_retry_did_not_change_says_so(script: list[Exception], hints: int) -> None:
    """A client learns that the same request again is not likely to succeed."""
    workflow = Workflow({"a": []}, retries=len(script) - 1, a=failing(*script))
    with pytest.raises(NodeFailed) as raised:
        await workflow.run()
    assert [raised.value.hint].count(None) == 1 - hints


@in_event_loop
async def test_failing_branch_ends_the_request() -> None:
    """The other branch is not waited for."""
    workflow = Workflow(PARALLEL, retries=0, a=failing(PredictionFailed("bad")), b=never)
    with pytest.raises(NodeFailed, match="Error executing a: bad"):
        await asyncio.wait_for(workflow.run(), 5)


@in_event_loop
async def test_refusal_is_not_tried_again() -> None:
    """A status that was raised on purpose is the answer."""
    workflow = Workflow({"a": []}, a=failing(PredictionRefused("no such city", 404)))
    with pytest.raises(NodeRefused, match="no such city") as raised:
        await workflow.run()
    assert (raised.value.status, raised.value.node, raised.value.attempt) == (404, "a", 1)


@in_event_loop
async def test_missing_worker_is_not_tried_again() -> None:
    """A full queue is reported at once, with the node."""
    workflow = Workflow({"a": []}, a=failing(NoWorker("100 requests wait for a already")))
    with pytest.raises(WorkflowNotReady, match="100 requests wait") as raised:
        await workflow.run()
    assert raised.value.node == "a"


@pytest.mark.parametrize("graph", [{"a": ["b"], "b": []}, {"s": ["a", "b"], "a": [], "b": []}], ids=["chain", "branch"])
@in_event_loop
async def test_error_status_of_a_node_ends_the_request(graph: dict[str, list[str]]) -> None:
    """An answer with a status of 400 or more is the client's, and no node after it runs."""
    workflow = Workflow(graph, a=lambda _: NodeAnswer(content=b"too long", status=422))
    assert await workflow.run() == {"a": "too long"}


@in_event_loop
async def test_workflow_has_to_answer_in_time() -> None:
    """After the response_timeout the request is given up."""
    workflow = Workflow(PARALLEL, timeout_s=0, a=never)
    with pytest.raises(WorkflowTimedOut, match="did not answer within its response_timeout of 0 s"):
        await asyncio.wait_for(workflow.run(), 5)


@pytest.mark.parametrize("graph", [{"a": ["b"], "b": []}, PARALLEL], ids=["chain", "branch"])
@in_event_loop
async def test_time_out_within_a_node_is_the_failure_of_that_node(graph: dict[str, list[str]]) -> None:
    """A `TimeoutError` that comes out of a node has nothing to do with the time that the workflow has."""
    workflow = Workflow(graph, a=failing(TimeoutError(), TimeoutError()))
    with pytest.raises(NodeFailed, match="Error executing a: TimeoutError") as raised:
        await workflow.run()
    assert (raised.value.node, raised.value.attempt) == ("a", 2)


@in_event_loop
async def test_attempts_of_the_last_minute_are_counted() -> None:
    """Each one by itself; one that a time-out or a client ends has not failed."""
    workflow = Workflow({"a": ["b"], "b": []}, retries=2, a=failing(PredictionFailed("no"), TimeoutError(), None))
    await workflow.run()
    assert (workflow.figures("a"), workflow.figures("b")) == ((3, 2), (1, 0))
    assert (workflow.measured["a"].requests, workflow.measured["a"].failures) == (3, 2)
    refused = Workflow({"a": []}, a=failing(PredictionRefused("no", 422), NoWorker("no")))
    for error in (NodeRefused, WorkflowNotReady):
        with pytest.raises(error):
            await refused.run()
    assert refused.figures("a") == (2, 2)
    late = Workflow({"a": []}, timeout_s=0, a=never)
    with pytest.raises(WorkflowTimedOut):
        await late.run()
    assert late.figures("a") == (1, 0)


class Body(bytearray):
    """The bytes of a request, which a weak reference can be made to."""


FAILURES: dict[str, tuple[dict[str, Callable[[], Behaviour]], type[BaseException] | None, int]] = {
    "failed": ({"a": lambda: failing(PredictionFailed("no"), PredictionFailed("no"))}, NodeFailed, 5),
    "failed twice": (dict.fromkeys("ab", lambda: failing(*[PredictionFailed("no")] * 2)), NodeFailed, 5),
    "refused": ({"b": lambda: failing(PredictionRefused("no", 422))}, NodeRefused, 5),
    "no worker": ({"b": lambda: failing(NoWorker("no"))}, WorkflowNotReady, 5),
    "unforeseen": ({"b": lambda: failing(ZeroDivisionError())}, ZeroDivisionError, 5),
    "late": ({"b": lambda: never}, WorkflowTimedOut, 0),
    "last": ({"join": lambda: failing(*[PredictionFailed("no")] * 2)}, NodeFailed, 5),
    "status": ({"b": lambda: lambda _: NodeAnswer(content=b"", status=422)}, None, 5),
    "cancelled": ({"b": lambda: never}, asyncio.CancelledError, 5),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("inner", [{}, {"first": ["pre", "other"], "other": ["c", "d"], "c": [], "d": []}])
@in_event_loop
async def test_request_that_fails_frees_its_body_at_once(
    failure: tuple[dict[str, Callable[[], Behaviour]], type[BaseException] | None, int], inner: dict[str, list[str]]
) -> None:
    """Nothing is left for the cycle collector, however a request ends and in graphs that branch."""
    nodes, error, timeout_s = failure
    played: dict[str, Any] = {name: make() for name, make in nodes.items()}
    workflow = Workflow({**inner, **PARALLEL}, timeout_s=timeout_s, **played)

    async def run(body: Body) -> type[BaseException] | None:
        try:
            await workflow.run(body)
        except BaseException as raised:  # noqa: BLE001 - the request may be cancelled, too
            return type(raised)
        return None

    gc.collect()
    gc.disable()
    try:
        body = Body(1000)
        freed = weakref.ref(body)
        running = asyncio.create_task(run(body))
        del body
        if error is asyncio.CancelledError:
            await asyncio.sleep(0)
            running.cancel()
        assert await running is error
        assert freed() is None
    finally:
        gc.enable()


def test_admission_is_bounded_in_number_and_bytes() -> None:
    """What is too much is refused, and what ends makes room."""
    admission = AdmissionControl(PredictionLimits(requests=2, in_flight_bytes=100))
    with admission.admit() as first, admission.admit() as second, admission.admit() as third:
        first.begin()
        second.begin()
        with pytest.raises(Saturated, match="2 requests are under way"):
            third.begin()
        first.reserve(60)
        with pytest.raises(Saturated, match=r"hold too many bytes already \(WFMGMT_MAX_INFLIGHT_MB\)"):
            second.reserve(41)
        second.reserve(40)
    assert (admission.requests, admission.in_flight_bytes) == (0, 0)
