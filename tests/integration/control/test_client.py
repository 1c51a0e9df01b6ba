"""The management plane's client against a runtime that misbehaves, on a real socket."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from wfmgmt.control import client as module
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport, encode
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import RuntimeUnavailable, RuntimeUnreachable, ShuttingDown
from wfmgmt.serving.process import listen_privately

LOAD_REQUEST = LoadRequest(
    uid="u1", workflow="seq", archive_file="seq.war", archive_sha256="a" * 64, handler=None, startup_timeout_s=1,
    response_timeout_s=60, nodes=(), edges=(),
)  # fmt: skip
CALL_TIMEOUT_S = 0.3


def answer(body: str, status: str = "200 OK") -> bytes:
    """Return a whole HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def report(state: LoadState) -> bytes:
    """Return the answer that tells how a workflow is."""
    return answer(encode(WorkflowReport(uid="u1", workflow="seq", state=state)).decode())


def receive_request(connection: socket.socket) -> bytes:
    """Take in a whole request and return its first line; closing before its end would reset the connection."""
    with connection.makefile("rb") as stream:
        first = stream.readline()
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        stream.read(length)
    return first


@contextmanager
def fake_runtime(
    path: Path, behave: Callable[[socket.socket], None], requests: list[bytes] | None = None
) -> Iterator[RuntimeClient]:
    """Listen in the runtime's place; `behave` gets each connection after its request, kept in `requests`, has come."""
    requests = [] if requests is None else requests
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            requests.append(receive_request(connection))
            try:
                behave(connection)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield RuntimeClient(path, call_timeout_s=CALL_TIMEOUT_S)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def hang(connection: socket.socket) -> None:
    """Say nothing until the client gives up."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """Send an endless answer, byte by byte."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    never = threading.Event()
    while not never.wait(0.02):
        connection.sendall(b" ")


MISBEHAVIOURS: dict[str, Callable[[socket.socket], None]] = {
    "hangs": hang,
    "drips": drip,
    "closes": lambda _connection: None,
    "half an answer": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    "not HTTP": lambda connection: connection.sendall(b"malformed\r\n\r\n"),
    "not JSON": lambda connection: connection.sendall(answer("malformed")),
    "not an object": lambda connection: connection.sendall(answer("[]")),
    "another object": lambda connection: connection.sendall(answer('{"uid": 1}')),
    "an error": lambda connection: connection.sendall(answer("{}", "500 Internal Server Error")),
}


@pytest.mark.parametrize("behave", MISBEHAVIOURS.values(), ids=MISBEHAVIOURS.keys())
@pytest.mark.parametrize("call", ["load", "unload", "changes"])
def test_misbehaving_runtime_is_unavailable_within_the_call_timeout(
    tmp_path: Path, behave: Callable[[socket.socket], None], call: str
) -> None:
    """Each way to fail gives the caller a clear error, without a wait for the start-up timeout."""
    with fake_runtime(tmp_path / "s", behave) as client:
        began = time.monotonic()
        with pytest.raises(RuntimeUnavailable):
            if call == "load":
                client.load(LOAD_REQUEST, cancelled=lambda: False)
            elif call == "unload":
                client.unload("u1")
            else:
                client.changes(epoch="", since=0, wait_s=0)
        assert time.monotonic() - began < CALL_TIMEOUT_S + 5
        assert not client.is_down()


def test_calls_work_when_no_thread_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of processes supervision has to go on, and time-outs have to hold."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeUnavailable, match="does not answer"):
            RuntimeClient(tmp_path / "s", call_timeout_s=CALL_TIMEOUT_S).report("u1")


def test_call_to_a_runtime_that_accepts_nothing_ends_in_time(tmp_path: Path) -> None:
    """As when the runtime is stopped and many callers have connected already."""
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as callers:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        with contextlib.suppress(BlockingIOError):
            while True:
                caller = callers.enter_context(socket.socket(socket.AF_UNIX))
                caller.settimeout(0)
                caller.connect(str(tmp_path / "s"))
        began = time.monotonic()
        with pytest.raises(RuntimeUnavailable, match="does not answer"):
            RuntimeClient(tmp_path / "s", call_timeout_s=CALL_TIMEOUT_S).report("u1")
        assert time.monotonic() - began >= CALL_TIMEOUT_S


@pytest.mark.parametrize("stale", [False, True], ids=["no socket", "stale socket"])
def test_runtime_is_down_for_certain_only_when_its_socket_is_stale(tmp_path: Path, *, stale: bool) -> None:
    """A socket that nobody listens on is a dead runtime's; a missing one may have been removed under a living one."""
    if stale:
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(tmp_path / "s"))
    client = RuntimeClient(tmp_path / "s")
    assert client.is_down() is stale
    with pytest.raises(RuntimeUnavailable, match="The runtime is down"):
        client.report("u1")


def test_load_fails_when_the_runtime_was_restarted_meanwhile(tmp_path: Path) -> None:
    """A runtime that was restarted half way does not know the workflow any more."""
    with (
        fake_runtime(tmp_path / "s", lambda connection: connection.sendall(report(LoadState.ABSENT))) as client,
        pytest.raises(RuntimeUnavailable, match="was restarted"),
    ):
        client.load(LOAD_REQUEST, cancelled=lambda: False)


@pytest.mark.parametrize("first", ["down", "closes", "forgets"])
def test_load_begins_again_when_the_runtime_is_back(tmp_path: Path, first: str) -> None:
    """A runtime that is being started, or was restarted half way, is waited for within the start-up time."""
    calls: list[str] = []

    def behave(connection: socket.socket) -> None:
        calls.append(first)
        if len(calls) > 1 or first == "down":
            connection.sendall(report(LoadState.LOADED))
        elif first == "forgets":
            connection.sendall(report(LoadState.ABSENT))

    request = replace(LOAD_REQUEST, startup_timeout_s=30)
    with ThreadPoolExecutor(1) as pool:
        client = RuntimeClient(tmp_path / "s", call_timeout_s=CALL_TIMEOUT_S)
        loaded = pool.submit(client.load, request, cancelled=lambda: False)
        with fake_runtime(tmp_path / "s", behave):
            assert loaded.result(20).state is LoadState.LOADED
    assert len(calls) >= (1 if first == "down" else 2)


def test_load_of_a_runtime_that_is_down_can_be_cancelled(tmp_path: Path) -> None:
    """A server that stops waits for nothing."""
    with pytest.raises(ShuttingDown):
        RuntimeClient(tmp_path / "s").load(replace(LOAD_REQUEST, startup_timeout_s=30), cancelled=lambda: True)


def test_load_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    """A server that stops does not wait for a model that loads for minutes."""
    with (
        fake_runtime(tmp_path / "s", lambda connection: connection.sendall(report(LoadState.LOADING))) as client,
        pytest.raises(ShuttingDown),
    ):
        client.load(LOAD_REQUEST, cancelled=lambda: True)


def test_load_returns_the_final_report(tmp_path: Path) -> None:
    """A workflow that came up is reported as loaded."""
    with fake_runtime(tmp_path / "s", lambda connection: connection.sendall(report(LoadState.LOADED))) as client:
        assert client.load(LOAD_REQUEST, cancelled=lambda: False).state is LoadState.LOADED


def test_socket_path_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    """An instance folder deep down in the file system works as well."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with listen_privately(folder / "runtime.sock"):
        assert not RuntimeClient(folder / "runtime.sock").is_down()


class Steps:
    """A runtime that does one thing after the other on each connection, each after a request has come.

    Attributes:
        accepted: Connections.
        calls: Requests.
    """

    def __init__(self, *steps: bytes) -> None:
        self.accepted = self.calls = 0
        self._steps = steps

    def __call__(self, connection: socket.socket) -> None:
        """Serve one connection, whose first request has come."""
        self.accepted += 1
        for number, step in enumerate(self._steps):
            if number:
                receive_request(connection)
            self.calls += 1
            connection.sendall(step)


def test_calls_of_a_thread_share_a_connection(tmp_path: Path) -> None:
    """A connection for each call would cost more than the call."""
    steps = Steps(*[report(LoadState.LOADED)] * 5)
    with fake_runtime(tmp_path / "s", steps) as client:
        for _ in range(5):
            assert client.report("u1").state is LoadState.LOADED
        assert (steps.accepted, steps.calls) == (1, 5)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(client.report, "u1").result().state is LoadState.LOADED
        assert steps.accepted == 2


def test_call_is_repeated_when_its_connection_was_closed_meanwhile(tmp_path: Path) -> None:
    """A restarted runtime, or one that closes idle connections, costs no call; one that closes each time does."""
    steps = Steps(report(LoadState.LOADED))
    with fake_runtime(tmp_path / "s", steps) as client:
        for _ in range(3):
            assert client.report("u1").state is LoadState.LOADED
    assert steps.accepted == 3
    with pytest.raises(RuntimeUnavailable, match="The runtime is down"):
        client.report("u1")
    (tmp_path / "s").unlink()
    with fake_runtime(tmp_path / "s", Steps(report(LoadState.ABSENT))):
        assert client.report("u1").state is LoadState.ABSENT


def test_repeated_call_waits_only_for_the_time_that_is_left(tmp_path: Path) -> None:
    """What passed until the runtime closed the connection counts."""
    requests: list[bytes] = []

    def answer_once(connection: socket.socket) -> None:
        connection.sendall(report(LoadState.ABSENT))
        if len(requests) == 1:
            requests.append(receive_request(connection))

    with fake_runtime(tmp_path / "s", answer_once, requests) as client:
        client.unload("u1")
        client.unload("u1")
        _, attempted_s, repeated_s = [float(request.split()[1].partition(b"?wait_s=")[2]) for request in requests]
    assert 0 < repeated_s < attempted_s


def interim(times: int, then: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Return a runtime that sends so many signs of life, and then does something else."""

    def behave(connection: socket.socket) -> None:
        for _ in range(times):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if select.select([connection], [], [], 0.1)[0]:
                return  # The client has gone.
        then(connection)

    return behave


def test_wait_goes_on_while_there_are_signs_of_life(tmp_path: Path) -> None:
    """One call lasts as long as a load takes, however short a silence may be."""
    calls: list[float] = []

    def finish(connection: socket.socket) -> None:
        calls.append(time.monotonic())
        connection.sendall(report(LoadState.LOADED))

    with fake_runtime(tmp_path / "s", interim(10, finish)) as client:
        began = time.monotonic()
        assert client.load(LOAD_REQUEST, cancelled=lambda: False).state is LoadState.LOADED
    assert len(calls) == 1
    assert calls[0] - began > 2 * CALL_TIMEOUT_S


def test_wait_ends_when_the_signs_of_life_stop(tmp_path: Path) -> None:
    """A runtime that is stopped in the middle is noticed as soon as one that never answers."""
    with fake_runtime(tmp_path / "s", interim(5, hang)) as client:
        began = time.monotonic()
        with pytest.raises(RuntimeUnavailable, match="does not answer"):
            client.unload("u1")
        assert time.monotonic() - began < CALL_TIMEOUT_S + 5


def test_wait_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    """The next sign of life is the latest moment to notice."""
    began = time.monotonic()
    with fake_runtime(tmp_path / "s", interim(1000, hang)) as client, pytest.raises(ShuttingDown, match="be finished"):
        client.unload("u1", cancelled=lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 5


def test_wait_ends_although_there_are_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that only says that it lives has its time, and not more."""
    monkeypatch.setattr(module, "SLACK_S", 0.3)
    with fake_runtime(tmp_path / "s", interim(1000, hang)) as client:
        began = time.monotonic()
        with pytest.raises(RuntimeUnavailable, match="does not answer"):
            client.unload("u1")
        assert time.monotonic() - began < 5


def test_runtime_that_does_not_answer_is_not_called_for_a_while(tmp_path: Path) -> None:
    """Once is enough to know; the next calls fail at once."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client = RuntimeClient(tmp_path / "s", call_timeout_s=CALL_TIMEOUT_S, silence_s=60)
        for _ in range(2):
            with pytest.raises(RuntimeUnreachable, match="does not answer"):
                client.report("u1")
        listener.settimeout(10)
        listener.accept()[0].close()
        assert select.select([listener], [], [], 0)[0] == []
