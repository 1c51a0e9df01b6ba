"""Clients that are slow on purpose, and how others fare meanwhile."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import requests

from tests.support.service import Service


@contextlib.contextmanager
def slow_clients(service: Service, count: int) -> Iterator[Counter[str]]:
    """Keep clients connected that are silent, send byte by byte or do not read; each comes back when it is sent away.

    Yields:
        How often each kind has connected so far.
    """
    host, port = urlsplit(service.management).netloc.split(":")
    over = threading.Event()
    connected: Counter[str] = Counter()
    kinds = list(_SLOW)

    def misbehave(kind: str) -> None:
        while not over.wait(0.01):
            with contextlib.suppress(OSError), socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.settimeout(0.5)
                client.connect((host, int(port)))
                connected[kind] += 1
                _SLOW[kind](client, over)

    threads = [threading.Thread(target=misbehave, args=(kinds[number % len(kinds)],)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield connected
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def _wait_for_the_end(client: socket.socket, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            if not client.recv(1):
                return


def _drip(client: socket.socket, over: threading.Event, head: bytes) -> None:
    client.sendall(head)
    while not over.wait(0.1):
        client.sendall(b"x")


def _read_slowly(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"GET /workflows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    while not over.wait(0.2):
        client.recv(1)


def _do_not_close(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    over.wait(3)


_SLOW: dict[str, Callable[[socket.socket, threading.Event], None]] = {
    "silent": _wait_for_the_end,
    "head": lambda client, over: _drip(client, over, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: "),
    "body": lambda client, over: _drip(
        client, over, b"POST /workflows HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
    ),
    "next request": lambda client, over: _drip(client, over, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /p"),
    "reader": _read_slowly,
    "closer": _do_not_close,
}


def slowest_honest_answer(service: Service, name: str, *, seconds: float) -> float:
    """Ask as honest clients do, each time on a new connection; return how long the slowest answer took."""
    slowest = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in ("/ping", "/workflows", f"/workflows/{name}"):
            began = time.monotonic()
            answer = requests.get(f"{service.management}{path}", timeout=30)
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status_code == 200, answer.text
    return slowest
