"""One request on its way through a workflow: its nodes, their attempts, its answer."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple, Protocol

from wfmgmt.control.messages import TrafficFigures, TrafficKind
from wfmgmt.domain.dag import Dag, DagRun, Step
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import Saturated, WorkflowNotReady
from wfmgmt.errors.predictions import NodeFailed, NodeRefused, NodeServerFailed, NodeServerTimedOut, WorkflowTimedOut
from wfmgmt.serving.failure_log import FailedAttempt, FailureLog
from wfmgmt.serving.measurements import NodeMeasurements
from wfmgmt.serving.models.base import (
    InputField,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    PredictionRefused,
)
from wfmgmt.serving.traffic import LastMinute, is_server_error
from wfmgmt.timeouts import timeout_after

_MIN_ERROR_STATUS = 400
_FAILURES = {Fault.FAILED: NodeServerFailed, Fault.TIMED_OUT: NodeServerTimedOut}
#: Stands for "any worker, but in no batch", for an attempt after a failure that was no worker's.
_NO_WORKER = 0
#: What a client reads of a failure that another attempt did not change.
_SAME_AGAIN = "The handler failed in the same way in the first and in the last attempt: a retry is not likely to help."


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionLimits:
    """How much the runtime takes on.

    Attributes:
        requests: Requests under way.
        in_flight_bytes: Bytes of bodies and answers that are held for them.
        request_bytes: Longest body of one request.
    """

    requests: int = 1000
    in_flight_bytes: int = 512 * 1024 * 1024
    request_bytes: int = 6_553_500


class AdmissionControl:
    """Counts what is under way, and refuses what is too much. For the event loop only.

    Attributes:
        limits: What is too much.
        requests: Requests under way.
        in_flight_bytes: Bytes that are held for them.
    """

    def __init__(self, limits: PredictionLimits) -> None:
        self.limits = limits
        self.requests = 0
        self.in_flight_bytes = 0

    @contextmanager
    def admit(self) -> Iterator["Permit"]:
        """Give one request a permit; it counts as under way once its body is there."""
        permit = Permit(self)
        try:
            yield permit
        finally:
            permit.end()


class Permit:
    """The share of the bounds that one admitted request takes up."""

    def __init__(self, admission: AdmissionControl) -> None:
        self._admission = admission
        self._is_under_way = False
        self.in_flight_bytes = 0

    def begin(self) -> None:
        """Count the request as under way.

        Raises:
            Saturated: As many as may be are.
        """
        admission = self._admission
        if admission.requests >= admission.limits.requests:
            raise Saturated(
                f"{admission.limits.requests} requests are under way already (WFMGMT_MAX_INFLIGHT_REQUESTS); "
                "try again later."
            )
        admission.requests += 1
        self._is_under_way = True

    def end(self) -> None:
        """Give everything back."""
        self.release(self.in_flight_bytes)
        self._admission.requests -= self._is_under_way
        self._is_under_way = False

    @property
    def limit_bytes(self) -> int:
        """Longest body that the request may have."""
        return self._admission.limits.request_bytes

    def release(self, size_bytes: int) -> None:
        """Give bytes back."""
        self.in_flight_bytes -= size_bytes
        self._admission.in_flight_bytes -= size_bytes

    def reserve(self, size_bytes: int) -> None:
        """Count more bytes as in flight.

        Raises:
            Saturated: There is no room for them now.
        """
        if self._admission.in_flight_bytes + size_bytes > self._admission.limits.in_flight_bytes:
            raise Saturated(
                "The requests under way hold too many bytes already (WFMGMT_MAX_INFLIGHT_MB); try again later."
            )
        self.in_flight_bytes += size_bytes
        self._admission.in_flight_bytes += size_bytes


@dataclass(slots=True, kw_only=True)
class NodeTrace:
    """How one node fared with one request.

    Attributes:
        attempts: Attempts that were made.
        queued_s: Wait for a worker and for the batch to fill, in the attempt that succeeded.
        run_s: Time that the worker took in it.
        size_bytes: Length of the answer.
        is_answered: Whether it has answered.
    """

    attempts: int = 0
    queued_s: float = 0.0
    run_s: float = 0.0
    size_bytes: int = 0
    is_answered: bool = False


@dataclass(slots=True, kw_only=True)
class Prediction:
    """One request to a workflow.

    Attributes:
        request: What the first node is asked.
        permit: Counts it and its bytes as in flight.
        waited_s: For how long it has waited for the workflow to be loaded.
        kind: Why its version gets it.
        node: The only node that is to answer; None for the whole graph.
        traces: By node, in the order in which they were asked.
    """

    request: NodeRequest
    permit: Permit
    waited_s: float = 0.0
    kind: TrafficKind = TrafficKind.SERVE
    node: str | None = None
    traces: dict[str, NodeTrace] = field(default_factory=dict)


class _Ended(Exception):
    """A node set a status that ends the request."""

    def __init__(self, node: str, answer: NodeAnswer) -> None:
        self.node = node
        self.answer = answer


class Infer(Protocol):
    """The method `infer` of a `LoadedModel`."""

    def __call__(self, request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        """Have a worker answer a request."""


class _Node(NamedTuple):
    """The parts of one node that a request uses."""

    infer: Infer
    measured: NodeMeasurements
    last_minute: LastMinute
    retries: int
    log: FailureLog


class WorkflowRunner:
    """Takes requests through the graph of one workflow. For the event loop only.

    Args:
        target: The workflow.
        infer: Has each of its nodes answer.
        measured: Where to count what happens at each node.
    """

    def __init__(
        self, target: LoadRequest, *, infer: Mapping[str, Infer], measured: Mapping[str, NodeMeasurements]
    ) -> None:
        self._workflow = target.workflow
        self._response_timeout_s = target.response_timeout_s
        self._dag = Dag.from_edges([node.name for node in target.nodes], target.edges)
        self._nodes = {
            node.name: _Node(
                infer[node.name],
                measured[node.name],
                LastMinute(),
                node.settings.retry_attempts,
                FailureLog(workflow=target.workflow, version=target.version, node=node.name),
            )
            for node in target.nodes
        }

    def figures(self, node: str) -> TrafficFigures:
        """Return the attempts of the last minute to have a node answer."""
        return self._nodes[node].last_minute.figures(monotonic())

    def set_retries(self, node: str, retries: int) -> None:
        """Give a node another number of further attempts, for requests that come to it from now on."""
        self._nodes[node] = self._nodes[node]._replace(retries=retries)

    async def run(self, prediction: Prediction) -> Mapping[str, NodeAnswer]:
        """Return the answers of the leaves, by name; of one node, when that set a status of 400 or more or is alone.

        Raises:
            NodeFailed: A node failed in all its attempts.
            NodeRefused: A handler raised an error with a status of its choice.
            WorkflowNotReady: A queue is full, or a node has no worker.
            WorkflowTimedOut: The workflow's response_timeout is over.
        """
        flow = DagRun[NodeAnswer](self._dag if prediction.node is None else Dag.from_edges([prediction.node], ()))
        try:
            async with timeout_after(self._response_timeout_s - prediction.waited_s):
                await self._follow(flow, [flow.start()], prediction)
        except TimeoutError:
            self._log_timeout(prediction)
            raise WorkflowTimedOut(self._workflow, self._response_timeout_s) from None
        except _Ended as end:
            return {end.node: end.answer}
        results = flow.results
        if results is None:
            raise RuntimeError("the graph ended without its leaves")
        return results

    def _log_timeout(self, prediction: Prediction) -> None:
        """Log that the workflow's time is over, under a node that was waited for."""
        awaited = {node: trace.attempts for node, trace in prediction.traces.items() if not trace.is_answered}
        node, attempts = next(iter(awaited.items()), (next(iter(self._nodes)), 0))
        reason = f"no answer within the response_timeout of {self._response_timeout_s:g} s of the workflow"
        is_copy = prediction.kind is TrafficKind.MIRROR
        self._nodes[node].log.on_failed(
            prediction.request.request_id, [FailedAttempt(attempts, reason)], is_copy=is_copy
        )

    async def _follow(self, flow: DagRun[NodeAnswer], steps: list[Step[NodeAnswer]], prediction: Prediction) -> None:
        """Take these steps and all that they make possible; several at once where the graph branches."""
        while len(steps) == 1:
            (step,) = steps
            steps = flow.finish(step.node, await self._answer(step, prediction))
        if steps:
            await _run_branches([self._follow(flow, [step], prediction) for step in steps])

    async def _answer(self, step: Step[NodeAnswer], prediction: Prediction) -> NodeAnswer:
        """Have one node answer, and count its answer and what it was given."""
        node = step.node
        trace = prediction.traces[node] = NodeTrace()
        request = _request(step, prediction.request)
        answer = await self._attempt(node, request, trace, is_copy=prediction.kind is TrafficKind.MIRROR)
        prediction.permit.reserve(len(answer.content))
        for parent, used in step.inputs.items():
            if len(self._dag.targets[parent]) == 1:
                prediction.permit.release(len(used.content))
        trace.queued_s, trace.run_s, trace.size_bytes = answer.queued_s, answer.run_s, len(answer.content)
        if answer.status >= _MIN_ERROR_STATUS:
            if is_server_error(answer.status):
                self._nodes[node].log.on_error_status(request.request_id, trace.attempts, answer.status)
            raise _Ended(node, answer)
        return answer

    async def _attempt(self, node: str, request: NodeRequest, trace: NodeTrace, *, is_copy: bool) -> NodeAnswer:
        """Have one node answer, in as many attempts as it may have."""
        infer, measured, last_minute, retries, log = self._nodes[node]
        avoid = None
        failed: tuple[FailedAttempt, ...] = ()  # The first and the last attempt.
        while True:
            trace.attempts += 1
            measured.requests += 1
            began, is_failure = monotonic(), True
            try:
                answer = await infer(request, avoid=avoid)
                is_failure = False
            except (PredictionFailed, TimeoutError) as error:
                # A time-out in here is the node's: the workflow's own cancels what runs.
                failed = (*failed[:1], FailedAttempt.of(trace.attempts, error))
                if trace.attempts > retries:
                    log.on_failed(request.request_id, failed, is_copy=is_copy)
                    raise _failure(node, error, failed) from None
                measured.retries += 1
                avoid = getattr(error, "worker", None) or _NO_WORKER
            except PredictionRefused as refused:
                failed = (*failed[:1], FailedAttempt.of(trace.attempts, refused))
                log.on_refused(request.request_id, failed, refused, is_copy=is_copy)
                raise NodeRefused(node, trace.attempts, refused.reason, refused.status) from None
            except NoWorker as error:
                log.on_not_taken(request.request_id, trace.attempts, failed, error)
                raise WorkflowNotReady(str(error), node) from None
            except asyncio.CancelledError:
                is_failure = False  # The client, another branch, or the workflow's time-out was its end.
                raise
            else:
                break
            finally:
                measured.failures += is_failure
                last_minute.record(now := monotonic(), now - began, is_failure=is_failure)
        measured.record_answer(answer)
        trace.is_answered = True
        if failed:
            log.on_answered(request.request_id, trace.attempts, failed)
        return answer


def _request(step: Step[NodeAnswer], first: NodeRequest) -> NodeRequest:
    """Return what a node is asked: the client's own request, its parent's answer, or one answer per parent."""
    if not step.inputs:
        return first
    if len(step.inputs) == 1:
        (answer,) = step.inputs.values()
        return first._replace(fields=(InputField("body", answer.content),))
    return first._replace(fields=[InputField(name, answer.content) for name, answer in step.inputs.items()])


def _failure(node: str, error: PredictionFailed | TimeoutError, failed: Sequence[FailedAttempt]) -> NodeFailed:
    """Return the error of a node whose last attempt failed.

    Args:
        node: The node.
        error: What the last attempt ended with.
        failed: The first and the last attempt.
    """
    first, last = failed[0], failed[-1]
    if isinstance(error, TimeoutError):
        return NodeFailed(node, last.number, last.reason)
    is_constant = first.number < last.number and first.reason == last.reason
    is_handlers = error.fault is Fault.MODEL and not error.is_worker_gone
    hint = _SAME_AGAIN if is_constant and is_handlers else None
    return _FAILURES.get(error.fault, NodeFailed)(node, last.number, last.reason, hint)


async def _run_branches(branches: Iterable[Coroutine[None, None, None]]) -> None:
    """Run all to their end; when one fails, cancel the others and raise its error.

    A `TaskGroup` would raise a group that is in a cycle with its own traceback, and so hold the bodies of the request
    until the cycle collector runs.
    """
    tasks = [asyncio.create_task(branch) for branch in branches]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for failure in outcomes:
        if failure is not None and not isinstance(failure, asyncio.CancelledError):
            try:
                raise failure
            finally:
                del failure, outcomes, tasks, task  # What is raised holds this frame, and must not be held by it.
