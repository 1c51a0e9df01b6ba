"""What can go wrong between a client and a TorchServe, on command."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from aiohttp import web

from tests.support.fake_torchserve.answers import INTERNAL, OwnError, json_answer

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"


class Misbehaviour(Enum):
    """A way to answer badly."""

    SLOW = auto()  #: The answer is right, and late.
    NEVER = auto()  #: No answer comes, and the connection stays open.
    RESET = auto()  #: The connection is reset before the answer begins.
    RESET_AFTER_HEAD = auto()  #: The connection is reset when the head of the answer is out.
    TRUNCATED = auto()  #: The connection ends in the middle of the body.
    ERROR_500 = 500
    ERROR_503 = 503
    ERROR_507 = 507
    NO_HTTP = auto()  #: Something that is no HTTP.
    NO_JSON = auto()  #: A 200 that says JSON and is none.
    OTHER_JSON = auto()  #: A 200 with JSON in which nothing is that one looks for.


@dataclass(kw_only=True)
class Rule:
    """When to misbehave, and how.

    Attributes:
        endpoint: Method and first part of the path, as in `POST /models`.
        kind: How.
        model: For requests about this model only; None for all.
        times: How often; None for as long as the rule stands.
        seconds: How late a slow answer is.
        carried_out: Whether the request is carried out all the same, so that only its answer is lost.
    """

    endpoint: str
    kind: Misbehaviour
    model: str | None = None
    times: int | None = 1
    seconds: float = 0.0
    carried_out: bool = False

    def applies(self, endpoint: str, model: str | None) -> bool:
        """Tell whether a request is to suffer, and count it."""
        if endpoint != self.endpoint or self.model not in {None, model} or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    async def answer(self, request: web.Request, handle: Handle) -> web.StreamResponse:
        """Answer badly.

        Raises:
            OwnError: That is the answer.
        """
        if self.kind is Misbehaviour.SLOW:
            await asyncio.sleep(self.seconds)
            return await handle(request)
        if self.carried_out:
            with contextlib.suppress(OwnError):
                await handle(request)
        return await _spoil(request, self.kind)


async def _spoil(request: web.Request, kind: Misbehaviour) -> web.StreamResponse:
    match kind:
        case Misbehaviour.NEVER:
            await asyncio.get_running_loop().create_future()
        case Misbehaviour.RESET:
            _reset(request)
        case Misbehaviour.RESET_AFTER_HEAD:
            _send(request, _HEAD)
            _reset(request)
        case Misbehaviour.TRUNCATED:
            _send(request, _HEAD + b'{"status": "Mod')
            _close(request)
        case Misbehaviour.NO_HTTP:
            _send(request, b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n")
            _close(request)
        case Misbehaviour.NO_JSON:
            answer = json_answer(None)
            answer.body = b"<html>Bad gateway</html>"
            return answer
        case Misbehaviour.OTHER_JSON:
            return json_answer({"unexpected": ["shape"]})
        case _:
            raise OwnError(kind.value, INTERNAL, "told to fail")
    # The connection is gone, so what is returned here reaches nobody.
    return web.Response()


def _send(request: web.Request, data: bytes) -> None:
    if request.transport is not None:
        request.transport.write(data)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    """Close a connection without the courtesies of TCP."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
