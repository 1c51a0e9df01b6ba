"""A node's request as TorchServe takes it, and its response as a node's.

Source:
    TorchServe 0.12.0, as recorded from a running server. A raw body reaches a handler as `body`, each part of a
    multipart body under its own name; JSON and text are decoded by content type. Its own errors are JSON of exactly
    code, type and message with a reason phrase, which answers of handlers lack.
"""

import json
import uuid
from collections.abc import Sequence
from http import HTTPStatus

from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import (
    FRAMING_HEADERS,
    Content,
    InputField,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    PredictionRefused,
)
from wfmgmt.serving.models.local import values
from wfmgmt.torchserve.connection import Reply
from wfmgmt.torchserve.responses import NOT_FOUND, WRONG_KEY

_BYTES = "application/octet-stream"
#: A raw body of these types would be taken apart.
_TAKEN_APART = ("application/x-www-form-urlencoded", "multipart/")
_MIN_STATUS, _MAX_STATUS = 200, 599
#: Headers of the client's message that are not true of ours.
_NOT_PASSED = FRAMING_HEADERS | {"host", "content-type", "content-encoding", "expect"}
#: Headers that TorchServe sets itself.
_REQUEST_ID = "x-request-id"
_TORCHSERVES = FRAMING_HEADERS | {_REQUEST_ID, "pragma", "cache-control", "expires", "content-type"}

_NO_WORKER, _INTERNAL = "ServiceUnavailableException", "InternalServerException"
#: What TorchServe says when a handler or its worker failed; with any other text a handler chose the status.
_WORKER_GONE = "Worker died."
_FAILED = frozenset(
    {
        _WORKER_GONE,
        "Prediction failed",
        "Out of resources",
        "number of batch response mismatched",
        "Invalid model predict output",
        "Unsupported model output data type.",
    }
)


class ModelForgotten(NoWorker):
    """The server no longer holds the model, as after a restart."""


def encode(request: NodeRequest, *, with_authorization: bool) -> tuple[Content, dict[str, str]]:
    """Return body and headers of a request to a model.

    Args:
        request: The node's request.
        with_authorization: Whether the client's own Authorization is passed on; not where ours has to stand.
    """
    headers = _passed_headers(request, with_authorization=with_authorization)
    fields = [_in_utf8(field) for field in request.fields]
    if len(fields) == 1 and fields[0].name == "body":
        content_type = fields[0].content_type or _BYTES
        if content_type.lower().startswith(_TAKEN_APART):
            content_type = _BYTES
        return fields[0].content, {**headers, "Content-Type": content_type}
    boundary = uuid.uuid4().hex
    return _multipart(fields, boundary), {**headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}


def _in_utf8(field: InputField) -> InputField:
    """Return a text in UTF-8, the only encoding that TorchServe knows."""
    content_type = field.content_type.lower()
    if not content_type.startswith("text/") or "charset" not in content_type:
        return field
    text = values.decode(bytearray(field.content), content_type)
    if not isinstance(text, str):
        return field
    return field._replace(content=text.encode(), content_type=f"{content_type.partition(';')[0]}; charset=utf-8")


def _passed_headers(request: NodeRequest, *, with_authorization: bool) -> dict[str, str]:
    dropped = _NOT_PASSED if with_authorization else _NOT_PASSED | {"authorization"}
    headers = {
        name: value.encode("utf-8", "replace").decode()
        for name, value in json.loads(request.headers).items()
        if name.lower() not in dropped
    }
    return {**headers, "x-request-id": request.request_id}


def _multipart(fields: Sequence[InputField], boundary: str) -> bytes:
    """Return a form in which each value has its own content type, which a part has to have a file name for."""
    parts: list[Content] = []
    for field in fields:
        name = _quoted(field.name)
        parts += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {field.content_type or _BYTES}\r\n\r\n".encode("utf-8", "replace"),
            field.content,
            b"\r\n",
        )
    return b"".join((*parts, f"--{boundary}--\r\n".encode()))


def _quoted(name: str) -> str:
    """Return a name as browsers write it into a form."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def decode(reply: Reply, *, server: str, worker: int | None) -> NodeAnswer:
    """Return what a handler answered.

    Args:
        reply: What the server answered.
        server: Its address, for errors.
        worker: What a `PredictionFailed` calls the server.

    Raises:
        PredictionFailed: The handler, its worker or the server failed, or it is no TorchServe, which would give each
            answer an id.
        PredictionRefused: The handler raised an error with a status of its choice, or the request is too long.
        ModelForgotten: The server does not hold the model.
        NoWorker: It has no worker for it, too long a queue, or does not accept our key.
    """
    error = _own_error(reply)
    if error is not None:
        raise _failure(reply.status, *error, server=server, worker=worker)
    if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and not reply.body:
        raise PredictionRefused(f"TorchServe at {server} takes no request that long (max_request_size)", reply.status)
    if _REQUEST_ID not in reply.headers:
        raise PredictionFailed(f"TorchServe at {server} answered as no TorchServe does", worker, Fault.FAILED)
    if not _MIN_STATUS <= reply.status <= _MAX_STATUS:
        raise PredictionFailed(f"it set the status {reply.status}; expected {_MIN_STATUS} to {_MAX_STATUS}", worker)
    headers = {name.lower(): value for name, value in reply.headers.items() if name.lower() not in _TORCHSERVES}
    return NodeAnswer(
        content=reply.body, status=reply.status, content_type=reply.headers.get("Content-Type"), headers=headers
    )


def _own_error(reply: Reply) -> tuple[str, str] | None:
    """Return type and message of an error of TorchServe's own, None for an answer of a handler."""
    is_json = reply.headers.get("Content-Type", "").startswith("application/json")
    if reply.status < HTTPStatus.BAD_REQUEST or not reply.reason or not is_json:
        return None
    try:
        error = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(error, dict) or error.keys() != {"code", "type", "message"} or error["code"] != reply.status:
        return None
    return str(error["type"]), str(error["message"])


def _failure(
    status: int, kind: str, message: str, *, server: str, worker: int | None
) -> PredictionFailed | PredictionRefused | NoWorker:
    """Return what an error of TorchServe's own means."""
    if kind in NOT_FOUND:
        return ModelForgotten(f"TorchServe at {server} does not hold the model; it is about to be registered again.")
    if kind == _NO_WORKER:
        return NoWorker(f"TorchServe at {server} has no worker for it, or too long a queue; try again later.")
    if kind == WRONG_KEY:
        return NoWorker(f"TorchServe at {server} does not accept our key.")
    if kind != _INTERNAL:
        return PredictionFailed(f"TorchServe at {server} answered {status} {kind}: {message}", worker, Fault.FAILED)
    if message in _FAILED:
        failed = PredictionFailed(f"TorchServe at {server}: {message}", worker)
        failed.is_worker_gone = message == _WORKER_GONE
        return failed
    return PredictionRefused(message, status)
