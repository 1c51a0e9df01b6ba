"""What the fake puts on the wire: answers in the shape that TorchServe gives them."""

import http
import json
import uuid
from collections.abc import Mapping
from typing import NamedTuple

from aiohttp import web

INTERNAL = "InternalServerException"
REQUEST_ID = "x-request-id"
_CACHING = {
    "Pragma": "no-cache",
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}
_OWN = frozenset({REQUEST_ID, "content-length", "connection"})
_MIN_ERROR_STATUS = 400


class OwnError(Exception):
    """An error of TorchServe itself, as opposed to what a handler answers.

    Attributes:
        status: HTTP status, which its body repeats.
        kind: Name of the Java exception.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class HandlerAnswer(NamedTuple):
    """What a handler answered to one request."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class BareResponse(web.Response):
    """An answer without a content type, which aiohttp gives to all others."""


def new_request_id() -> str:
    """Return the identity of a request: TorchServe takes no client's word for it."""
    return str(uuid.uuid4())


def json_answer(value: object, status: int = 200) -> web.Response:
    """Return an answer of TorchServe's own."""
    return _answer(status, _reason(status), f"{json.dumps(value, indent=2)}\n".encode(), "application/json")


def status_answer(text: str, status: int = 200) -> web.Response:
    """Return the answer that only says what was done."""
    return json_answer({"status": text}, status)


def error_answer(error: OwnError) -> web.Response:
    """Return an error of TorchServe's own."""
    return json_answer({"code": error.status, "type": error.kind, "message": str(error)}, error.status)


def too_large_answer() -> web.Response:
    """Return the only error without a body, a content type and a request id."""
    answer = BareResponse(status=413, reason=_reason(413))
    answer.force_close()
    return answer


def handler_answer(answer: HandlerAnswer, request_id: str) -> web.Response:
    """Return what a handler answered: without a content type and a reason phrase, unless it set them."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
    content_type = next((headers.pop(name) for name in list(headers) if name.lower() == "content-type"), None)
    response = _answer(answer.status, "", answer.content, content_type)
    response.headers.update({**headers, REQUEST_ID: request_id})
    return response


def _answer(status: int, reason: str, body: bytes, content_type: str | None) -> web.Response:
    headers = {REQUEST_ID: new_request_id(), **_CACHING, "connection": "keep-alive"}
    response: web.Response
    if content_type is None:
        response = BareResponse(status=status, reason=reason, body=body, headers=headers)
    else:
        headers["content-type"] = content_type
        response = web.Response(status=status, reason=reason, body=body, headers=headers)
    if status >= _MIN_ERROR_STATUS:
        response.headers["connection"] = "close"
        response.force_close()
    return response


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return f"Server Error ({status})"


async def remove_additions(_request: web.Request, response: web.StreamResponse) -> None:
    """Take out what aiohttp adds to an answer just before it is sent, and TorchServe does not."""
    for name in ("Server", "Date"):
        response.headers.pop(name, None)
    if isinstance(response, BareResponse):
        response.headers.pop("Content-Type", None)
