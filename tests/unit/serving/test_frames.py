"""The message layout, without sockets."""

import asyncio
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.serving.models.local import frames

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(st.text(), JSON_VALUES, max_size=5)


class MemorySocket:
    """A blocking socket that is connected to itself and delivers a few bytes at a time."""

    def __init__(self, content: bytes = b"", chunk_bytes: int = 3) -> None:
        self.content = bytearray(content)
        self._chunk_bytes = chunk_bytes

    def sendall(self, data: bytes) -> None:
        """Append the bytes."""
        self.content += data

    def recv(self, size: int, _flags: int) -> bytes:
        """Take some bytes from the beginning."""
        size = min(size, self._chunk_bytes)
        data, self.content = bytes(self.content[:size]), self.content[size:]
        return data


class MemoryWriter:
    """A stream writer that keeps what it is given."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        """Append the bytes."""
        self.content += data

    async def drain(self) -> None:
        """Have nothing to wait for."""


def read_from_stream(content: bytes) -> frames.Frame:
    """Return the first message of a stream that ends after `content`."""

    async def read() -> frames.Frame:
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        return await frames.read(reader)

    return asyncio.run(read())


def lay_out(header: bytes, payload: bytes = b"") -> bytes:
    """Return a message as the documentation lays it out."""
    return struct.pack("!II", len(header), len(payload)) + header + payload


@given(messages=st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=3), chunk_bytes=st.integers(1, 64))
def test_frames_arrive_as_sent_on_a_socket(messages: list[tuple[dict[str, Any], bytes]], chunk_bytes: int) -> None:
    """Whatever is sent on a socket is received, in its order and however it is cut on the way."""
    sock: Any = MemorySocket(chunk_bytes=chunk_bytes)
    for header, payload in messages:
        frames.send(sock, header, payload)
    assert [tuple(frames.receive(sock)) for _ in messages] == messages
    assert not sock.content


@given(header=HEADERS, payload=st.binary(max_size=50))
def test_frame_arrives_as_sent_on_a_stream(header: dict[str, Any], payload: bytes) -> None:
    """Whatever is written to a stream is read from it."""
    writer = MemoryWriter()
    asyncio.run(frames.write(writer, header, payload))
    assert read_from_stream(writer.content) == (header, payload)


def test_frame_has_the_documented_layout() -> None:
    """The lengths come first, then the header as JSON, then the payload as it is."""
    writer = MemoryWriter()
    asyncio.run(frames.write(writer, {"op": "stop"}, b"\x00\xff"))
    assert writer.content == lay_out(b'{"op":"stop"}', b"\x00\xff")


@given(header=HEADERS, payload=st.binary(max_size=10), data=st.data())
def test_frame_ends_with_eof_when_it_is_cut_short(header: dict[str, Any], payload: bytes, data: st.DataObject) -> None:
    """A stream that ends anywhere within a message is at its end, and not at a shorter message."""
    content = lay_out(json.dumps(header).encode(), payload)
    content = content[: data.draw(st.integers(0, len(content) - 1))]
    sock: Any = MemorySocket(content)
    with pytest.raises(EOFError):
        frames.receive(sock)
    with pytest.raises(EOFError):
        read_from_stream(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lay_out(b"no json"), "the header is not JSON", id="not JSON"),
        pytest.param(lay_out(b"\xff\xfe\xfd"), "the header is not JSON", id="not text"),
        pytest.param(lay_out(b"[" * 100_000), "the header is not JSON", id="too deep"),
        pytest.param(lay_out(b"[1]"), "the header is not a JSON object", id="not an object"),
        pytest.param(struct.pack("!II", 2**32 - 1, 0), "header of 4294967295 bytes; at most", id="long header"),
        pytest.param(struct.pack("!II", 2, 2**32 - 1), "payload of 4294967295 bytes; at most", id="long payload"),
    ],
)
def test_frame_is_refused_when_it_is_not_a_message(content: bytes, message: str) -> None:
    """Garbage is told from messages before any memory is set aside for what it announces."""
    sock: Any = MemorySocket(content, chunk_bytes=len(content))
    with pytest.raises(frames.InvalidFrame, match=message):
        frames.receive(sock)
    with pytest.raises(frames.InvalidFrame, match=message):
        read_from_stream(content)


def test_frame_is_not_sent_when_its_header_is_too_long() -> None:
    """A message beyond the limits fails at its sender, before its first byte."""
    sock: Any = MemorySocket()
    with pytest.raises(frames.InvalidFrame, match="header of"):
        frames.send(sock, {"text": "x" * frames.MAX_HEADER_BYTES})
    assert not sock.content
