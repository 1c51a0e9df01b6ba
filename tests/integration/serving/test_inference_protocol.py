"""Clients that do nothing, on real connections to a server with little patience."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from wfmgmt.serving.connections import ConnectionLimits, Connections
from wfmgmt.serving.inference_protocol import InferenceProtocol
from wfmgmt.testing import in_event_loop

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = "answer " * 1000

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    if request.path == "/defect":
        raise KeyError("unforeseen")
    return web.Response(text=ANSWER)


@asynccontextmanager
async def connected(**limits: Any) -> AsyncIterator[Streams]:
    """Give a connection to a server with these limits."""
    manager, loop = web.Server(_answer), asyncio.get_running_loop()
    connections = Connections(ConnectionLimits(**limits))
    protocol = partial(InferenceProtocol, connections=connections, on_answer=lambda _request, _answer: None)
    server = await loop.create_server(lambda: protocol(manager, loop=loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        server.close()
        await manager.shutdown(1.0)


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """Return head and body of an answer that says how long it is."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, (await reader.readexactly(length)).decode()


async def ask(streams: Streams) -> str:
    """Return the body of the answer to a whole request."""
    streams[1].write(GET)
    return (await read_answer(streams[0]))[1]


@pytest.mark.parametrize("requests_before", [0, 2])
@in_event_loop
async def test_head_that_drips_is_given_up(requests_before: int) -> None:
    """However it is cut, it has its time from its first byte on; then it gets an error and the connection is closed."""
    async with asyncio.timeout(10), connected(head_timeout_s=0.2) as streams:
        for _ in range(requests_before):
            assert await ask(streams) == ANSWER
        reader, writer = streams
        answering = asyncio.ensure_future(read_answer(reader))
        writer.write(b"GET /")
        while not answering.done():
            writer.write(b"a")
            await asyncio.wait([answering], timeout=0.01)
        head, body = answering.result()
        assert head.split()[1] == b"408"
        assert json.loads(body)["message"] == "The head of the request did not arrive within 0.2 s."
        assert await reader.read() == b""


@in_event_loop
async def test_head_in_two_parts_is_read() -> None:
    """What arrives in time is answered, also after the time for it would have been over."""
    async with asyncio.timeout(10), connected(head_timeout_s=0.5) as streams:
        streams[1].write(GET[:10])
        await asyncio.sleep(0)
        streams[1].write(GET[10:])
        assert (await read_answer(streams[0]))[1] == ANSWER
        loop = asyncio.get_running_loop()
        later = loop.time() + 0.6
        while loop.time() < later:
            assert await ask(streams) == ANSWER


@pytest.mark.parametrize("requests_before", [0, 2])
@in_event_loop
async def test_idle_connection_is_closed(requests_before: int) -> None:
    """A client that connects and says nothing, and one that asked and says nothing more."""
    async with asyncio.timeout(10), connected(idle_timeout_s=0.2) as streams:
        for _ in range(requests_before):
            assert await ask(streams) == ANSWER
        assert await streams[0].read() == b""


@in_event_loop
async def test_client_that_takes_no_answers_is_given_up() -> None:
    """It asks again and again and reads nothing, until what waits for it is more than the system takes."""
    async with asyncio.timeout(10), connected(write_timeout_s=0.2) as (_, writer):
        with pytest.raises(ConnectionError):
            while True:
                writer.write(GET * 100)
                await writer.drain()
                await asyncio.sleep(0.001)


@in_event_loop
async def test_error_that_was_not_foreseen_is_logged_under_the_id_of_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets no more than that, and the log has the traceback."""
    async with asyncio.timeout(10), connected() as (reader, writer):
        writer.write(GET.replace(b" / ", b" /defect ").replace(b"Host", b"x-request-id: r1\r\nHost"))
        head, body = await read_answer(reader)
    assert b"x-request-id: r1\r\n" in head
    assert json.loads(body)["message"] == "Internal server error."
    (record,) = [each for each in caplog.records if each.getMessage() == "unforeseen error"]
    assert record.__dict__["request_id"] == "r1"
    assert record.exc_info is not None
