"""Bodies of predictions that are compressed, broken or slow, as bytes on real connections."""

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.support.deployments import left_as_found
from tests.support.evidence import assert_error
from tests.support.factories import make_war
from tests.support.raw_http import assert_raw_error, read_answer
from tests.support.service import Service

ECHO = "def echo(data, context): return data and [bytes(row['body']) for row in data]\n"
HEAD = b"POST /wfpredict/echo HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT_BYTES = 6_553_500
Pack = Callable[[bytes], bytes]


@pytest.fixture(scope="module", name="service")
def _service(service: Service) -> Iterator[Service]:
    with left_as_found(service):
        make_war(service.workflow_store, name="echo", spec="dag: {echo: []}\n", handler=ECHO)
        assert service.register("echo.war").status_code == 200
        yield service


def predict(service: Service, data: bytes, encoding: str) -> requests.Response:
    """Send a body that is compressed, or says so."""
    headers = {"Content-Encoding": encoding}
    return requests.post(f"{service.inference}/wfpredict/echo", data=data, headers=headers, timeout=30)


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    """Give a connection to the inference address on which nothing takes longer than ten seconds."""
    host, _, port = service.inference.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
def test_compressed_body_reaches_the_handler_unpacked(service: Service, pack: Pack, encoding: str) -> None:
    """A small one, and one as long as a body may be."""
    for content in (b"some text", b"long text." * (LIMIT_BYTES // 10)):
        answer = predict(service, pack(content), encoding)
        assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
@pytest.mark.parametrize("content", [b"some text", b"long text." * 100_000], ids=["short", "long"])
def test_truncated_compressed_body_is_refused(service: Service, pack: Pack, encoding: str, content: bytes) -> None:
    """The part that arrived is not taken for the whole."""
    answer = predict(service, pack(content)[:-4], encoding)
    assert_error(answer, 400, "BadRequestException", "The body cannot be decoded: it is truncated")


def test_body_that_unpacks_to_too_much_is_refused(service: Service) -> None:
    """What counts is the unpacked length."""
    answer = predict(service, gzip.compress(bytes(20 * LIMIT_BYTES)), "gzip")
    limit = f"{LIMIT_BYTES} bytes, the limit of this server (WFMGMT_REQUEST_LIMIT_BYTES)."
    message = f"The body of the request is longer than {limit}"
    assert_error(answer, 413, "RequestEntityTooLargeException", message)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_body_of_another_encoding_is_refused(service: Service, encoding: str) -> None:
    """The message names those that are read."""
    answer = predict(service, b"anything", encoding)
    message = f"Content-Encoding {encoding!r} is not supported; expected one of gzip, deflate, identity."
    assert_error(answer, 415, "UnsupportedMediaTypeException", message)


@pytest.mark.parametrize(
    "rest",
    [b"zz\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"5;\x00\r\n"],
    ids=["size no number", "chunk longer than its size", "size negative", "control character"],
)
@pytest.mark.parametrize("beginning", [b"", b"3\r\nabc\r\n"], ids=["first chunk", "second chunk"])
def test_malformed_chunk_is_refused_as_soon_as_it_comes(service: Service, beginning: bytes, rest: bytes) -> None:
    """Nobody waits for the rest of a body that can have none, also when it came after the head."""
    with connected(service) as connection:
        connection.sendall(CHUNKED + beginning)
        assert_body_is_awaited(service)
        connection.sendall(rest)
        assert_raw_error(read_answer(connection), 400)
        assert connection.recv(1) == b""


def test_malformed_chunk_behind_another_request_is_refused_after_its_answer(service: Service) -> None:
    """Only the request that it belongs to fails."""
    with connected(service) as connection:
        connection.sendall(HEAD + b"Content-Length: 3\r\n\r\nabc" + CHUNKED + b"3\r\nabc\r\n")
        assert read_answer(connection).body == b"abc"
        connection.sendall(b"zz\r\n")
        assert_raw_error(read_answer(connection), 400)


def assert_body_is_awaited(service: Service) -> None:
    """Let a request that was just sent reach the handler that waits for its body: others are answered after it."""
    for _ in range(2):
        assert predict(service, b"between", "").status_code == 200
