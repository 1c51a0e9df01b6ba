"""Where a request ends, however its bytes come in."""

import pytest

from wfmgmt.api.application import MAX_BODY_BYTES
from wfmgmt.deployment.partial_request import MAX_HEAD_BYTES, MAX_LINE_BYTES, PartialRequest

POST = b"POST /workflows HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = {
    "no body": b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "no headers": b"GET /ping HTTP/1.1\r\n\r\n",
    "length": POST + b"Content-Length: 5\r\n\r\nab\r\nc",
    "length of nothing": POST + b"content-length:0\r\n\r\n",
    "length with zeros": POST + b"CONTENT-LENGTH: 0000000000000000000005\r\n\r\nabcde",
    "body like a head": POST + b"Content-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n",
    "chunks": CHUNKED + b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n",
    "chunk like an end": CHUNKED + b"7\r\n0\r\n\r\nxx\r\n0\r\n\r\n",
    "chunks of a coding": POST + b"Transfer-Encoding: gzip, Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
}
HOPELESS = {
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "size of a chunk": CHUNKED + b"xyz\r\n",
    "negative chunk": CHUNKED + b"-1\r\n",
}
TOO_LARGE = {
    "length": (413, POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)),
    "huge length": (413, POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    "chunk": (413, CHUNKED + b"ffffffffffff\r\n"),
    "chunks": (413, CHUNKED + b"1\r\na\r\n" * MAX_BODY_BYTES),
    "line of a chunk": (413, CHUNKED + b"1" * 5 * MAX_BODY_BYTES),
    "line": (414, b"GET /" + b"a" * MAX_HEAD_BYTES),
    "head": (431, b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES),
    "trailers": (431, CHUNKED + b"0\r\nX: " + b"a" * MAX_HEAD_BYTES),
}


@pytest.mark.parametrize("request_bytes", WHOLE.values(), ids=WHOLE)
def test_request_is_whole_with_its_last_byte(request_bytes: bytes) -> None:
    """It is whole neither a byte too early, which would make a thread wait, nor too late."""
    partial = PartialRequest()
    verdicts = [partial.add(bytes([byte])) for byte in request_bytes]
    assert verdicts == [False] * (len(request_bytes) - 1) + [True]
    assert (bytes(partial.received), partial.refusal) == (request_bytes, 0)


@pytest.mark.parametrize("request_bytes", WHOLE.values(), ids=WHOLE)
def test_request_is_whole_when_the_next_one_follows(request_bytes: bytes) -> None:
    """What a client sends ahead does not hide the end, and is kept."""
    partial = PartialRequest()
    assert partial.add(request_bytes + b"GET")
    assert partial.received.endswith(b"GET")


@pytest.mark.parametrize("request_bytes", HOPELESS.values(), ids=HOPELESS)
def test_request_is_handed_on_when_it_can_never_be_whole(request_bytes: bytes) -> None:
    """The parser of gunicorn gets it and says what is wrong."""
    partial = PartialRequest()
    assert partial.add(request_bytes)
    assert partial.refusal == 0


@pytest.mark.parametrize(("status", "request_bytes"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_request_is_refused_when_it_is_too_large(status: int, request_bytes: bytes) -> None:
    """As soon as that is known, nothing more is waited for."""
    partial = PartialRequest()
    assert partial.add(request_bytes)
    assert partial.refusal == status


def test_request_line_may_be_as_long_as_gunicorn_lets_it() -> None:
    """A long line in a head that is too large is not what is wrong with it."""
    partial = PartialRequest()
    line = b"GET /".ljust(MAX_LINE_BYTES - 11, b"a") + b" HTTP/1.1\r\n"
    assert partial.add(line + b"X: " + b"a" * MAX_HEAD_BYTES)
    assert partial.refusal == 431


def test_request_has_what_its_head_says() -> None:
    """A client that waits for permission, and its request id, are known once the head is there."""
    partial = PartialRequest()
    assert not partial.add(POST + b"x-request-id: abc-1 \r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
    assert partial.expects_continue
    assert partial.request_id == "abc-1"
