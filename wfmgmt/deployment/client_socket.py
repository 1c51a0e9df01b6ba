"""The connection of a client of the management address."""

import errno
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from wfmgmt.errors import ShuttingDown
from wfmgmt.errors.uploads import UploadTooSlow

_RECEIVE_BYTES = 64 * 1024
_BODY_BYTES = 256 * 1024
#: How often a thread that waits for a client looks whether the service stops.
_LOOK_MS = 500
#: How long a thread waits for a client to take a piece of an answer that is made while it is sent.
_TAKING_S = 10.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientSocket(socket.socket):
    """A client's connection, on which nothing waits but a thread for the body of an upload, or in an export.

    What cannot be sent now is kept for later.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        super().setblocking(False)  # noqa: FBT003 - the standard library takes no keyword
        self.unsent = bytearray()
        self._wait_for_body: Callable[[], None] | None = None
        self._wait_for_client: Callable[[], None] | None = None
        self._is_gone = False

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - the base class sets the signature
        """Leave it as it is: gunicorn's threads would have it block."""

    def settimeout(self, value: float | None, /) -> None:
        """Leave it as it is."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return what has come of the body of an upload, once something has.

        All other requests get to a thread when they are whole, so what it misses will not come: the end of the stream.

        Raises:
            UploadTooSlow: The time for the body is over.
            ShuttingDown: The service stops.
        """
        if self._wait_for_body is None:
            return b""
        while True:
            self._wait_for_body()
            try:
                return super().recv(min(bufsize, _BODY_BYTES), flags)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    def expect_body(self, timeout_s: float, is_stopping: Callable[[], bool], *, is_held_back: bool) -> None:
        """Have `recv` wait for a body.

        Args:
            timeout_s: How long the whole of it may take.
            is_stopping: Becomes true when the service stops.
            is_held_back: Whether the client waits for `100 Continue` before it sends the body.
        """
        until = time.monotonic() + timeout_s
        due = [_CONTINUE] if is_held_back else []
        poll = select.poll()
        poll.register(self, select.POLLIN)

        def wait() -> None:
            if due:
                self.unsent += due.pop()
            self.flush()
            poll.poll(_LOOK_MS)
            if is_stopping():
                raise ShuttingDown("The server is stopping.")
            if time.monotonic() > until:
                raise UploadTooSlow(timeout_s)

        self._wait_for_body = wait

    def end_body(self) -> None:
        """Wait for nothing more; a client that was not asked for its body need not send it."""
        self._wait_for_body = None

    def send(self, data: Any, flags: int = 0, /) -> int:  # noqa: ANN401 - any buffer, as in the base class
        """Send nothing: only gunicorn's `100 Continue` comes this way, which the client has when it is due."""
        del flags
        return len(data)

    def receive(self) -> bytes | None:
        """Return what has arrived, None when nothing has, nothing at the end of the stream."""
        try:
            return super().recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def sendall(self, data: Any, flags: int = 0, /) -> None:  # noqa: ANN401 - any buffer, as in the base class
        """Keep what is to be sent; an answer comes in parts and leaves in one piece."""
        del flags
        self.unsent += data
        if self._wait_for_client is not None:
            self._wait_for_client()

    def bound_unsent(self, max_bytes: int, is_stopping: Callable[[], bool]) -> None:
        """Have `sendall` wait for the client while more than this is unsent: an answer may be larger than memory.

        It raises `BrokenPipeError` when the client is gone, when it has not taken as much in ten seconds of waiting, by
        however many calls, and when the service stops.
        """
        waited_s, taken_bytes = 0.0, 0
        poll = select.poll()
        poll.register(self, select.POLLOUT)

        def wait() -> None:
            nonlocal waited_s, taken_bytes
            while (unsent_bytes := len(self.unsent)) > max_bytes:
                began = time.monotonic()
                poll.poll(_LOOK_MS)
                waited_s += time.monotonic() - began
                self.flush()
                taken_bytes += unsent_bytes - len(self.unsent)
                if taken_bytes >= max_bytes:
                    waited_s, taken_bytes = 0.0, 0
                if self._is_gone or waited_s > _TAKING_S or is_stopping():
                    self.unsent.clear()
                    raise BrokenPipeError(errno.EPIPE, "the client does not take its answer")

        self._wait_for_client = wait

    def end_answer(self) -> None:
        """Wait for the client no more."""
        self._wait_for_client = None

    def flush(self) -> None:
        """Send what the client takes; a client that is gone takes everything."""
        try:
            while self.unsent:
                del self.unsent[: super().send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._is_gone = True
            self.unsent.clear()
