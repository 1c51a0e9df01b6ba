"""A batch as messages to a worker and back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wfmgmt.serving.models.base import (
    FRAMING_HEADERS,
    Content,
    NodeAnswer,
    NodeRequest,
    PredictionFailed,
    PredictionRefused,
)
from wfmgmt.serving.models.local.channel import Item
from wfmgmt.serving.models.local.frames import Frame, InvalidFrame

#: Measurements that handlers made: kind, name, unit, value.
HandlerMeasurements = Sequence[tuple[str, str, str, float]]

#: What became of one request.
Outcome = NodeAnswer | PredictionFailed | PredictionRefused

#: Longest traceback of a failed prediction in the log; its end is what counts.
MAX_TRACEBACK_CHARS = 16_000

_MIN_STATUS, _MIN_ERROR_STATUS, _HIGHEST_STATUS = 200, 400, 599
_CONTENT_TYPE = "content-type"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]{0,4096}")


def encode_batch(batch: Sequence[NodeRequest], ticket: int) -> tuple[dict[str, Any], list[Content]]:
    """Return header and payload of the message that hands a worker a batch; the answer has to show the same ticket."""
    requests: list[Any] = []
    payload: list[Content] = []
    for request in batch:
        fields = [[field.name, field.content_type, len(field.content)] for field in request.fields]
        requests.append([request.request_id, len(request.headers), fields])
        payload += [request.headers, *(field.content for field in request.fields)]
    return {"op": "predict", "ticket": ticket, "requests": requests}, payload


class WorkerFault(Exception):
    """A worker did something after which it cannot be trusted; the text goes on from "its worker"."""


class BatchResult(NamedTuple):
    """The result of a batch from its worker.

    Attributes:
        outcomes: What became of each request.
        measurements: What the handler measured.
        run_s: Seconds that it took, as the worker says.
    """

    outcomes: Sequence[Outcome]
    measurements: HandlerMeasurements
    run_s: float


def read_item(item: Item, size: int, ticket: int) -> BatchResult:
    """Return what became of a batch of this size, from what a worker sent or did.

    Raises:
        WorkerFault: It ended, or sent something else.
    """
    if isinstance(item, InvalidFrame):
        raise WorkerFault(f"sent what is no message: {item}")
    if not isinstance(item, Frame):
        raise WorkerFault(str(item))
    try:
        return read_result(item, size, ticket)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise WorkerFault("sent an answer that makes no sense") from None


def read_result(frame: Frame, size: int, ticket: int) -> BatchResult:
    """Return what became of a batch of this size.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: The message is not an answer to such a batch.
    """
    header = frame.header
    if header["ticket"] != ticket:
        raise ValueError("an answer to something else")
    run_s = max(float(header["run_us"]) / 1_000_000, 0.0)
    if header["op"] == "failed":
        error, status = str(header["error"]), header.get("status")
        traceback = str(header.get("traceback", ""))[-MAX_TRACEBACK_CHARS:]
        if isinstance(status, int) and _MIN_ERROR_STATUS <= status <= _HIGHEST_STATUS:
            refused = [PredictionRefused(error, status, traceback=traceback) for _ in range(size)]
            return BatchResult(refused, (), run_s)
        lacks_module = None if (lacks := header.get("lacks_module")) is None else bool(lacks)
        failed = [PredictionFailed(error, traceback=traceback, lacks_module=lacks_module) for _ in range(size)]
        return BatchResult(failed, (), run_s)
    answers = header["answers"]
    if header["op"] != "answer" or len(answers) != size:
        raise ValueError("no answer to this batch")
    outcomes: list[Outcome] = []
    position = 0
    for answer in answers:
        if isinstance(answer, dict):
            outcomes.append(PredictionFailed(str(answer["error"])))
            continue
        status, headers, size_bytes = answer
        if not 0 <= size_bytes <= len(frame.payload) - position:
            raise ValueError("the payload is shorter than announced")
        outcomes.append(_answer(status, headers, _part(frame.payload, position, size_bytes)))
        position += size_bytes
    if position != len(frame.payload):
        raise ValueError("the payload is longer than announced")
    return BatchResult(outcomes, list(header["metrics"]), run_s)


def _part(payload: Content, position: int, size_bytes: int) -> Content:
    """Return a part of a payload; all of it is not copied."""
    return payload if size_bytes == len(payload) else payload[position : position + size_bytes]


def _answer(status: int, headers: Mapping[str, str], content: Content) -> NodeAnswer | PredictionFailed:
    """Return one answer, or what of it HTTP cannot carry."""
    if not _MIN_STATUS <= status <= _HIGHEST_STATUS:
        return PredictionFailed(f"it set the status {status}; expected {_MIN_STATUS} to {_HIGHEST_STATUS}")
    if not headers:
        return NodeAnswer(content=content, status=status)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            return PredictionFailed(f"it set a header whose name is not allowed: {name[:100]!r}")
        if not _HEADER_VALUE.fullmatch(value):
            return PredictionFailed(f"it set the header {name} to a value that is not allowed")
    kept = {name.lower(): value for name, value in headers.items() if name.lower() not in FRAMING_HEADERS}
    content_type = kept.pop(_CONTENT_TYPE, None) or None
    return NodeAnswer(content=content, status=status, content_type=content_type, headers=kept)
