"""One keep-alive connection that asks again and again, and remembers how long each answer took.

A load generator reports quantiles only. This shows what a server does between its stalls.
"""

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STALL_S = 1.0
_TIMEOUT_S = 30.0
_OK = 200


@dataclass(slots=True)
class Record:
    """What a connection saw.

    Attributes:
        latencies_s: Of each request, in the order in which they were sent.
        failed: Requests that were not answered with 200.
    """

    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def stalls(self) -> int:
        """How many requests took longer than `STALL_S`."""
        return sum(latency_s > STALL_S for latency_s in self.latencies_s)

    @property
    def requests_per_s(self) -> float:
        """Requests per second between the stalls."""
        flowing_s = [latency_s for latency_s in self.latencies_s if latency_s <= STALL_S]
        return len(flowing_s) / sum(flowing_s) if flowing_s else 0.0


class Connection:
    """A keep-alive connection to one URL, opened again when it is lost.

    Args:
        url: Where to send the body.
        body: Sent as it is, with POST.
    """

    def __init__(self, url: str, body: bytes) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/octet-stream\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._socket: socket.socket | None = None

    def ask_for(self, seconds: float) -> Record:
        """Ask again and again until a time is over."""
        until = time.perf_counter() + seconds
        return self._ask_while(lambda _: time.perf_counter() < until)

    def ask_times(self, count: int) -> Record:
        """Ask a number of times."""
        return self._ask_while(lambda record: len(record.latencies_s) < count)

    def _ask_while(self, goes_on: Callable[[Record], bool]) -> Record:
        record = Record()
        try:
            while goes_on(record):
                began = time.perf_counter()
                status = self._ask()
                record.latencies_s.append(time.perf_counter() - began)
                record.failed += status != _OK
        finally:
            self._close()
        return record

    def _ask(self) -> int:
        """Return the status of one answer, 0 when the connection is lost or the answer takes too long."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=_TIMEOUT_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(self._request)
            head = _receive_answer(self._socket)
        except OSError:
            self._close()
            return 0
        if b"connection: close" in head.lower():
            self._close()
        return int(head[9:12])

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _receive_answer(connection: socket.socket) -> bytes:
    """Read one answer to its end and return its head.

    Raises:
        OSError: The connection ended before the answer did, or nothing came for a long time.
    """
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _receive(connection)
    head, missing = received[:end], end + 4 - len(received)
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    missing += int(length[1]) if length is not None else 0
    while missing > 0:
        missing -= len(_receive(connection))
    return head


def _receive(connection: socket.socket) -> bytes:
    some = connection.recv(65536)
    if not some:
        raise ConnectionResetError
    return some
