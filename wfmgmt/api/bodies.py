"""Bodies that are read while they arrive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Request

from wfmgmt.errors import BadRequest
from wfmgmt.errors.uploads import UploadBrokenOff

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A body that was read while it arrived.

    Attributes:
        files: What the view gets of it.
        fields: Parameters that came with it.
        digests: What the bodies of two requests have alike when these are the same, as plain JSON.
    """

    files: Any
    fields: Mapping[str, str] = field(default_factory=dict)
    digests: object


def pieces_of(request: Request) -> Iterator[bytes]:
    """Yield the body of a request as it arrives.

    Raises:
        UploadBrokenOff: It ends before its declared length.
    """
    if request.content_length is None and "chunked" not in request.headers.get("Transfer-Encoding", "").lower():
        return  # RFC 9112, 6.3: without a length there is no body.
    body, left = request.environ["wsgi.input"], request.content_length
    while left is None or left > 0:
        piece = body.read(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        if not piece:
            break
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise UploadBrokenOff


def check_sent_whole(request: Request) -> None:
    """Check that files come as they are to be stored.

    Raises:
        BadRequest: They are compressed, as such or on the way, or only a part of them comes.
    """
    coding = request.headers.get("Transfer-Encoding", "chunked")
    if coding.strip().lower() != "chunked":
        raise BadRequest(f"Header Transfer-Encoding: expected chunked or none, got {coding!r}.")
    for header in ("Content-Encoding", "Content-Range"):
        if header in request.headers:
            raise BadRequest(f"Header {header}: an archive is sent whole, and stored as it is sent.")
