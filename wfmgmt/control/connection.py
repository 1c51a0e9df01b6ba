"""Connections to the runtime: HTTP over its control socket, each call with a deadline."""

import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfmgmt.errors import ShuttingDown

#: How often a connection is attempted while the runtime is busy with others.
CONNECT_INTERVAL_S = 0.02
_MAX_SOCKET_PATH = 100


@contextmanager
def short_socket_path(path: Path) -> Iterator[str]:
    """Give a path to the socket that fits into a socket address, which holds about 100 bytes.

    A longer one is reached through an open descriptor of its folder, which Linux shows under /proc.
    """
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@dataclass(slots=True)
class Deadline:
    """When the calls on a socket have to be over.

    Attributes:
        timeout_s: How long the runtime may be silent.
        at: On the monotonic clock.
        wait: What the runtime holds its response back for; each sign of life renews the deadline meanwhile.
    """

    timeout_s: float
    at: float = 0.0
    wait: "Wait | None" = None

    def begin(self, wait: "Wait | None" = None) -> None:
        """Begin a part of a call."""
        self.at, self.wait = time.monotonic() + self.timeout_s, wait

    def renew(self) -> None:
        """Give the runtime more time before it is listened to, if it may hold its response back."""
        if self.wait is not None:
            self.wait.check()
            self.at = min(time.monotonic(), self.wait.until) + self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A wait for the runtime to finish something.

    Attributes:
        until: On the monotonic clock.
        cancelled: Ends the wait.
        consequence: What that means, for the client.
    """

    until: float
    cancelled: Callable[[], bool]
    consequence: str

    @property
    def query(self) -> str:
        """The parameter that says how long the runtime may hold its response back."""
        return f"wait_s={max(self.until - time.monotonic(), 0.0)}"

    def check(self) -> None:
        """Raise `ShuttingDown` when the wait is cancelled."""
        if self.cancelled():
            raise ShuttingDown(f"The server is stopping; {self.consequence}.")


class DeadlineSocket(socket.socket):
    """A Unix socket all of whose calls together have one deadline, however slowly bytes drip in."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline = deadline

    def _limit_next_call(self) -> float:
        left_s = self._deadline.at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)
        return left_s

    def connect(self, address: Any, /) -> None:  # noqa: ANN401 - as in the base class
        """Connect, waiting while the listener's queue is full: a Unix socket refuses to do so by itself."""
        while True:
            left_s = self._limit_next_call()
            try:
                super().connect(address)
            except BlockingIOError:
                time.sleep(min(CONNECT_INTERVAL_S, left_s))
            else:
                return

    def sendall(self, data: Any, flags: int = 0, /) -> None:  # noqa: ANN401 - as in the base class
        """Send everything within the time that is left."""
        self._limit_next_call()
        super().sendall(data, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0, /) -> int:  # noqa: ANN401 - as in the base class
        """Receive what has come within the time that is left, or lies there when it is over.

        After a pause of the machine the time may be over although the response came in time.
        """
        self._deadline.renew()
        with contextlib.suppress(TimeoutError):
            self._limit_next_call()
            return super().recv_into(buffer, nbytes, flags)
        self.settimeout(0)
        try:
            return super().recv_into(buffer, nbytes, flags)
        except BlockingIOError:
            raise TimeoutError from None


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, each call with a deadline."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("runtime")
        self._path = path
        self.deadline = Deadline(timeout_s)
        self.deadline.begin()

    def __del__(self) -> None:
        self.close()

    def connect(self) -> None:
        """Connect to the runtime."""
        self.sock = DeadlineSocket(self.deadline)
        with short_socket_path(self._path) as address:
            self.sock.connect(address)

    def call(self, method: str, path: str, payload: bytes | None, wait: Wait | None) -> tuple[int, bytes]:
        """Return status and content of a response; after an error the connection is closed."""
        try:
            self.deadline.begin()
            # Only now: a call that is repeated has less time left.
            target = f"{path}{'&' if '?' in path else '?'}{wait.query}" if wait else path
            self.request(method, target, payload, {"Content-Type": "application/json"})
            self.deadline.begin(wait)
            response = self.getresponse()  # It passes over the interim responses, which are signs of life.
            self.deadline.begin()
            return response.status, response.read()
        except BaseException:
            self.close()
            raise


class OwnConnection(threading.local):
    """One connection per thread."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.http = UnixConnection(path, timeout_s)
