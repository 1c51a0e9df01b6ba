"""A dispatcher whose workers are no processes."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import InputField, NodeAnswer, NodeRequest
from wfmgmt.serving.models.local.dispatching import Dispatcher
from wfmgmt.serving.models.local.frames import Frame, encode
from wfmgmt.serving.models.local.ready_worker import ReadyWorker

SINGLE = NodeSettings(batch_size=1, timeout_ms=10_000)


class FakeProcess:
    """A worker process that notes what it is sent, and answers when the test says so."""

    def __init__(self) -> None:
        self.pid = 1
        self.is_usable = self.is_connected = True
        self.batches: list[list[str]] = []
        self.signals: list[int] = []
        self.run_us = 100_000
        self._callback: Callable[[Any], None] = lambda _: None
        self._questions: deque[tuple[int, list[str]]] = deque()

    def send(self, header: dict[str, Any], payload: Sequence[bytes]) -> None:
        """Note the bodies of a batch."""
        assert header["op"] == "predict"
        encode(header)
        bodies = [bytes(body).decode() for body in payload[1::2]]
        self.batches.append(bodies)
        self._questions.append((header["ticket"], bodies))

    def expect(self, callback: Callable[[Any], None]) -> None:
        """Note who waits."""
        self._callback = callback

    def kill(self, signal_number: signal.Signals) -> None:
        """Note the signal."""
        self.signals.append(signal_number)

    def answer(self, item: object = None) -> None:
        """Answer the oldest batch: each request with its own body, unless something else is given."""
        ticket, texts = self._questions.popleft()
        bodies = [body.encode() for body in texts]
        answers = [[200, {}, len(body)] for body in bodies]
        item = item or Frame({"op": "answer", "answers": answers, "metrics": []}, b"".join(bodies))
        if isinstance(item, Frame):
            item.header.update(ticket=ticket, run_us=self.run_us)
        self._callback(item)


class Line:
    """A dispatcher with workers that are not real."""

    def __init__(
        self,
        settings: NodeSettings = SINGLE,
        *,
        queue_size: int = 100,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.starved = self.explained = 0
        self.measured: list[Any] = []
        self.dispatcher = Dispatcher(
            node="n",
            settings=settings,
            queue_size=queue_size,
            on_saturated=self._record_saturation,
            on_measurements=self.measured.append,
            explain_import=self._explain_import,
            clock=clock,
        )
        self.processes = [FakeProcess() for _ in range(workers)]
        self.workers = [self.add(process) for process in self.processes]

    def _record_saturation(self) -> None:
        self.starved += 1

    def _explain_import(self, lacks_module: bool) -> str:  # noqa: FBT001 - it has one argument
        self.explained += 1
        return f"; explained {self.explained}: {lacks_module}"

    def add(self, process: Any) -> ReadyWorker:
        """Take in a worker."""
        return self.dispatcher.add(process)

    def ask(self, body: str, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Submit a request."""
        request = NodeRequest("id", b"{}", [InputField("body", body.encode())])
        return self.dispatcher.submit(request, avoid)


async def text_of(answer: asyncio.Future[NodeAnswer]) -> str:
    """Wait for an answer and return its text."""
    async with asyncio.timeout(5):
        return bytes((await answer).content).decode()
