"""Messages between the runtime, its forkserver and its workers.

One message on a Unix stream socket; integers are unsigned and big-endian:

    offset  size  what
    0       4     H, length of the header, at most MAX_HEADER_BYTES
    4       4     P, length of the payload, at most MAX_PAYLOAD_BYTES
    8       H     header: one JSON object in UTF-8; its key "op" says what the message is
    8 + H   P     payload: bytes that nobody interprets on the way

File descriptors, where a message has any, travel with its first byte (SCM_RIGHTS).

The forkserver and the workers use the functions on sockets. They import this module, so it must stay small: the
functions on streams know asyncio's streams only by their shape.
"""

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

MAX_HEADER_BYTES = 1024 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024

_LENGTHS = struct.Struct("!II")


class InvalidFrame(ValueError):
    """The bytes are not a message, or the message is too long to be sent."""


class Frame(NamedTuple):
    """One message.

    Attributes:
        header: What the message says.
        payload: Bytes that belong to it.
    """

    header: dict[str, Any]
    payload: bytes


class Reader(Protocol):
    """The part of `asyncio.StreamReader` that is used here."""

    async def readexactly(self, n: int) -> bytes:
        """Return exactly `n` bytes or raise an EOFError."""


class Writer(Protocol):
    """The part of `asyncio.StreamWriter` that is used here."""

    def write(self, data: bytes) -> None:
        """Queue the bytes."""

    async def drain(self) -> None:
        """Wait until the queue is short."""


def encode(header: Mapping[str, Any], payload_bytes: int = 0) -> bytes:
    """Return everything of a message that stands before its payload.

    Raises:
        InvalidFrame: The header or the payload is too long.
    """
    encoded = json.dumps(header, separators=(",", ":")).encode()
    _check_lengths(len(encoded), payload_bytes)
    return _LENGTHS.pack(len(encoded), payload_bytes) + encoded


def send(sock: socket.socket, header: Mapping[str, Any], payload: bytes = b"") -> None:
    """Send one message on a blocking socket.

    Raises:
        InvalidFrame: The message is too long; nothing was sent.
        OSError: The other side is gone.
    """
    sock.sendall(encode(header, len(payload)))
    if payload:
        sock.sendall(payload)


def receive(sock: socket.socket) -> Frame:
    """Wait for one message on a blocking socket.

    Raises:
        EOFError: The other side is gone, possibly in the middle of a message.
        InvalidFrame: What came is not a message; the socket is of no further use.
    """
    return _receive_rest(sock, _receive_exactly(sock, _LENGTHS.size))


def receive_with_fds(sock: socket.socket, max_fds: int) -> tuple[Frame, Sequence[int]]:
    """Wait for one message on a blocking socket, and take the file descriptors that came with it.

    Exactly the lengths are read first, so that the descriptors are this message's and no other's. There are fewer
    than were sent when this process may not open more.

    Raises:
        EOFError: The other side is gone, possibly in the middle of a message.
        InvalidFrame: What came is not a message; the socket is of no further use.
    """
    lengths, fds, _, _ = socket.recv_fds(sock, _LENGTHS.size, max_fds)
    if not lengths:
        raise EOFError
    lengths += _receive_exactly(sock, _LENGTHS.size - len(lengths))
    return _receive_rest(sock, lengths), fds


async def write(writer: Writer, header: Mapping[str, Any], payload: bytes = b"") -> None:
    """Send one message on an asyncio stream.

    Raises:
        InvalidFrame: The message is too long; nothing was sent.
        OSError: The other side is gone.
    """
    writer.write(encode(header, len(payload)))
    if payload:
        writer.write(payload)
    await writer.drain()


async def read(reader: Reader) -> Frame:
    """Wait for one message on an asyncio stream.

    Raises:
        EOFError: The other side is gone, possibly in the middle of a message.
        InvalidFrame: What came is not a message; the stream is of no further use.
    """
    header_bytes, payload_bytes = _decode_lengths(await reader.readexactly(_LENGTHS.size))
    header = _decode_header(await reader.readexactly(header_bytes))
    return Frame(header, await reader.readexactly(payload_bytes))


def _receive_rest(sock: socket.socket, lengths: bytes) -> Frame:
    header_bytes, payload_bytes = _decode_lengths(lengths)
    header = _decode_header(_receive_exactly(sock, header_bytes))
    return Frame(header, _receive_exactly(sock, payload_bytes))


def _receive_exactly(sock: socket.socket, size: int) -> bytes:
    chunks = []
    while size:
        chunk = sock.recv(size, socket.MSG_WAITALL)
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _decode_lengths(lengths: bytes) -> tuple[int, int]:
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    _check_lengths(header_bytes, payload_bytes)
    return header_bytes, payload_bytes


def _check_lengths(header_bytes: int, payload_bytes: int) -> None:
    if header_bytes > MAX_HEADER_BYTES:
        raise InvalidFrame(f"header of {header_bytes} bytes; at most {MAX_HEADER_BYTES} are allowed")
    if payload_bytes > MAX_PAYLOAD_BYTES:
        raise InvalidFrame(f"payload of {payload_bytes} bytes; at most {MAX_PAYLOAD_BYTES} are allowed")


def _decode_header(encoded: bytes) -> dict[str, Any]:
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError) as exc:
        raise InvalidFrame("the header is not JSON") from exc
    if not isinstance(header, dict):
        raise InvalidFrame("the header is not a JSON object")
    return header
