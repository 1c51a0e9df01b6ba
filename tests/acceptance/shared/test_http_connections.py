"""How requests follow each other on one connection, and which versions of HTTP are spoken, on both addresses."""

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.deployments import left_as_found
from tests.support.factories import make_war
from tests.support.raw_http import PLANES, assert_raw_error, exchange
from tests.support.service import Service

ECHO = "def echo(data, context): return data and [bytes(row['body']) for row in data]\n"
HEAD = b"GET /ping HTTP/1.1\r\nHost: [::1]\r\n"
LAST = HEAD + b"Connection: close\r\n\r\n"
OLD = b"GET /ping HTTP/1.0\r\n"
POST = b"POST /nosuch HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: foo\r\n\r\n"
#: What is sent in one piece, and the statuses of the answers before the end of the connection.
SENT = {
    "request": (LAST, [200]),
    "two requests": (HEAD + b"\r\n" + LAST, [200, 200]),
    "last request, and more": (LAST + b"more", [200]),
    "last request, and another": (LAST + LAST, [200]),
    "last request, and what is no request": (LAST + b"\x00\x01\r\n\r\n", [200]),
    "last request with a body, and a line end": (POST + b"Connection: close\r\n\r\nabc\r\n", [404]),
    "last request with chunks": (
        b"POST /nosuch HTTP/1.1\r\nConnection: close\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [404],
    ),
    "body like a head": (POST.replace(b"3", b"28") + b"\r\n\r\nconnection: close\r\n\r\n12345" + LAST, [404, 200]),
    "option in another case": (HEAD + b"CONNECTION: Close\r\n\r\nmore", [200]),
    "option like another": (HEAD + b"Connection: closely\r\n\r\n" + LAST, [200, 200]),
    "unknown upgrade, and a request": (HEAD + UPGRADE + LAST, [200, 200]),
    "unknown upgrade with a body, and a request": (POST + UPGRADE + b"abc" + LAST, [404, 200]),
    "upgrade to HTTP/2, and a request": (
        HEAD
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        + LAST,
        [200, 200],
    ),
    "old client": (OLD + b"\r\n", [200]),
    "old client, and more": (OLD + b"\r\nmore", [200]),
    "old client that keeps its connection": (OLD + b"Connection: keep-alive\r\n\r\n" + OLD + b"\r\n", [200, 200]),
    "old client with a body, and a line end": (POST.replace(b"1.1", b"1.0") + b"\r\nabc\r\n", [404]),
    "old client that expects to be told to go on": (
        POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n\r\nabc",
        [404],
    ),
}


@pytest.fixture(scope="module", name="echoing")
def _echoing(service: Service) -> Iterator[Service]:
    with left_as_found(service):
        make_war(service.workflow_store, name="echo", spec="dag: {echo: []}\n", handler=ECHO)
        assert service.register("echo.war").status_code == 200
        yield service


def answers(service: Service, plane: str, *parts: bytes) -> list[bytes]:
    """Send bytes, and return the answers until the server ends the connection."""
    address = urlsplit(getattr(service, plane))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while data := connection.recv(65536):
            received += data
    return re.split(rb"(?=HTTP/[0-9]\.[0-9] [0-9]{3} )", received)[1:]


def statuses(received: list[bytes]) -> list[int]:
    """Return the statuses of answers."""
    return [int(answer.split()[1]) for answer in received]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("sent", "expected"), SENT.values(), ids=SENT)
def test_every_request_of_a_connection_is_answered(
    echoing: Service, plane: str, sent: bytes, expected: list[int]
) -> None:
    """What follows the last one is neither answered nor costs it its answer; a declined upgrade changes nothing."""
    received = answers(echoing, plane, sent)
    assert statuses(received) == expected
    version = sent.split(b"\r\n", 1)[0].rpartition(b" ")[2]
    assert {answer.split()[0] for answer in received} == {version}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("sent", [LAST + b"more", HEAD + UPGRADE + LAST, OLD + b"\r\n"])
def test_head_may_come_in_parts(echoing: Service, plane: str, sent: bytes) -> None:
    """What its connection is for is read from the part that says so."""
    whole = answers(echoing, plane, sent)
    head, _, rest = sent.partition(b"\r\n")
    assert statuses(answers(echoing, plane, head + b"\r\n", rest)) == statuses(whole)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"POST /wfpredict/echo HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc\r\n", 1),
        (b"POST /wfpredict/echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc\r\n", 1),
        (b"POST /wfpredict/echo HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\n" + UPGRADE + b"abc" + LAST, 2),
    ],
    ids=["last request", "old client", "declined upgrade"],
)
def test_prediction_gets_its_body_with_any_bytes_behind_it(echoing: Service, sent: bytes, expected: int) -> None:
    """Old browsers end a form with a line end that is no part of it; clients of HTTP/1.0 know no 100 Continue."""
    received = answers(echoing, "inference", sent)
    assert len(received) == expected
    assert received[0].endswith(b"\r\n\r\nabc")
    assert statuses(received) == [200] * expected


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9"])
def test_other_versions_are_refused_in_one_that_is_spoken(echoing: Service, plane: str, version: bytes) -> None:
    """The answer does not repeat the version, which would promise what is not there."""
    sent = b"GET /ping " + version + b"\r\nHost: [::1]\r\n\r\n"
    (received,) = answers(echoing, plane, sent)
    assert received.startswith(b"HTTP/1.1 ")
    assert b"\r\nConnection: close\r\n" in received
    answer = exchange(echoing, plane, sent)
    assert answer.status in {400, 505}
    assert_raw_error(answer, answer.status)


@pytest.mark.parametrize("plane", PLANES)
def test_answer_is_never_of_a_newer_version_than_is_spoken(echoing: Service, plane: str) -> None:
    """HTTP/1.2 may be answered, but as HTTP/1.1."""
    (received,) = answers(echoing, plane, LAST.replace(b"1.1", b"1.2"))
    assert received.startswith(b"HTTP/1.1 ")


def test_early_answers_are_counted(echoing: Service) -> None:
    """Also those that no part of the application has seen, by the status that their clients got."""
    assert statuses(answers(echoing, "inference", b"nonsense\r\n\r\n")) == [400]
    assert statuses(answers(echoing, "inference", LAST.replace(b"1.1", b"2.0"))) == [505]
    text = echoing.inference_metrics()
    for status in (400, 505):
        assert f'wfmgmt_inference_requests_total{{route="unknown",status="{status}"}} ' in text
