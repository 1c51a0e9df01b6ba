"""Bodies of the type `multipart/form-data`, part by part while they arrive.

Source:
    RFC 7578; werkzeug's decoder finds the parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from wfmgmt.api.bodies import PIECE_BYTES
from wfmgmt.errors import BadRequest

MULTIPART = "multipart/form-data"
#: What the decoder may keep of a body: the head of a part, or a piece of a file.
_MAX_KEPT_BYTES = 4 * PIECE_BYTES
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form.

    Attributes:
        name: What the form calls it.
        file_name: The name of the file that it is; None for a plain value.
        content: Its bytes, to be taken before the next part.
    """

    name: str
    file_name: str | None
    content: Iterator[bytes]


def form_parts(request: Request, pieces: Iterator[bytes], *, max_parts: int) -> Iterator[Part]:
    """Yield the parts of a form in their order.

    Args:
        request: Has the type of the body.
        pieces: The body.
        max_parts: Parts at most.

    Raises:
        BadRequest: It is no form, ends too early, or has too many parts.
    """
    boundary = request.mimetype_params.get("boundary", "").encode("utf-8", "replace")
    if not boundary:
        raise BadRequest(f"Content-Type {MULTIPART}: expected a boundary.")
    events = _events(MultipartDecoder(boundary, _MAX_KEPT_BYTES, max_parts=max_parts), pieces, max_parts)
    for event in events:
        if isinstance(event, Field | File):
            name = event.name or ""
            content = _content(events)
            yield Part(name, event.filename if isinstance(event, File) else None, content)
            for _ in content:  # What was not taken.
                pass
        elif isinstance(event, Epilogue):
            return


def _events(decoder: MultipartDecoder, pieces: Iterator[bytes], max_parts: int) -> Iterator[Event]:
    try:
        for piece in pieces:
            decoder.receive_data(piece)
            while not isinstance(event := decoder.next_event(), NeedData):
                yield event
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
    except RequestEntityTooLarge as error:
        raise BadRequest(
            f"The form has more than {max_parts} parts, a part whose head is too large, or not the boundary that "
            "Content-Type says."
        ) from error
    except ValueError as error:
        raise BadRequest(f"The body is no complete {MULTIPART}.") from error


def _content(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, Data):
            if event.data:
                yield event.data
            if not event.more_data:
                return


def text_of(part: Part, max_bytes: int) -> str:
    """Return the text of a plain value.

    Raises:
        BadRequest: It is longer than the form may have left, or not UTF-8.
    """
    content = bytearray()
    for piece in part.content:
        content += piece
        if len(content) > max_bytes:
            raise BadRequest(f"Parameter {part.name[:_MAX_NAME_CHARS]!a}: the values of the form are too long.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"Parameter {part.name[:_MAX_NAME_CHARS]!a}: expected UTF-8.") from error
