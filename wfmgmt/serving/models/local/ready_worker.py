"""A worker that takes requests, and what it has been given."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.models.base import NodeAnswer, NodeRequest
from wfmgmt.serving.models.local.worker_process import WorkerProcess


class Call:
    """One request that waits for a worker or is with one.

    Attributes:
        request: What is asked.
        avoid: Number of a worker that should not have it.
        is_alone: Whether it must share no batch.
        answer: To be resolved.
        queued_at: When it came.
    """

    __slots__ = ("answer", "avoid", "is_alone", "queued_at", "request")

    def __init__(
        self, request: NodeRequest, avoid: int | None, answer: asyncio.Future[NodeAnswer], queued_at: float
    ) -> None:
        self.request = request
        self.avoid = avoid
        self.is_alone = avoid is not None
        self.answer = answer
        self.queued_at = queued_at

    def fail(self, error: WfmgmtError) -> None:
        """Answer with an error, unless the request was cancelled."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Batch:
    """Requests that were handed over together.

    Attributes:
        calls: The requests; at least one.
        ticket: What its answer has to show.
        timeout_ms: How long it may run.
        run_s: How long it is expected to take at most; infinite when that is unknown.
        begun_at: When its worker began with it, or could have.
        is_overdue: Whether its time is over.
    """

    __slots__ = ("begun_at", "calls", "is_overdue", "run_s", "ticket", "timeout_ms")

    def __init__(self, calls: Sequence[Call], ticket: int, timeout_ms: int, run_s: float) -> None:
        self.calls = calls
        self.ticket = ticket
        self.timeout_ms = timeout_ms
        self.run_s = run_s
        self.begun_at = 0.0
        self.is_overdue = False


class ReadyWorker:
    """A worker that has loaded its handler.

    Attributes:
        process: The worker.
        number: Its identity within its pool.
        batches: What it has been given and not answered, in order: it works on the first. Empty while it is idle.
        backlog_s: How long it is expected to take for them.
        idle_since: When it answered last.
        died_working: Whether it ended with a batch.
        has_answered: Whether it has proved that it works.
        is_leaving: Whether it is to get nothing more.
        released: Done when it has answered what it has; None while that is not awaited.
    """

    def __init__(self, process: WorkerProcess, number: int, now: float) -> None:
        self.process = process
        self.number = number
        self.batches: deque[Batch] = deque()
        self.backlog_s = 0.0
        self.idle_since = now
        self.died_working = self.has_answered = False
        self.is_leaving = False
        self.released: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def can_work(self) -> bool:
        """Whether it can prefetch a batch."""
        return not self.is_leaving and self.process.is_connected

    def give(self, batch: Batch) -> None:
        """Add a batch to what it has."""
        self.batches.append(batch)
        self.backlog_s += batch.run_s

    def finish(self) -> None:
        """Take its first batch off, which it has answered."""
        self.has_answered = True
        self.batches.popleft()
        self.backlog_s = sum(batch.run_s for batch in self.batches) if self.batches else 0.0

    def watch(self, deadline: float, delay_s: float, check: Callable[["ReadyWorker"], None]) -> None:
        """Have `check` called at the deadline, or before it: a timer that is set for earlier stays as it is."""
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._go_off, check)

    def _go_off(self, check: Callable[["ReadyWorker"], None]) -> None:
        self._timer = None
        check(self)

    def stop_watching(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
