"""Bodies of predictions that are compressed, broken or slow, as bytes on real connections."""

import gzip
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.acceptance.conftest import deployed
from tests.acceptance.evidence import assert_error
from tests.factories import make_war
from tests.service import Service

ECHO = "def echo(data, context): return data and [bytes(row['body']) for row in data]\n"
HEAD = b"POST /wfpredict/echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT_BYTES = 6_553_500


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("b")) as service:
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
def test_compressed_body_reaches_the_handler_unpacked(service: Service, pack, encoding: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a case
    """A small one, and one as long as a body may be."""
    for content in (b"some text", b"long text." * (LIMIT_BYTES // 10)):
        answer = predict(service, pack(content), encoding)
        assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
@pytest.mark.parametrize("content", [b"some text", b"long text." * 100_000], ids=["short", "long"])
def test_truncated_compressed_body_is_refused(service: Service, pack, encoding: str, content: bytes) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a case
    """The part that arrived is not taken for the whole."""
    answer = predict(service, pack(content)[:-4], encoding)
    assert_error(answer, 400, "BadRequestException", "The body cannot be decoded: it is truncated")


def test_body_that_unpacks_to_too_much_is_refused(service: Service) -> None:
    """What counts is the unpacked length."""
    answer = predict(service, gzip.compress(bytes(20 * LIMIT_BYTES)), "gzip")
    message = f"The body of the request is longer than {LIMIT_BYTES} bytes"
    assert_error(answer, 413, "RequestEntityTooLargeException", message)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_body_of_another_encoding_is_refused(service: Service, encoding: str) -> None:
    """The message names those that are read."""
    answer = predict(service, b"anything", encoding)
    message = f"Content-Encoding {encoding!r} is not supported; expected one of gzip, deflate, identity."
    assert_error(answer, 415, "UnsupportedMediaTypeException", message)
