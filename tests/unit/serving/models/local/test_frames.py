"""The message layout, without sockets."""

import io
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
    """A blocking socket that keeps what is sent, and takes a few bytes of it at a time."""

    def __init__(self, chunk_bytes: int = 3) -> None:
        self.content = b""
        self._chunk_bytes = chunk_bytes

    def sendall(self, data: bytes) -> None:
        """Append the bytes."""
        self.content += data

    def sendmsg(self, parts: list[memoryview]) -> int:
        """Append some of the bytes."""
        data = b"".join(parts)[: self._chunk_bytes]
        self.content += data
        return len(data)


def decode(content: bytes, *, chunk_bytes: int, **limits: int) -> list[frames.Frame]:
    """Return the messages that the runtime reads when the bytes arrive in such pieces."""
    decoder = frames.Decoder(**limits)
    decoded: list[frames.Frame] = []
    while content:
        buffer = decoder.buffer()
        size = min(len(buffer), chunk_bytes, len(content))
        buffer[:size] = content[:size]
        content = content[size:]
        decoded += decoder.received(size)
    return decoded


def read_from_file(content: bytes) -> frames.Frame:
    """Return the first message that a worker reads."""
    stream = io.BytesIO(content)
    header, payload_bytes = frames.receive_header(stream)
    return frames.Frame(header, frames.receive_part(stream, payload_bytes))


def lay_out(header: bytes, payload: bytes = b"") -> bytes:
    """Return a message as the documentation lays it out."""
    return struct.pack("!II", len(header), len(payload)) + header + payload


@given(
    messages=st.lists(st.tuples(HEADERS, st.lists(st.binary(max_size=50), max_size=3)), max_size=3),
    chunk_bytes=st.integers(1, 64),
)
def test_frames_arrive_as_sent(messages: list[tuple[dict[str, Any], list[bytes]]], chunk_bytes: int) -> None:
    """All that is sent on a socket is read in order, however it is cut on the way."""
    sock: Any = MemorySocket()
    for header, payload in messages:
        frames.send(sock, header, payload)
    expected = [(header, b"".join(payload)) for header, payload in messages]
    assert decode(sock.content, chunk_bytes=chunk_bytes) == expected
    if expected:
        assert read_from_file(sock.content) == expected[0]


@pytest.mark.parametrize("chunk_bytes", [1000, 70_000])
def test_large_payload_arrives_as_sent(chunk_bytes: int) -> None:
    """A payload that is larger than any buffer on the way arrives whole, and so does what follows."""
    large = bytes(range(256)) * 1000
    sock: Any = MemorySocket(chunk_bytes)
    frames.send(sock, {"n": 1}, [large, b"end"])
    frames.send(sock, {"n": 2}, [b"next"])
    assert decode(sock.content, chunk_bytes=chunk_bytes) == [({"n": 1}, large + b"end"), ({"n": 2}, b"next")]


def test_frame_has_the_documented_layout() -> None:
    """The lengths come first, then the header as JSON, then the payload as it is."""
    sock: Any = MemorySocket()
    frames.send(sock, {"op": "stop"}, [b"\x00", b"\xff"])
    assert sock.content == lay_out(b'{"op":"stop"}', b"\x00\xff")


@given(header=HEADERS, payload=st.binary(max_size=10), data=st.data())
def test_frame_ends_with_eof_when_it_is_cut_short(header: dict[str, Any], payload: bytes, data: st.DataObject) -> None:
    """A stream that ends anywhere within a message is at its end, and not at a shorter message."""
    content = lay_out(json.dumps(header).encode(), payload)
    content = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(EOFError):
        read_from_file(content)
    assert decode(content, chunk_bytes=4) == []


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
    """A malformed head is refused before memory is allocated for the length that it announces."""
    with pytest.raises(frames.InvalidFrame, match=message):
        read_from_file(content)
    with pytest.raises(frames.InvalidFrame, match=message):
        decode(content, chunk_bytes=len(content))


def test_decoder_refuses_a_payload_over_its_own_limit() -> None:
    """The reader may allow less than the protocol does."""
    with pytest.raises(frames.InvalidFrame, match="payload of 11 bytes; at most 10 are allowed"):
        decode(lay_out(b"{}", b"x" * 11), chunk_bytes=100, max_payload_bytes=10)


def test_frame_is_not_sent_when_its_header_is_too_long() -> None:
    """A message beyond the limits fails at its sender, before its first byte."""
    sock: Any = MemorySocket()
    with pytest.raises(frames.InvalidFrame, match="header of"):
        frames.send(sock, {"text": "x" * frames.MAX_HEADER_BYTES})
    assert not sock.content
