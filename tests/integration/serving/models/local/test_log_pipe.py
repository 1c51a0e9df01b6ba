"""A pipe that a process prints to is read to its end, and its descriptor is closed once."""

import asyncio
import os
import threading
from collections.abc import Callable

import pytest
import uvloop

from wfmgmt.serving.models.local.log_pipe import LogPipe

LOOPS = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Received(asyncio.Protocol):
    """Keeps what was received."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note the end, which comes once."""
        assert not self.ended.is_set()
        self.ended.set()


@LOOPS
def test_pipe_is_read_to_its_end(loop_factory: LoopFactory) -> None:
    """What was written before the other end was closed arrives, however much it is."""

    async def read() -> bytes:
        read_end, write_end = os.pipe()
        received = Received()
        pipe = LogPipe(read_end, received)
        with os.fdopen(write_end, "wb", buffering=0) as writing:
            await asyncio.to_thread(writing.write, b"a line\n" * 50_000)
        await asyncio.wait_for(received.ended.wait(), 10)
        pipe.close()
        await asyncio.sleep(0)
        return received.data

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(read()) == b"a line\n" * 50_000


@LOOPS
def test_closing_never_closes_what_other_threads_have_opened(loop_factory: LoopFactory) -> None:
    """A descriptor that another thread got in the moment of the close stays open."""
    is_over = threading.Event()
    closed_by_others = 0

    def open_and_close() -> None:
        nonlocal closed_by_others
        while not is_over.is_set():
            descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.close(descriptor)
            except OSError:
                closed_by_others += 1

    async def open_pipes() -> None:
        for _ in range(3000):
            read_end, write_end = os.pipe()
            received = Received()
            pipe = LogPipe(read_end, received)
            os.close(write_end)
            await asyncio.sleep(0)
            pipe.close()
            await received.ended.wait()

    threads = [threading.Thread(target=open_and_close) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(open_pipes())
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert closed_by_others == 0
