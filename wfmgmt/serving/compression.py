"""Bodies that clients send compressed, unpacked in steps that do not block the event loop.

A few kilobytes can unpack to gigabytes, so each step has a bound and the server counts what comes out.
"""

import asyncio
import zlib
from collections.abc import Generator, Iterator
from itertools import islice

from wfmgmt.errors import BadRequest
from wfmgmt.errors.predictions import RequestTooLarge, UnsupportedEncoding
from wfmgmt.serving.predictions import Permit

#: What a client may say in `Content-Encoding`.
SUPPORTED = ("gzip", "deflate", "identity")

_GZIP_WINDOW, _ZLIB_WINDOW, _RAW_WINDOW = 31, 15, -15
_OLD_NAMES = {"x-gzip": "gzip", "": "identity"}
#: One step reads and gives this much at most, which takes a fraction of a millisecond.
_READ_BYTES, _PIECE_BYTES = 16 * 1024, 64 * 1024
#: Steps that are taken at once; further ones are taken in a thread, this many at a time.
_AT_ONCE, _IN_THREAD = 2, 16
#: A gzip body may be several files in a row, but each costs time however little is in it.
_MAX_MEMBERS = 10_000


def supported_encoding(header: str) -> str:
    """Return the encoding that a `Content-Encoding` header names.

    Raises:
        UnsupportedEncoding: It is none of the supported ones, or several.
    """
    name = header.strip().lower()
    encoding = _OLD_NAMES.get(name, name)
    if encoding not in SUPPORTED:
        raise UnsupportedEncoding(header, SUPPORTED)
    return encoding


async def unpacked(body: bytes | bytearray, encoding: str, permit: Permit) -> bytearray:
    """Return what a body of gzip or deflate data unpacks to, asking for room as it grows.

    Raises:
        RequestTooLarge: It is longer than a body may be.
        Saturated: There is no room for it now.
        BadRequest: It is no such data, or only the beginning of it.
    """
    content = bytearray()
    steps = _steps(body, encoding)
    pieces, asked = list(islice(steps, _AT_ONCE)), _AT_ONCE
    while True:
        for piece in pieces:
            if len(content) + len(piece) > permit.limit_bytes:
                raise RequestTooLarge(permit.limit_bytes)
            permit.reserve(len(piece))
            content += piece
        if len(pieces) < asked:
            return content
        pieces, asked = await asyncio.to_thread(lambda: list(islice(steps, _IN_THREAD))), _IN_THREAD


def _steps(body: bytes | bytearray, encoding: str) -> Iterator[bytes]:
    """Yield what comes out, step by step; a step may give nothing."""
    data = memoryview(body)
    position = members = 0
    try:
        while position < len(data):
            if members and (encoding != "gzip" or members >= _MAX_MEMBERS):
                raise BadRequest(f"The body cannot be decoded: more follows where its {encoding} data ends.")
            position = yield from _member(data, position, encoding)
            members += 1
    except zlib.error as error:
        raise BadRequest(f"The body cannot be decoded: {error}.") from error


def _member(data: memoryview, position: int, encoding: str) -> Generator[bytes, None, int]:
    """Yield what comes out of one compressed file; return where it ends."""
    unpacker = zlib.decompressobj(_window(data, encoding))
    unread: bytes | memoryview = b""
    while not unpacker.eof:
        if not unread:
            unread = data[position : position + _READ_BYTES]
            position += len(unread)
        piece = unpacker.decompress(unread, _PIECE_BYTES)
        if not piece and not unread and not unpacker.eof:
            raise BadRequest(f"The body cannot be decoded: it is truncated, its {encoding} data does not end.")
        unread = unpacker.unconsumed_tail
        yield piece
    return position - len(unpacker.unused_data)


def _window(data: memoryview, encoding: str) -> int:
    """Return zlib's argument for the format; many clients send deflate data without the frame that it should have.

    Source:
        RFC 9110, 8.4.1.2, and the header of RFC 1950.
    """
    if encoding == "gzip":
        return _GZIP_WINDOW
    start = bytes(data[:2])
    has_frame = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start) % 31 == 0
    return _ZLIB_WINDOW if has_frame else _RAW_WINDOW
