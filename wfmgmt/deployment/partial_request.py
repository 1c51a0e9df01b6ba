"""One request as it comes in from a client: where it ends, and whether it is too large to wait for.

Only lengths are read here. Everything else that is wrong with a request is found by gunicorn's parser, once it gets it.
"""

import re
from http import HTTPStatus

from wfmgmt.api.application import MAX_BODY_BYTES
from wfmgmt.api.guard import Refusal

#: Request line and headers; gunicorn's limits on the line and on each header are smaller.
MAX_HEAD_BYTES = 64 * 1024
#: gunicorn's limit on the request line.
MAX_LINE_BYTES = 4094
#: What a chunked body may need on the wire; each chunk has a frame around it.
_MAX_CHUNKED_BYTES = 4 * MAX_BODY_BYTES

#: Digits that are read of a length; so many are too large already.
_MAX_LENGTH = 18

_LINE_END, _HEAD_END = b"\r\n", b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
#: Requests whose bodies are files, declarations, or forms that may have files.
_STREAMED = re.compile(
    rb"PUT /archives/|POST /apply[/? ]|"
    rb"POST /workflows/?(?:\?[^ ]*)? .*?\r\ncontent-type:[ \t]*multipart/form-data[ \t]*[;\r]",
    re.IGNORECASE | re.DOTALL,
)
_REQUEST_ID = re.compile(rb"\r\nx-request-id:[ \t]*([!-~]*)[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;|$)")


class PartialRequest:
    """The bytes of a request so far. However they are cut, each is searched about once.

    Attributes:
        received: The bytes; behind a whole request also those that follow it.
        refusal: HTTP status to answer at once because the request is too large; 0 when it is not.
        is_broken_off: Whether the client ended the connection before the request was whole.
        expects_continue: Whether the client holds the body back until it gets `100 Continue`.
        request_id: The client's own, as far as it is known.
        head: Request line and headers, once they are there.
        is_checked: Whether the browser guard has seen the head.
        refused: Why it refused the request.
        is_streamed: Whether its body is for the application to read while it arrives.

    Args:
        streams: Whether there are such requests.
    """

    def __init__(self, *, streams: bool = False) -> None:
        self.is_streamed = False
        self._streams = streams
        self.received = bytearray()
        self.refusal = 0
        self.is_broken_off = False
        self.expects_continue = False
        self.request_id: str | None = None
        self.head: bytes | None = None
        self.is_checked = False
        self.refused: Refusal | None = None
        self._searched = 0
        self._body_start = 0
        self._chunked = False
        self._length = 0

    def add(self, data: bytes) -> bool:
        """Take what has arrived; return whether that is all there is to wait for."""
        self.received += data
        if not self._body_start and not self._read_head():
            return self._is_hopeless()
        if self.is_streamed:
            return True
        if self._chunked:
            return self._read_chunks()
        if self._length > MAX_BODY_BYTES:
            self.refusal = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return bool(self.refusal) or len(self.received) >= self._body_start + self._length

    def _read_head(self) -> bool:
        """Read how long the body is once the head is there."""
        end = self.received.find(_HEAD_END, max(self._searched - len(_HEAD_END), 0))
        if end < 0:
            return False
        self._body_start = self._searched = end + len(_HEAD_END)
        head = self.head = bytes(self.received[: self._body_start])
        self.is_streamed = self._streams and _STREAMED.match(head) is not None
        self._chunked = _CHUNKED.search(head) is not None
        if (length := _LENGTH.search(head)) is not None:
            self._length = int(length[1][:_MAX_LENGTH])
        self.expects_continue = _EXPECTS.search(head) is not None
        if (request_id := _REQUEST_ID.search(head)) is not None:
            self.request_id = request_id[1].decode("ascii")
        return True

    def _is_hopeless(self) -> bool:
        """Return whether a head that has not ended need not be waited for."""
        if _BARE_LF.search(self.received, max(self._searched - 1, 0)):
            return True  # gunicorn refuses it.
        self._searched = len(self.received)
        if len(self.received) > MAX_HEAD_BYTES:
            self.refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            if self.received.find(_LINE_END, 0, MAX_LINE_BYTES) < 0:
                self.refusal = HTTPStatus.REQUEST_URI_TOO_LONG
        return bool(self.refusal)

    def _read_chunks(self) -> bool:
        """Go on from the size of the first chunk that is not there yet."""
        while (line_end := self.received.find(_LINE_END, self._searched)) >= 0:
            size = _CHUNK_SIZE.match(self.received, self._searched, line_end)
            if size is None:
                return True  # gunicorn refuses it.
            if int(size[1], 16) == 0:
                return self._read_trailers(line_end)
            after = line_end + len(_LINE_END) + int(size[1], 16) + len(_LINE_END)
            if after > self._body_start + _MAX_CHUNKED_BYTES:
                break
            if after > len(self.received):
                return False
            self._searched = after
        if line_end >= 0 or len(self.received) > self._body_start + _MAX_CHUNKED_BYTES:
            self.refusal = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return bool(self.refusal)

    def _read_trailers(self, last_chunk: int) -> bool:
        """Return whether the empty line that ends a chunked body is there."""
        if self.received.find(_HEAD_END, last_chunk) >= 0:
            return True
        if len(self.received) > last_chunk + MAX_HEAD_BYTES:
            self.refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return bool(self.refusal)
