"""What one connection to the inference address does before and around the application."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import _ErrInfo

from wfmgmt.domain.wire import (
    FRAMEWORK_TYPES,
    NO_CACHE,
    REQUEST_ID,
    UNKNOWN_PATH,
    WRONG_METHOD,
    error_body,
    sane_request_id,
)

_NOT_FOUND, _NOT_ALLOWED, _INTERNAL = 404, 405, 500
_log = logging.getLogger("wfmgmt.inference")


def json_answer(text: str, status: int = 200) -> web.Response:
    """Return an answer whose body is JSON."""
    return web.Response(status=status, body=text.encode(), content_type="application/json")


def framework_error(error: web.HTTPException) -> web.Response:
    """Return one of aiohttp's own errors in the shape that all errors have."""
    messages = {_NOT_FOUND: UNKNOWN_PATH, _NOT_ALLOWED: WRONG_METHOD}
    kind = FRAMEWORK_TYPES.get(error.status, "BadRequestException")
    answer = json_answer(error_body(error.status, kind, messages.get(error.status, f"{error.reason}.")), error.status)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


class InferenceProtocol(web.RequestHandler):
    """One connection to the inference address, which answers what is not HTTP as every other error.

    It leans on names that aiohttp keeps to itself where that offers no other way; tests over real connections show that
    they still mean the same.
    """

    __slots__ = ()

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        # What aiohttp unpacks by itself has no bound on the time it takes, and may end too early.
        super().__init__(manager, loop=loop, auto_decompress=False)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; when it stops being HTTP within a body, whoever reads that body hears of it."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._break_off_body()

    def _break_off_body(self) -> None:
        """Fail the body whose rest cannot come any more; aiohttp tells only of the bytes behind it."""
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("its chunks are malformed"))

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer; those that aiohttp gives before any middleware runs get the shape of all others."""
        if isinstance(resp, web.HTTPException):
            resp = framework_error(resp)
            resp.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(request.headers.get(REQUEST_ID))})
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - as in the base class
        """Log an unforeseen error; that the rest of a refused body cannot be decoded is none."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that did not reach the application, or an error that it did not foresee."""
        del message  # It repeats parts of the request.
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already") from exc
        if status == _INTERNAL:
            _log.error("unforeseen error", exc_info=exc)
            text = "Internal server error."
        else:
            text = "The request is not valid HTTP."
        answer = json_answer(error_body(status, FRAMEWORK_TYPES.get(status, "BadRequestException"), text), status)
        answer.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(None)})
        answer.force_close()
        return answer
