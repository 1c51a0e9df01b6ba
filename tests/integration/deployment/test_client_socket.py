"""Clients of answers that are made while they are sent."""

import errno
import socket
import threading
from collections.abc import Iterator

import pytest

from wfmgmt.deployment import client_socket
from wfmgmt.deployment.client_socket import ClientSocket

MAX_BYTES = 10_000
LINE = b"x" * 500
#: More lines than the buffers of a connection hold.
MANY = 2000


@pytest.fixture(name="ends")
def _ends() -> Iterator[tuple[ClientSocket, socket.socket]]:
    """Both ends of a connection, which holds little."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ClientSocket(ours) as server, theirs:
        yield server, theirs


def send_lines(server: ClientSocket, *, is_stopping: bool = False) -> None:
    """Send an answer that no buffer holds."""
    server.bound_unsent(MAX_BYTES, lambda: is_stopping)
    for _ in range(MANY):
        server.sendall(LINE)
        assert len(server.unsent) <= MAX_BYTES


def test_client_that_reads_gets_all_of_it(ends: tuple[ClientSocket, socket.socket]) -> None:
    """However much that is; the rest is kept, and not waited for."""
    server, client = ends
    received = bytearray()

    def read() -> None:
        while len(received) < MANY * len(LINE):
            received.extend(client.recv(65536))

    reader = threading.Thread(target=read)
    reader.start()
    send_lines(server)
    server.end_answer()
    server.sendall(b"")
    while server.unsent:
        server.flush()
    reader.join(60)
    assert bytes(received) == LINE * MANY


def test_client_that_takes_little_at_a_time_is_left(
    ends: tuple[ClientSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if each piece of an answer goes on: it has its time for many of them."""
    monkeypatch.setattr(client_socket, "_TAKING_S", 0.3)
    server, client = ends
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(0.05):
            client.recv(len(LINE))

    reader = threading.Thread(target=drip)
    reader.start()
    try:
        with pytest.raises(BrokenPipeError) as raised:
            send_lines(server)
    finally:
        is_over.set()
        reader.join(60)
    assert (raised.value.errno, len(server.unsent)) == (errno.EPIPE, 0)


def test_stop_is_not_held_up_by_a_client(ends: tuple[ClientSocket, socket.socket]) -> None:
    """That reads nothing; the time that clients have is not waited for."""
    with pytest.raises(BrokenPipeError):
        send_lines(ends[0], is_stopping=True)


def test_answer_ends_when_its_client_is_gone(ends: tuple[ClientSocket, socket.socket]) -> None:
    """Nothing more of it is made."""
    server, client = ends
    client.close()
    with pytest.raises(BrokenPipeError):
        send_lines(server)
