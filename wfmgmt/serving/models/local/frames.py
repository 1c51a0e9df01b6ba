"""Messages between the runtime, its forkserver and its workers.

One message on a Unix stream socket; integers are unsigned and big-endian:

    offset  size  what
    0       4     H, length of the header, at most MAX_HEADER_BYTES
    4       4     P, length of the payload, at most MAX_PAYLOAD_BYTES
    8       H     header: one JSON object in UTF-8; its key "op" says what the message is
    8 + H   P     payload: bytes that are not interpreted on the way

File descriptors, where a message has any, travel with its first byte (SCM_RIGHTS).

The forkserver and the workers block on their sockets, the runtime does not. They import this module, so it must stay
small and know nothing of asyncio.
"""

import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

MAX_HEADER_BYTES = 1024 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024

_LENGTHS = struct.Struct("!II")
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_SCRATCH_BYTES = 64 * 1024
#: Payloads up to this size are copied into one piece, so that the message leaves with one system call.
JOINED_BYTES = 64 * 1024
#: The system takes no more in one call (IOV_MAX is 1024 on Linux).
_PARTS_AT_ONCE = 512


class InvalidFrame(ValueError):
    """The bytes are not a message, or the message is too long to be sent."""


class Frame(NamedTuple):
    """One message: a header and its payload.

    Attributes:
        header: What the message says.
        payload: Bytes that belong to it.
    """

    header: dict[str, Any]
    payload: bytes | bytearray


class Stream(Protocol):
    """The part of a buffered binary file that is used here; `socket.makefile` makes one."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""

    def readinto(self, buffer: bytearray, /) -> int:
        """Fill the buffer, less of it only at the end; return how many bytes that were."""


def encode(header: Mapping[str, Any], payload_bytes: int = 0) -> bytes:
    """Return everything of a message that stands before its payload.

    Raises:
        InvalidFrame: The header or the payload is too long.
    """
    encoded = _to_json(header).encode()
    _check_lengths(len(encoded), payload_bytes)
    return _LENGTHS.pack(len(encoded), payload_bytes) + encoded


def send(sock: socket.socket, header: Mapping[str, Any], payload: Sequence[bytes | bytearray] = ()) -> None:
    """Send one message on a blocking socket; the parts of a large payload are not copied together.

    Raises:
        InvalidFrame: The message is too long; nothing was sent.
        OSError: The other side is gone.
    """
    size_bytes = sum(map(len, payload))
    start = encode(header, size_bytes)
    if size_bytes <= JOINED_BYTES:
        sock.sendall(b"".join((start, *payload)))
        return
    unsent = [memoryview(part) for part in (start, *payload) if part]
    while unsent:
        sent = sock.sendmsg(unsent[:_PARTS_AT_ONCE])
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.pop(0))
        if sent:
            unsent[0] = unsent[0][sent:]


def receive_header(stream: Stream) -> tuple[dict[str, Any], int]:
    """Wait for a message; return its header and the length of its payload, which the caller reads next.

    Raises:
        EOFError: The other side is gone, possibly in the middle of a message.
        InvalidFrame: What came is not a message; the stream is of no further use.
    """
    header_bytes, payload_bytes = _decode_lengths(_whole(stream.read(_LENGTHS.size), _LENGTHS.size))
    return _decode_header(_whole(stream.read(header_bytes), header_bytes)), payload_bytes


def receive_part(stream: Stream, size_bytes: int) -> bytearray:
    """Read the next bytes of a payload into memory of their own.

    Raises:
        EOFError: The other side is gone.
    """
    part = bytearray(size_bytes)
    if size_bytes and stream.readinto(part) < size_bytes:
        raise EOFError
    return part


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
    header_bytes, payload_bytes = _decode_lengths(lengths)
    header = _decode_header(_receive_exactly(sock, header_bytes))
    return Frame(header, _receive_exactly(sock, payload_bytes)), fds


class Decoder:
    """Cuts what arrives into messages, for an `asyncio.BufferedProtocol`.

    Small messages arrive in a buffer that is used again and again. Once the header of a message with a larger payload
    is there, the rest of the payload is received into its own memory, without a copy in between.

    Args:
        max_payload_bytes: A message with a longer payload is invalid.
    """

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._rest = b""
        self._header: dict[str, Any] = {}
        self._payload: bytearray | None = None
        self._filled = 0

    @property
    def is_within_message(self) -> bool:
        """Whether a part of a message is here whose rest is not."""
        return bool(self._rest) or self._payload is not None

    def close(self) -> None:
        """Give the buffers back: nothing more will come, and what refers to this may live on for a while."""
        self._scratch = memoryview(b"")
        self._rest, self._payload = b"", None

    def buffer(self) -> memoryview:
        """Return where the next bytes are to be put."""
        if self._payload is None:
            return self._scratch
        return memoryview(self._payload)[self._filled :]

    def received(self, size: int) -> Iterator[Frame]:
        """Yield the messages that are whole now that `size` bytes have been put into the buffer.

        Raises:
            InvalidFrame: What came is not a message; nothing that follows will be one.
        """
        if self._payload is not None:
            self._filled += size
            if self._filled == len(self._payload):
                payload, self._payload = self._payload, None
                yield Frame(self._header, payload)
            return
        data = self._rest + self._scratch[:size]
        position = 0
        while len(data) - position >= _LENGTHS.size:
            header_bytes, payload_bytes = _decode_lengths(data[position : position + _LENGTHS.size])
            if payload_bytes > self._max_payload_bytes:
                raise InvalidFrame(f"payload of {payload_bytes} bytes; at most {self._max_payload_bytes} are allowed")
            start = position + _LENGTHS.size
            end = start + header_bytes
            if end > len(data):
                break
            header, position = _decode_header(data[start:end]), end + payload_bytes
            if position > len(data):
                self._start_payload(header, data[end:], payload_bytes)
                break
            yield Frame(header, data[end:position])
        self._rest = data[position:]

    def _start_payload(self, header: dict[str, Any], beginning: bytes, payload_bytes: int) -> None:
        self._header = header
        self._payload = bytearray(payload_bytes)
        self._payload[: len(beginning)] = beginning
        self._filled = len(beginning)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise EOFError
    return data


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
        header = json.loads(encoded.decode())
    except (ValueError, RecursionError) as exc:
        raise InvalidFrame("the header is not JSON") from exc
    if not isinstance(header, dict):
        raise InvalidFrame("the header is not a JSON object")
    return header
