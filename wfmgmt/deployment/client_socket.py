"""The connection of a client of the management address."""

import socket
from typing import Any

_RECEIVE_BYTES = 64 * 1024


class ClientSocket(socket.socket):
    """A client's connection, on which nothing ever waits. What cannot be sent now is kept for later."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        super().setblocking(False)  # noqa: FBT003 - the standard library takes no keyword
        self.unsent = bytearray()

    def setblocking(self, flag: bool, /) -> None:  # noqa: FBT001 - the base class sets the signature
        """Leave it as it is: gunicorn's threads would have it block."""

    def settimeout(self, value: float | None, /) -> None:
        """Leave it as it is."""

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return the end of the stream: a thread gets whole requests, so what it misses will not come."""
        del bufsize, flags
        return b""

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

    def flush(self) -> None:
        """Send what the client takes; a client that is gone takes everything."""
        try:
            while self.unsent:
                del self.unsent[: self.send(self.unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.unsent.clear()
