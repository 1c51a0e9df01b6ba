"""What is changed in the head of a request before aiohttp's parser reads it.

The parser stops at a request that ends its connection, or that asks for another protocol, and loses what the same
packet holds: that request when bytes follow it, or the next one. So it does not get to see these options of the
connection, nor what follows the last request; the protocol finds the options under names of ours.
"""

import re

from aiohttp import web

_CLOSES = "x-close"
_HEAD_END = b"\r\n\r\n"
_NAMED = re.compile(rb"\r\nconnection:[^\r\n]*(?:close|upgrade)", re.IGNORECASE)
_CONNECTION = re.compile(rb"(?<=\r\n)connection:[^\r\n]*", re.IGNORECASE)
_OPTION = re.compile(rb"(?<![\w-])(close|upgrade)(?![\w-])", re.IGNORECASE)
_OLD = b" HTTP/1.0\r\n"
_OLD_LINE = re.compile(rb"[^\r\n]* HTTP/1\.0\r\n")
_KEEPS = re.compile(rb"\r\nconnection:[^\r\n]*keep-alive", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


def tolerant(data: bytes) -> bytes:
    """Return data that begins within a head as the parser is to see it."""
    end = data.find(_HEAD_END)
    head_bytes = len(data) if end < 0 else end + 2
    is_old = data.find(_OLD, 0, head_bytes) >= 0
    if not is_old and not _NAMED.search(data, 0, head_bytes):
        return data  # Like nearly all.
    head, rest = data[:head_bytes], data[head_bytes:]
    changed = _CONNECTION.sub(_renamed, head)
    if is_old and (line := _OLD_LINE.match(changed)) and not _KEEPS.search(changed):
        changed = line[0] + f"Connection: keep-alive, {_CLOSES}\r\n".encode() + changed[line.end() :]
    if end >= 0 and _CLOSES.encode() in changed and not _CODING.search(head):
        length = _LENGTH.search(head)
        rest = rest[: 2 + (int(length[1]) if length else 0)]
    return changed + rest


def _renamed(line: re.Match[bytes]) -> bytes:
    return _OPTION.sub(lambda option: b"x-" + option[0].lower(), line[0])


def is_last(request: web.BaseRequest) -> bool:
    """Return whether a client wants its connection to end with the answer."""
    if "Connection" not in request.headers:
        return False
    return any(_CLOSES in value for value in request.headers.getall("Connection"))
