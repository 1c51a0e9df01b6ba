"""What one connection to the inference address does before and around the application."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from wfmgmt.errors import TooManyConnections, Unavailable, WfmgmtError
from wfmgmt.errors.access import CredentialsRefused
from wfmgmt.errors.predictions import RequestTooSlow
from wfmgmt.http.answers import (
    CHALLENGE,
    FRAMEWORK_TYPES,
    NO_CACHE,
    REQUEST_ID,
    UNKNOWN_PATH,
    WRONG_METHOD,
    WRONG_VERSION,
    error_body,
    sane_request_id,
    status_and_type,
)
from wfmgmt.serving.connections import Connections
from wfmgmt.serving.inference_access import InferenceAccessLogger
from wfmgmt.serving.request_heads import tolerant

_MESSAGES: dict[int, str] = {HTTPStatus.NOT_FOUND: UNKNOWN_PATH, HTTPStatus.METHOD_NOT_ALLOWED: WRONG_METHOD}
_VERSIONS = (HttpVersion11, HttpVersion10)
_REASONS: dict[int, str] = {HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: WRONG_VERSION}
_log = logging.getLogger("wfmgmt.inference")

#: Key of a request: its id, once that is decided.
ID = web.RequestKey("id", str)
#: Called once with every answer, before it is sent.
OnAnswer = Callable[[web.BaseRequest, web.StreamResponse], None]


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """Return an answer whose body is JSON."""
    return web.Response(status=status, body=body, content_type="application/json")


def framework_error(error: web.HTTPException) -> web.Response:
    """Return one of aiohttp's own errors in the shape that all errors have."""
    kind = FRAMEWORK_TYPES.get(error.status, "BadRequestException")
    answer = json_answer(error_body(error.status, kind, _MESSAGES.get(error.status, f"{error.reason}.")), error.status)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


def own_error(error: WfmgmtError) -> web.Response:
    """Return the answer for one of our errors, with the node that is to blame if one is, and a hint if there is one."""
    status, kind = status_and_type(error)
    more = {name: value for name in ("node", "attempt", "hint") if (value := getattr(error, name, None)) is not None}
    answer = json_answer(error_body(status, kind, str(error), **more), status)
    if isinstance(error, CredentialsRefused):
        answer.headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, Unavailable):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _plain_error(status: int, text: str) -> web.Response:
    return json_answer(error_body(status, FRAMEWORK_TYPES.get(status, "BadRequestException"), text), status)


class InferenceProtocol(web.RequestHandler):
    """One connection to the inference address, which answers what is not HTTP as every other error.

    It leans on names that aiohttp keeps to itself where that offers no other way. `tests/unit/test_private_names.py`
    lists them, and tests over real connections show that they still mean the same.
    """

    __slots__ = ("_connections", "_head_timer", "_is_refused", "_last_body", "_on_answer", "_write_timer")

    def __init__(
        self, manager: web.Server, connections: Connections, on_answer: OnAnswer, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        # What aiohttp unpacks by itself has no bound on the time it takes, and may end too early.
        super().__init__(
            manager,
            loop=loop,
            auto_decompress=False,
            keepalive_timeout=connections.limits.idle_timeout_s,
            access_log_class=InferenceAccessLogger,
        )
        self._connections = connections
        self._on_answer = on_answer
        self._is_refused = False
        self._last_body: StreamReader | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many connections: then its first request is refused."""
        super().connection_made(transport)
        self._is_refused = not self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let another one have the place."""
        self._connections.remove(self)
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def idle_since(self) -> float | None:
        """When the last request was answered, or the connection opened, on the loop's clock; None during a request."""
        if self._request_in_progress or self._messages:
            return None
        return self._next_keepalive_close_time - self.keepalive_timeout

    def end(self) -> None:
        """Close the connection at once, also when the client takes nothing of what it was sent."""
        transport = self.transport
        self.force_close()
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()

    def pause_writing(self) -> None:
        """Close the connection of a client that takes nothing for a while."""
        super().pause_writing()
        self._write_timer = asyncio.get_running_loop().call_later(self._connections.limits.write_timeout_s, self.end)

    def resume_writing(self) -> None:
        """Record that the client takes what it is sent."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; when it stops being HTTP within a body, reading that body fails."""
        if self._is_refused:
            self._refuse(TooManyConnections("All connections are busy (WFMGMT_MAX_CONNECTIONS); try again later."))
            return
        before, body = len(self._messages), self._last_body
        super().data_received(data if self._is_within_a_body() else tolerant(data))
        self._check_versions(before)
        if self._messages:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            if isinstance(self._messages[-1][0], _ErrInfo):
                self._break_off_body(body)
        elif self._head_timer is None and self._waiter is not None:
            self._head_timer = asyncio.get_running_loop().call_later(
                self._connections.limits.head_timeout_s, self._refuse_slow_head
            )

    def _is_within_a_body(self) -> bool:
        return self._last_body is not None and not self._last_body.is_eof()

    def _check_versions(self, first: int) -> None:
        """Refuse new requests of versions that aiohttp takes for ours, and would repeat in its answer."""
        for index in range(first, len(self._messages)):
            message, self._last_body = self._messages[index]
            if not isinstance(message, _ErrInfo) and message.version not in _VERSIONS:
                error = BadHttpMessage("unknown version")
                self._messages[index] = (_ErrInfo(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, error, ""), EMPTY_PAYLOAD)

    def _refuse_slow_head(self) -> None:
        if self._waiter is not None:
            self._refuse(RequestTooSlow("head", self._connections.limits.head_timeout_s))

    def _refuse(self, error: WfmgmtError) -> None:
        """Answer with an error in the place of a request, as aiohttp does when one is not HTTP, and close."""
        if self._messages or self.transport is None:
            return
        self._messages.append((_ErrInfo(0, error, ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break_off_body(self, earlier: StreamReader | None) -> None:
        """Fail the body whose rest cannot come any more; aiohttp reports only the bytes behind it."""
        for body in (earlier, *(body for _, body in self._messages)):
            if body is not None and not body.is_eof():
                body.set_exception(web.RequestPayloadError("its chunks are malformed"))

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer; those that aiohttp gives before any middleware runs get the shape of all others."""
        if isinstance(resp, web.HTTPException):
            resp = framework_error(resp)
            resp.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(request.headers.get(REQUEST_ID))})
        if not resp.prepared:  # The application sends long answers by itself.
            self._on_answer(request, resp)
            if self._connections.is_closing:
                resp.force_close()
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - as in the base class
        """Log an unforeseen error; that the rest of a refused body cannot be decoded is none."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that did not reach the application, or an error that it did not foresee."""
        del message  # It repeats parts of the request.
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already") from exc
        request_id = sane_request_id(None)
        if isinstance(exc, WfmgmtError):
            answer = own_error(exc)
        elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
            request_id = request.get(ID) or sane_request_id(request.headers.get(REQUEST_ID))
            _log.error("unforeseen error", exc_info=exc, extra={"request_id": request_id})
            answer = _plain_error(status, "Internal server error.")
        else:
            answer = _plain_error(status, _REASONS.get(status, "The request is not valid HTTP."))
        request._version = HttpVersion11  # noqa: SLF001 - that of such a request is made up, and would be answered with
        answer.headers.update({**NO_CACHE, REQUEST_ID: request_id})
        answer.force_close()
        return answer
