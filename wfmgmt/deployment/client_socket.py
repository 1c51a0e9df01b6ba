"""The connection of a client of the management address."""

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from wfmgmt.errors import ShuttingDown
from wfmgmt.errors.uploads import UploadTooSlow

_RECEIVE_BYTES = 64 * 1024
_BODY_BYTES = 256 * 1024
#: How often a thread that waits for a body looks whether the service stops.
_LOOK_MS = 500
#: How long a client may take for a piece of an answer that is made while it is sent.
_TAKING_S = 10.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientSocket(socket.socket):
    """A client's connection, on which nothing waits but a thread for the body of an upload.

    What cannot be sent now is kept for later.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        super().setblocking(False)  # noqa: FBT003 - the standard library takes no keyword
        self.unsent = bytearray()
        self._wait_for_body: Callable[[], None] | None = None
        self._max_unsent_bytes: int | None = None

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
        if self._max_unsent_bytes is not None and len(self.unsent) > self._max_unsent_bytes:
            self._wait_for_client(self._max_unsent_bytes)

    def bound_unsent(self, max_bytes: int | None) -> None:
        """Have `sendall` wait for the client when so much is unsent: an answer may be larger than memory."""
        self._max_unsent_bytes = max_bytes

    def _wait_for_client(self, max_bytes: int) -> None:
        """Send until no more than this is unsent.

        Raises:
            BrokenPipeError: The client has not taken that in time.
        """
        until = time.monotonic() + _TAKING_S
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        while len(self.unsent) > max_bytes:
            if time.monotonic() > until:
                self.unsent.clear()
                raise BrokenPipeError
            poll.poll(_LOOK_MS)
            self.flush()

    def flush(self) -> None:
        """Send what the client takes; a client that is gone takes everything."""
        try:
            while self.unsent:
                del self.unsent[: super().send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.unsent.clear()
