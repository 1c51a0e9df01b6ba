"""The queue of one pool: forms batches, hands them to workers, watches the time, and resolves the answers."""

import asyncio
import math
import random
import signal
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import islice

from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import (
    NodeAnswer,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    PredictionRefused,
)
from wfmgmt.serving.models.local.batches import BatchResult, HandlerMeasurements, WorkerFault, encode_batch, read_item
from wfmgmt.serving.models.local.channel import Item
from wfmgmt.serving.models.local.frames import InvalidFrame
from wfmgmt.serving.models.local.ready_worker import Batch, Call, ReadyWorker
from wfmgmt.serving.models.local.waiting_calls import WaitingCalls
from wfmgmt.serving.models.local.worker_process import WorkerProcess
from wfmgmt.timeouts import grace_s

#: Work that a busy worker prefetches, by how long its node takes as a rule, and in how many batches at most.
_MAX_PREFETCHED_S, _MAX_PREFETCHED = 0.002, 16
#: A worker whose batch takes longer than this prefetches nothing, and longer payloads are not prefetched.
_STUCK_S, _MAX_PREFETCHED_BYTES = 0.01, 64 * 1024
#: What one run says about the next ones. A slow run says everything: a node that is slow now and then is not quick.
_WEIGHT, _SLOW_S = 0.05, 0.05
#: How much earlier than asked for a timer may go off.
_CLOCK_S = 0.001


class Dispatcher:
    """The queue of one pool. For the event loop only.

    Args:
        node: The node that the pool serves.
        settings: How its requests reach a worker.
        queue_size: Requests that may wait, and at least as many as its batches hold.
        on_saturated: Called when a request waits and no worker is idle; it does not block.
        on_measurements: Called with what the handler measured.
        explain_import: See `Job.explain_import`.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        *,
        node: str,
        settings: NodeSettings,
        queue_size: int,
        on_saturated: Callable[[], None],
        on_measurements: Callable[[HandlerMeasurements], None],
        explain_import: Callable[[bool], str] = lambda _lacks_module: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._settings = settings
        self._queue_size = queue_size
        self._max_waiting = max(queue_size, settings.batch_size)
        self._on_saturated = on_saturated
        self._on_measurements = on_measurements
        self._explain_import = cache(explain_import)  # It reads files, and a handler may fail often.
        self._clock = clock
        self._waiting = WaitingCalls()
        self._run_s = math.inf
        self._workers: dict[int, ReadyWorker] = {}
        self._idle: list[ReadyWorker] = []
        self._numbers = 0
        self._batch_timer: asyncio.TimerHandle | None = None
        self._busy_since: float | None = None
        self._closed: str | None = None

    @property
    def queued(self) -> int:
        """Requests that no worker has begun: they wait here, or it has prefetched them."""
        self._waiting.drop_cancelled()
        prefetched = (batch for worker in self._workers.values() for batch in islice(worker.batches, 1, None))
        return len(self._waiting) + sum(len(batch.calls) for batch in prefetched)

    @property
    def saturated_s(self) -> float | None:
        """For how long the oldest request has waited, when no worker is idle; None when none is saturated."""
        self._waiting.drop_cancelled()
        return self._clock() - self._waiting[0].queued_at if self._waiting and not self._idle else None

    @property
    def busy_s(self) -> float | None:
        """For how long no worker has been idle; None when one is, or there is none that works."""
        return None if self._busy_since is None or self._idle or not self._workers else self._clock() - self._busy_since

    @property
    def idle(self) -> list[ReadyWorker]:
        """Workers that do nothing, those first that have done so for longest."""
        return sorted(self._idle, key=lambda worker: worker.idle_since)

    def busy(self) -> list[int]:
        """Return the processes of the workers that have something to do."""
        return [worker.process.pid for worker in self._workers.values() if worker.batches]

    def change(self, settings: NodeSettings) -> None:
        """Use other settings from the next batch on; what waits may be one already."""
        self._settings = settings
        self._max_waiting = max(self._queue_size, settings.batch_size)
        self._dispatch()

    def submit(self, request: NodeRequest, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a request answered; see `LoadedModel.infer`."""
        answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
        call = Call(request, avoid, answer, self._clock())
        if self._closed is not None:
            call.fail(NoWorker(self._closed))
            return answer
        if len(self._waiting) >= self._max_waiting:
            self._waiting.drop_cancelled()
            if len(self._waiting) >= self._max_waiting:
                reason = (
                    f"{self._max_waiting} requests wait for {self._node} already (WFMGMT_QUEUE_SIZE); try again later."
                )
                call.fail(NoWorker(reason))
                return answer
        if not self._waiting and avoid is None and self._settings.batch_size == 1:
            worker = self._free_worker(call)
            if worker is not None:
                self._hand_over(worker, (call,))
                return answer
        self._waiting.append(call)
        self._dispatch()
        return answer

    def _free_worker(self, call: Call) -> ReadyWorker | None:
        """Return the worker that can have a request at once that needs no batch, None when there is none."""
        if not self._idle:
            return self._quickest(call)
        worker = self._idle[-1]  # The youngest idler: the others may be idle enough to go.
        return self._idle.pop() if worker.process.is_usable else None

    def add(self, process: WorkerProcess) -> ReadyWorker:
        """Add a worker that is ready."""
        self._numbers += 1
        self._explain_import.cache_clear()
        worker = ReadyWorker(process, self._numbers, self._clock())
        self._workers[worker.number] = worker
        self._idle.append(worker)
        self._dispatch()
        self._end_busy_time()
        return worker

    def remove(self, worker: ReadyWorker) -> None:
        """Forget a worker that is gone; what it worked on fails as soon as its socket ends."""
        worker.is_leaving = True
        worker.died_working |= bool(worker.batches)
        self._workers.pop(worker.number, None)
        if not self._workers:
            self._busy_since = None
        if worker in self._idle:
            self._idle.remove(worker)
        if self._waiting:
            self._dispatch()

    async def release(self, worker: ReadyWorker) -> None:
        """Give a worker nothing more, and return when it has answered what it has."""
        worker.is_leaving = True
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.batches:
            worker.released = asyncio.get_running_loop().create_future()
            await worker.released

    def refuse_waiting(self, reason: str) -> None:
        """Fail what waits: no worker will come."""
        for call in self._waiting:
            call.fail(NoWorker(f"{self._node} has no worker: {reason}"))
        self._waiting.clear()

    def close(self, reason: str) -> None:
        """Fail everything, now and later."""
        self._closed = reason
        self.refuse_waiting(reason)
        for worker in list(self._workers.values()):
            for batch in self._take_back(worker):
                for call in batch.calls:
                    call.fail(NoWorker(reason))
        if self._batch_timer is not None:
            self._batch_timer.cancel()

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
            self._prefetch()
        if self._waiting and not self._idle:
            self._on_saturated()

    def _next_batch(self, worker: ReadyWorker) -> list[Call]:
        """Take the requests that a worker is to get now; none when it is not time yet or they should go to another."""
        others = any(other is not worker for other in self._workers.values())
        first = self._waiting.take(lambda call: not (others and call.avoid == worker.number))
        if first is None:
            return []
        settings = self._settings
        if settings.batch_size == 1 or first.is_alone:
            return [first]
        due_s = first.queued_at + settings.max_batch_delay_ms / 1000 - self._clock()
        if due_s > 0 and len(self._waiting) + 1 < settings.batch_size:
            self._waiting.put_back([first])
            self._wake_in(due_s)
            return []
        return self._waiting.take_batch(first, settings.batch_size)

    def _wake_in(self, seconds: float) -> None:
        if self._batch_timer is not None:
            self._batch_timer.cancel()
        self._batch_timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    def _prefetch(self) -> None:
        """Hand busy workers of quick handlers what they can begin with as soon as they have answered.

        It saves both sides from falling asleep and waking each other for every request, which takes longer than a quick
        handler. A worker answers in order, so it is always known which of its batches it may have begun.
        """
        while self._waiting:
            worker = self._quickest(self._waiting[0])
            calls = () if worker is None else self._next_batch(worker)
            if worker is None or not calls:
                return
            self._hand_over(worker, calls)

    def _quickest(self, call: Call) -> ReadyWorker | None:
        """Return the busy worker that is done first, None when this request should not go to any of them."""
        run_s = self._run_s
        if call.is_alone or run_s > _MAX_PREFETCHED_S or call.request.size_bytes > _MAX_PREFETCHED_BYTES:
            return None
        quickest, backlog_s = None, _MAX_PREFETCHED_S - run_s
        for worker in self._workers.values():
            if worker.batches and worker.backlog_s <= backlog_s and worker.can_work:
                quickest, backlog_s = worker, worker.backlog_s
        if quickest is None or len(quickest.batches) > _MAX_PREFETCHED:
            return None
        return quickest if self._clock() - quickest.batches[0].begun_at < _STUCK_S else None

    def _hand_over(self, worker: ReadyWorker, calls: Sequence[Call]) -> None:
        # What a handler writes to the socket, now or for a later batch to find, cannot show the right number.
        ticket = random.getrandbits(63)
        header, payload = encode_batch([call.request for call in calls], ticket)
        try:
            worker.process.send(header, payload)
        except InvalidFrame as error:
            if not worker.batches:
                self._rest(worker)
                asyncio.get_running_loop().call_soon(self._dispatch)
            for call in calls:
                call.fail(PredictionRefused(f"the request cannot be handed to a worker: {error}", 413))
            return
        # What has failed before may do so again, so nothing is prefetched behind it.
        run_s = math.inf if calls[0].is_alone else self._run_s
        worker.give(Batch(calls, ticket, self._settings.timeout_ms, run_s))
        if len(worker.batches) == 1:
            self._begin(worker)

    def _begin(self, worker: ReadyWorker) -> None:
        """Start the time of the first batch that a worker has: it works on it from now on."""
        batch = worker.batches[0]
        batch.begun_at = self._clock()
        if not self._idle and self._busy_since is None:
            self._busy_since = batch.begun_at
        timeout_s = batch.timeout_ms / 1000
        worker.watch(batch.begun_at + timeout_s, timeout_s, self._check_time)
        # Kept nowhere else: a worker that referred to it would be in a cycle with it, and outlive its end.
        worker.process.expect(partial(self._take_answer, worker))

    def _rest(self, worker: ReadyWorker) -> None:
        """Make a worker idle, which has nothing to do."""
        if worker.released is not None and not worker.released.done():
            worker.released.set_result(None)
        elif not worker.is_leaving:
            worker.idle_since = self._clock()
            self._idle.append(worker)

    def _end_busy_time(self) -> None:
        """Forget since when all are busy, if a worker is idle still after what waited was handed over."""
        if self._idle:
            self._busy_since = None

    def _take_back(self, worker: ReadyWorker) -> list[Batch]:
        """Return what a worker has, which is to get nothing more."""
        batches = list(worker.batches)
        worker.batches.clear()
        worker.is_leaving = True
        worker.stop_watching()
        self._rest(worker)
        return batches

    def _check_time(self, worker: ReadyWorker) -> None:
        """Kill a worker that takes too long, once what it may have sent has been read."""
        if not worker.batches:
            return
        batch = worker.batches[0]
        timeout_ms = batch.timeout_ms
        left_s = batch.begun_at + timeout_ms / 1000 - self._clock()
        if left_s > _CLOCK_S:
            worker.watch(batch.begun_at + timeout_ms / 1000, left_s, self._check_time)
        elif not batch.is_overdue:
            batch.is_overdue = True
            more_s = grace_s(-left_s)
            worker.watch(self._clock() + more_s, more_s, self._check_time)
        else:
            self._lose(worker, f"no answer within timeout-ms of {timeout_ms} ms; its worker was killed")

    def _lose(self, worker: ReadyWorker, reason: str) -> None:
        """Kill a worker that failed; its request fails, and if it was a batch, each request of it is run again alone.

        It is unknown which request of a batch made the worker fail, and the others are not to suffer from it. What was
        prefetched was not begun.
        """
        worker.died_working = True
        worker.process.kill(signal.SIGKILL)
        begun, *prefetched = self._take_back(worker)
        for batch in reversed(prefetched):
            self._waiting.put_back([call for call in batch.calls if not call.answer.done()])
        if len(begun.calls) == 1:
            failed = PredictionFailed(reason)
            failed.is_worker_gone = True
            self._fail(begun.calls[0], worker, failed)
        else:
            self._run_alone(begun.calls)
        self._dispatch()

    def _take_answer(self, worker: ReadyWorker, item: Item) -> None:
        if not worker.batches:
            return  # It came too late, or all requests were failed.
        batch = worker.batches[0]
        try:
            result = read_item(item, len(batch.calls), batch.ticket)
        except WorkerFault as fault:
            self._lose(worker, f"its worker {fault}")
            return
        worker.finish()
        self._record_run(result.run_s)
        if len(batch.calls) > 1 and isinstance(result.outcomes[0], PredictionRefused):
            self._run_alone(batch.calls)  # The handler meant one of them.
        else:
            self._resolve(worker, batch, result)
        if worker.batches:
            self._begin(worker)
        else:
            self._rest(worker)
        if self._waiting:
            self._dispatch()
        self._end_busy_time()
        if result.measurements:
            self._on_measurements(result.measurements)

    def _record_run(self, run_s: float) -> None:
        if run_s > _SLOW_S or self._run_s == math.inf:
            self._run_s = run_s
        else:
            self._run_s += (run_s - self._run_s) * _WEIGHT

    def _run_alone(self, calls: Sequence[Call]) -> None:
        """Put the requests of a batch back, each to be a batch of its own."""
        for call in calls:
            call.is_alone = True
        self._waiting.put_back([call for call in calls if not call.answer.done()])

    def _resolve(self, worker: ReadyWorker, batch: Batch, result: BatchResult) -> None:
        """Give each request of a batch what became of it."""
        now = self._clock()
        for call, outcome in zip(batch.calls, result.outcomes, strict=True):
            if isinstance(outcome, PredictionFailed | PredictionRefused):
                self._fail(call, worker, outcome)
            elif not call.answer.done():
                waited_s = now - call.queued_at
                outcome.batch_size = len(batch.calls)
                outcome.run_s = min(result.run_s, waited_s)
                outcome.queued_s = waited_s - outcome.run_s
                call.answer.set_result(outcome)

    def _fail(self, call: Call, worker: ReadyWorker, error: PredictionFailed | PredictionRefused) -> None:
        """Fail a request that a worker had."""
        error.pid = worker.process.pid
        if isinstance(error, PredictionFailed):
            error.worker = worker.number
            if error.lacks_module is not None:
                error.reason += self._explain_import(error.lacks_module)
        call.fail(error)
