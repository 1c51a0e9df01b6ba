"""More connections to the inference address than it keeps."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.raw_http import RawAnswer, assert_raw_error, read_answer
from tests.support.service import Service

CONNECTIONS = 4
ECHO = "def echo(data, context): return data and [bytes(row['body']) for row in data]\n"
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_SENT = b"POST /wfpredict/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("c"), max_connections=CONNECTIONS) as service:
        make_war(service.workflow_store, name="echo", spec="dag: {echo: []}\n", handler=ECHO)
        assert service.register("echo.war").status_code == 200
        yield service


def connect(service: Service, opened: ExitStack) -> socket.socket:
    """Return a connection to the inference address."""
    host, _, port = service.inference.removeprefix("http://").rpartition(":")
    return opened.enter_context(socket.create_connection((host, int(port)), timeout=10))


def ping(connection: socket.socket) -> RawAnswer:
    """Ask something simple."""
    connection.sendall(PING)
    return read_answer(connection)


def begin(connection: socket.socket) -> None:
    """Send the head of a prediction, which the server has seen when this returns."""
    connection.sendall(HALF_SENT)
    assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")


def test_new_connection_takes_the_place_of_the_one_that_was_idle_for_longest(service: Service) -> None:
    """Honest clients get in however many connections are kept open for nothing; a busy one stays."""
    with ExitStack() as opened:
        busy, *idle = [connect(service, opened) for _ in range(CONNECTIONS)]
        for connection in (busy, *idle):
            assert ping(connection).status == 200
        begin(busy)
        assert ping(connect(service, opened)).status == 200
        assert idle[0].recv(1) == b""
        busy.sendall(b"abcdef")
        assert read_answer(busy).body == b"abcdef"
        assert [ping(connection).status for connection in idle[1:]] == [200] * 2


def test_connection_gets_503_while_all_others_are_busy(service: Service) -> None:
    """Its answer is to try again later; those whose requests are under way are answered, and then there is room."""
    with ExitStack() as opened:
        busy = [connect(service, opened) for _ in range(CONNECTIONS)]
        for connection in busy:
            begin(connection)
        refused = connect(service, opened)
        answer = ping(refused)
        assert_raw_error(answer, 503)
        assert (
            json.loads(answer.body)["message"] == "All connections are busy (WFMGMT_MAX_CONNECTIONS); try again later."
        )
        assert answer.headers["retry-after"] == "1"
        assert refused.recv(1) == b""
        for connection in busy:
            connection.sendall(b"abcdef")
            assert read_answer(connection).body == b"abcdef"
        assert ping(connect(service, opened)).status == 200


def test_half_of_the_descriptors_is_left_for_workers(tmp_path: Path) -> None:
    """Where the system allows few, there are fewer connections than the setting says."""
    with (
        Service(tmp_path / "i", prefix=["prlimit", "--nofile=100:100"], web_workers=1, web_threads=2) as service,
        ExitStack() as opened,
    ):
        connections = [connect(service, opened) for _ in range(51)]
        assert [ping(connection).status for connection in connections[1:]] == [200] * 50
        assert connections[0].recv(1) == b""
