"""Hands requests to the workers of one pool: forms batches, watches the time, and tells who waits for what."""

import asyncio
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.models.base import NodeAnswer, NodeRequest, NoWorker, PredictionFailed, PredictionRefused
from wfmgmt.serving.models.local.batches import HandlerMeasurements, Outcome, encode_batch, read_outcomes
from wfmgmt.serving.models.local.channel import Item
from wfmgmt.serving.models.local.frames import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, Frame, InvalidFrame
from wfmgmt.serving.models.local.launcher import WorkerProcess

#: A batch is closed before it gets longer than this, so that it fits into one message.
_BATCH_BYTES = MAX_PAYLOAD_BYTES // 2
_BATCH_HEADER_BYTES = MAX_HEADER_BYTES // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRules:
    """How requests of one node reach a worker.

    Attributes:
        batch_size: Requests handed over together at most.
        max_batch_delay_ms: Longest wait for a batch to fill, from its first request on.
        timeout_ms: Longest run of one batch.
    """

    batch_size: int = 1
    max_batch_delay_ms: int = 0
    timeout_ms: int = 10_000


class _Call:
    """One request that waits for a worker or is with one.

    Attributes:
        node: The node that is asked.
        request: What it is asked.
        avoid: Number of a worker that should not have it.
        is_alone: Whether it must share no batch.
        answer: To be resolved.
        queued_at: When it came.
    """

    __slots__ = ("answer", "avoid", "is_alone", "node", "queued_at", "request")

    def __init__(
        self, node: str, request: NodeRequest, avoid: int | None, answer: asyncio.Future[NodeAnswer], queued_at: float
    ) -> None:
        self.node = node
        self.request = request
        self.avoid = avoid
        self.is_alone = avoid is not None
        self.answer = answer
        self.queued_at = queued_at

    def fail(self, error: WfmgmtError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class ReadyWorker:
    """A worker that has loaded its handlers.

    Attributes:
        process: The worker.
        number: Tells it from all others of its pool.
        calls: The batch that it works on; empty while it is idle.
        idle_since: When it answered last.
        died_working: Whether a batch was its end.
        has_answered: Whether it has proved that it works.
        is_leaving: Whether it is to get nothing more.
    """

    def __init__(self, process: WorkerProcess, number: int, now: float) -> None:
        self.process = process
        self.number = number
        self.calls: Sequence[_Call] = ()
        self.idle_since = now
        self.died_working = self.has_answered = False
        self.is_leaving = False
        self.handed_at = now
        self.timer: asyncio.TimerHandle | None = None
        self.released: asyncio.Future[None] | None = None


class Dispatcher:
    """The queue of one pool. For the event loop only.

    Args:
        rules: Each node of the pool with its rules; nodes of a pool with several have batches of one.
        queue_size: Requests that may wait per node, and at least as many as its batches hold.
        on_starving: Called when a request waits and no worker is idle; it does not block.
        on_measurements: Called with a node and what its handler measured.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        *,
        rules: Mapping[str, NodeRules],
        queue_size: int,
        on_starving: Callable[[], None],
        on_measurements: Callable[[str, HandlerMeasurements], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._places = {node: max(queue_size, each.batch_size) for node, each in rules.items()}
        self._on_starving = on_starving
        self._on_measurements = on_measurements
        self._clock = clock
        self._waiting: deque[_Call] = deque()
        self._waiting_of: Counter[str] = Counter()
        self._workers: dict[int, ReadyWorker] = {}
        self._idle: list[ReadyWorker] = []
        self._numbers = 0
        self._batch_timer: asyncio.TimerHandle | None = None
        self._closed: str | None = None

    @property
    def starving_s(self) -> float | None:
        """For how long the oldest request has waited, when no worker is idle; None when nobody starves."""
        self._forget_cancelled()
        return self._clock() - self._waiting[0].queued_at if self._waiting and not self._idle else None

    @property
    def idle(self) -> list[ReadyWorker]:
        """Workers that do nothing, those first that have done so for longest."""
        return sorted(self._idle, key=lambda worker: worker.idle_since)

    def submit(self, node: str, request: NodeRequest, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a request answered; see `ModelServer.infer`."""
        answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
        call = _Call(node, request, avoid, answer, self._clock())
        if self._closed is not None:
            call.fail(NoWorker(self._closed))
            return answer
        places = self._places[node]
        if self._waiting_of[node] >= places:
            self._forget_cancelled()
            if self._waiting_of[node] >= places:
                call.fail(NoWorker(f"{places} requests wait for {node} already; try again later."))
                return answer
        if self._idle and not self._waiting and avoid is None and self._rules[node].batch_size == 1:
            worker = self._idle[-1]  # The youngest idler: the others may be idle enough to go.
            if worker.process.is_usable:
                self._hand_over(self._idle.pop(), (call,))
                return answer
        self._waiting.append(call)
        self._waiting_of[node] += 1
        self._dispatch()
        return answer

    def add(self, process: WorkerProcess) -> ReadyWorker:
        """Take in a worker that is ready."""
        self._numbers += 1
        worker = ReadyWorker(process, self._numbers, self._clock())
        self._workers[worker.number] = worker
        self._idle.append(worker)
        self._dispatch()
        return worker

    def remove(self, worker: ReadyWorker) -> None:
        """Forget a worker that is gone; what it worked on fails as soon as its socket ends."""
        worker.is_leaving = True
        worker.died_working |= bool(worker.calls)
        self._workers.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        if self._waiting:
            self._dispatch()

    async def release(self, worker: ReadyWorker) -> None:
        """Give a worker nothing more, and return when it has answered what it has."""
        worker.is_leaving = True
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.calls:
            worker.released = asyncio.get_running_loop().create_future()
            await worker.released

    def refuse_waiting(self, reason: str) -> None:
        """Fail what waits: no worker will come."""
        for call in self._waiting:
            call.fail(NoWorker(f"{call.node} has no worker: {reason}"))
        self._waiting.clear()
        self._waiting_of.clear()

    def close(self, reason: str) -> None:
        """Fail everything, now and later."""
        self._closed = reason
        self.refuse_waiting(reason)
        for worker in list(self._workers.values()):
            for call in self._take_back(worker):
                call.fail(NoWorker(reason))
        if self._batch_timer is not None:
            self._batch_timer.cancel()

    def _forget_cancelled(self) -> None:
        if any(call.answer.done() for call in self._waiting):
            self._waiting = deque(call for call in self._waiting if not call.answer.done())
            self._waiting_of = Counter(call.node for call in self._waiting)

    def _dispatch(self) -> None:
        """Hand over what can be handed over."""
        for worker in reversed(list(self._idle)):
            if not self._waiting:
                return
            if not worker.process.is_usable:
                self._idle.remove(worker)
                worker.process.kill(signal.SIGKILL)
                continue
            if calls := self._next_batch(worker):
                self._idle.remove(worker)
                self._hand_over(worker, calls)
        if self._waiting and not self._idle:
            self._on_starving()

    def _next_batch(self, worker: ReadyWorker) -> list[_Call]:
        """Take the requests that a worker is to get now; none when it is not time yet or they should go to another."""
        others = any(other is not worker for other in self._workers.values())
        first = self._pop(lambda call: not (others and call.avoid == worker.number))
        if first is None:
            return []
        rules = self._rules[first.node]
        if rules.batch_size == 1 or first.is_alone:
            return [first]
        due_s = first.queued_at + rules.max_batch_delay_ms / 1000 - self._clock()
        if due_s > 0 and len(self._waiting) + 1 < rules.batch_size:
            self._push_back([first])
            self._wake_in(due_s)
            return []
        batch, size_bytes, header_bytes = [first], first.request.size_bytes, first.request.header_bytes
        while len(batch) < rules.batch_size and (call := self._pop(lambda call: not call.is_alone)) is not None:
            size_bytes += call.request.size_bytes
            header_bytes += call.request.header_bytes
            if size_bytes > _BATCH_BYTES or header_bytes > _BATCH_HEADER_BYTES:
                self._push_back([call])
                break
            batch.append(call)
        return batch

    def _pop(self, is_fit: Callable[[_Call], bool]) -> _Call | None:
        """Take the oldest request that is fit."""
        passed: list[_Call] = []
        found = None
        while self._waiting and found is None:
            call = self._waiting.popleft()
            if call.answer.done():
                self._waiting_of[call.node] -= 1
            elif is_fit(call):
                self._waiting_of[call.node] -= 1
                found = call
            else:
                passed.append(call)
        self._waiting.extendleft(reversed(passed))
        return found

    def _push_back(self, calls: Sequence[_Call]) -> None:
        """Put requests where they were taken from."""
        self._waiting.extendleft(reversed(calls))
        for call in calls:
            self._waiting_of[call.node] += 1

    def _wake_in(self, seconds: float) -> None:
        if self._batch_timer is not None:
            self._batch_timer.cancel()
        self._batch_timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    def _hand_over(self, worker: ReadyWorker, calls: Sequence[_Call]) -> None:
        node = calls[0].node
        worker.calls = calls
        worker.handed_at = self._clock()
        # Whatever a handler writes to the socket, now or for a later batch to find, cannot show the right number.
        ticket = random.getrandbits(63)
        header, payload = encode_batch(node, [call.request for call in calls], ticket)
        try:
            worker.process.send(header, payload)
        except InvalidFrame as error:
            worker.calls = ()
            self._idle.append(worker)
            asyncio.get_running_loop().call_soon(self._dispatch)
            for call in calls:
                call.fail(PredictionRefused(f"the request cannot be handed to a worker: {error}", 413))
            return
        timeout_ms = self._rules[node].timeout_ms
        loop = asyncio.get_running_loop()
        worker.timer = loop.call_later(timeout_ms / 1000, self._time_out, worker, timeout_ms)
        worker.process.expect(partial(self._take_answer, worker, calls, ticket))

    def _take_back(self, worker: ReadyWorker) -> Sequence[_Call]:
        """Return what a worker has, which it is done with."""
        calls, worker.calls = worker.calls, ()
        if worker.timer is not None:
            worker.timer.cancel()
        if worker.released is not None and not worker.released.done():
            worker.released.set_result(None)
        return calls

    def _time_out(self, worker: ReadyWorker, timeout_ms: int) -> None:
        self._lose(worker, f"no answer within timeout-ms of {timeout_ms} ms; its worker was killed")

    def _lose(self, worker: ReadyWorker, reason: str) -> None:
        """Give up a worker; its request fails, and if it was a batch, each request of it is run again alone.

        Nobody can tell which request of a batch was the worker's end, and the others are not to suffer from it.
        """
        worker.died_working = worker.is_leaving = True
        worker.process.kill(signal.SIGKILL)
        calls = self._take_back(worker)
        if len(calls) == 1:
            calls[0].fail(PredictionFailed(reason, worker.number))
            return
        self._run_alone(calls)
        self._dispatch()

    def _take_answer(self, worker: ReadyWorker, calls: Sequence[_Call], ticket: int, item: Item) -> None:
        if worker.calls is not calls:
            return  # It was too late, or everything was given up.
        try:
            outcomes, measurements = _read(item, len(calls), ticket)
        except _WorkerFault as fault:
            self._lose(worker, f"its worker {fault}")
            return
        self._take_back(worker)
        worker.has_answered = True
        if len(calls) > 1 and isinstance(outcomes[0], PredictionRefused):
            self._run_alone(calls)  # The handler meant one of them.
        else:
            self._resolve(worker, calls, outcomes)
        if not worker.is_leaving:
            worker.idle_since = self._clock()
            self._idle.append(worker)
            if self._waiting:
                self._dispatch()
        if measurements:
            self._on_measurements(calls[0].node, measurements)

    def _run_alone(self, calls: Sequence[_Call]) -> None:
        """Put the requests of a batch back, each to be a batch of its own."""
        for call in calls:
            call.is_alone = True
        self._push_back([call for call in calls if not call.answer.done()])

    def _resolve(self, worker: ReadyWorker, calls: Sequence[_Call], outcomes: Sequence[Outcome]) -> None:
        """Give each request of a batch what became of it."""
        run_s = self._clock() - worker.handed_at
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, PredictionFailed):
                call.fail(PredictionFailed(outcome.reason, worker.number))
            elif isinstance(outcome, PredictionRefused):
                call.fail(outcome)
            elif not call.answer.done():
                outcome.batch_size = len(calls)
                outcome.queued_s = worker.handed_at - call.queued_at
                outcome.run_s = run_s
                call.answer.set_result(outcome)


class _WorkerFault(Exception):
    """A worker did something after which nothing good can be expected of it; the text goes on from "its worker"."""


def _read(item: Item, size: int, ticket: int) -> tuple[Sequence[Outcome], HandlerMeasurements]:
    """Return what a worker made of a batch of this size.

    Raises:
        _WorkerFault: It went, or sent something else.
    """
    if isinstance(item, InvalidFrame):
        raise _WorkerFault(f"sent what is no message: {item}")
    if not isinstance(item, Frame):
        raise _WorkerFault(str(item))
    try:
        return read_outcomes(item, size, ticket)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise _WorkerFault("sent an answer that makes no sense") from None
