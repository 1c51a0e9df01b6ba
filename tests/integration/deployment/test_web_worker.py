"""The web worker under gunicorn, with two threads and clients that do their part badly."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.support.service import CHECKOUT, wait_until
from wfmgmt.deployment.web_worker import CLIENT_TIMEOUT_S

LARGE_BYTES = 30_000_000
#: Less than the worker gives its clients: nobody is answered so soon who waits for one of them.
SOON_S = CLIENT_TIMEOUT_S / 2
THREADS = 2
CROWD = 4 * THREADS
CONFIGURATION = """
control_socket_disable = True

class Housekeeping:
    is_service_stopping = True
    def beat(self): pass
    def end(self): pass
    def stop_soon(self): pass
    def stop_now(self): pass

def post_worker_init(worker):
    worker.housekeeping = Housekeeping()
"""
APPLICATION = f"""
import os

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("on purpose")
    body = environ["wsgi.input"].read()
    answer = b"x" * {LARGE_BYTES} if environ["PATH_INFO"] == "/large" else b"%d %s" % (os.getpid(), body)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module", name="port")
def _port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run gunicorn with one web worker; give its port."""
    with running(tmp_path_factory.mktemp("gunicorn")) as port:
        yield port


@contextlib.contextmanager
def running(folder: Path, *more: str) -> Iterator[int]:
    """Run gunicorn with one web worker; give its port."""
    (folder / "conf.py").write_text(CONFIGURATION)
    (folder / "answering.py").write_text(APPLICATION)
    worker = "wfmgmt.deployment.web_worker.BufferingThreadWorker"
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        arguments = ["-k", worker, "--threads", str(THREADS), "-b", f"fd://{listener.fileno()}", "-c", "conf.py", *more]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments, "answering:app"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(20) == 0
            finally:
                process.kill()


@contextlib.contextmanager
def client(port: int, *sent: bytes) -> Iterator[socket.socket]:
    """Connect, and send something."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        for part in sent:
            connection.sendall(part)
        yield connection


@contextlib.contextmanager
def crowd(port: int, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Connect more often than there are threads."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client(port, *sent)) for _ in range(CROWD)]


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read one answer; return its status and body."""
    with contextlib.closing(HTTPResponse(connection)) as answer:
        answer.begin()
        return answer.status, answer.read()


def ask(port: int, path: str = "/") -> str:
    """Ask as an honest client does; return the process id of the web worker and the body it got."""
    connection = HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def assert_answers_soon(port: int) -> None:
    """Check that an honest client does not wait for others."""
    began = time.monotonic()
    ask(port)
    assert time.monotonic() - began < SOON_S


def test_worker_answers_a_request_that_comes_byte_by_byte(port: int) -> None:
    """Head and body may be cut anywhere."""
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    with client(port, *(bytes([byte]) for byte in request)) as connection:
        status, body = read_answer(connection)
    assert (status, body.endswith(b" body")) == (200, True)


def test_worker_answers_pipelined_requests_in_order(port: int) -> None:
    """Requests sent ahead are answered one after the other, with their own bodies."""
    posts = [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\nX-Trailer: t\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n3",
    ]
    answers = b""
    with client(port, b"".join(posts)) as connection:
        while received := connection.recv(65536):
            answers += received
    bodies = [part.rsplit(b" ", 1)[-1] for part in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"1", b"2", b"3"]


def test_worker_encourages_every_request_that_expects_it(port: int) -> None:
    """A client that waits for 100 Continue gets it for each request of a connection."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with client(port) as connection:
        for _ in range(2):
            connection.sendall(head)
            assert connection.recv(len(b"HTTP/1.1 100 Continue\r\n\r\n")).startswith(b"HTTP/1.1 100")
            connection.sendall(b"body")
            assert read_answer(connection)[1].endswith(b" body")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbo",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n",
        GET + b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
        b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=[
        "silence",
        "part of a head",
        "part of a body",
        "part of a chunk that looks like the end",
        "part of the next request",
        "an end that is not answered by the client",
        "an old client that stays",
        "a body that is too large and does not come",
        "an answer that is not read",
    ],
)
def test_worker_answers_others_while_many_clients_stall(port: int, sent: bytes) -> None:
    """No thread waits for a client, and neither does the main loop."""
    with crowd(port, sent):
        for _ in range(3):
            assert_answers_soon(port)


def test_worker_sends_all_of_an_answer_that_is_read_slowly(port: int) -> None:
    """What does not fit into the connection at once follows when there is room; the connection stays usable."""
    with client(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert_answers_soon(port)
        assert read_answer(connection) == (200, b"x" * LARGE_BYTES)
        connection.sendall(GET)
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nx-request-id: r1\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nExpect: miracles\r\n\r\n", 417),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n", 500),
    ],
    ids=[
        "large body",
        "long line",
        "large header",
        "many headers",
        "endless head",
        "expectation",
        "nonsense",
        "line feeds",
        "chunk size",
        "chunk end",
        "trailer",
        "coding",
        "two lengths",
        "version",
        "no host",
        "failure",
    ],
)
def test_worker_answers_errors_in_the_one_shape(port: int, sent: bytes, status: int) -> None:
    """What never reaches the application is answered like everything else, and the connection is closed."""
    with client(port, sent) as connection:
        answered, body = read_answer(connection)
        error = json.loads(body)
        assert (answered, error["code"], set(error)) == (status, status, {"code", "type", "message"})
        assert connection.recv(1) == b""


def test_worker_answers_a_body_that_is_too_large_with_the_clients_request_id(port: int) -> None:
    """The id is known by then."""
    with client(port, b"POST / HTTP/1.1\r\nx-request-id: r1\r\nContent-Length: 70000\r\n\r\n") as connection:
        head = connection.recv(65536).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0].startswith(b"HTTP/1.1 413 ")
    assert b"x-request-id: r1" in head


def test_worker_outlives_clients_that_break_off(port: int) -> None:
    """Connections reset at any point, waiting for encouragement included, do not end the process."""
    before = ask(port)
    heads = [b"", GET, GET[:9], b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", GET * 50]
    for _ in range(20):
        for head in heads:
            with client(port, head) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(port) == before


def test_worker_takes_back_the_connections_of_clients_that_are_gone(port: int) -> None:
    """Connections that ended badly are forgotten, so that new ones are accepted for ever."""
    pid = int(ask(port).split()[0])

    def open_sockets() -> int:
        links = Path(f"/proc/{pid}/fd").iterdir()
        return sum(link.is_symlink() and str(link.readlink()).startswith("socket:") for link in links)

    wait_until(lambda: open_sockets() == 1, timeout_s=15, what="the end of the earlier tests' connections")
    with crowd(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"), crowd(port, GET), crowd(port, b"GET"):
        wait_until(lambda: open_sockets() == 1 + 3 * CROWD, what="the crowd")
    wait_until(lambda: open_sockets() == 1, what="the end of the crowd's connections")


@pytest.mark.parametrize(
    ("before", "sent"),
    [
        (b"", b""),
        (GET, b""),
        pytest.param(b"", b"GET / HTTP/1.1\r\nHost", marks=pytest.mark.slow),
        (b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nb"),
    ],
    ids=["nothing sent", "idle after a request", "within a head", "within a body"],
)
def test_connection_that_has_waited_longest_makes_way_for_a_new_one(tmp_path: Path, before: bytes, sent: bytes) -> None:
    """However many clients do nothing, or send a part only, others are answered at once; requests under way stay."""
    with running(tmp_path, "--worker-connections", "8", "--keep-alive", "30") as port, contextlib.ExitStack() as stack:
        taking = stack.enter_context(client(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"))
        for _ in range(4):  # Twice as many in all as there is room for, while the answer that is taken has 10 s.
            for _ in range(4):
                connection = stack.enter_context(client(port, before))
                if before:
                    assert read_answer(connection)[0] == 200
                connection.sendall(sent)
            assert_answers_soon(port)
        assert read_answer(taking) == (200, b"x" * LARGE_BYTES)
