"""gunicorn's threaded worker, with slow clients kept away from its threads.

gunicorn gives a connection to a thread and lets the thread read the request, so a few clients that send byte by byte
can hold every thread. Here the worker's main loop collects each request, and a thread sees it once it is whole.
"""

import re
import socket
import struct
import time
from functools import partial
from types import FrameType

from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import TConn, ThreadWorker

from wfmgmt.domain.wire import FRAMEWORK_TYPES, NO_CACHE, REQUEST_ID, error_body, sane_request_id

#: How long a client may take to send a request.
READ_TIMEOUT_S = 10
#: How long a client may take to accept the next part of an answer.
SEND_TIMEOUT_S = 5
#: What is larger than this goes to a thread unread, to be refused there.
LARGEST_REQUEST_BYTES = 256 * 1024
_HEADERS_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_STATUSES = {LimitRequestLine: 414, LimitRequestHeaders: 431, ExpectationFailed: 417}


def is_whole(request: bytes | bytearray) -> bool:
    """Return whether these bytes hold a whole request, or can never become one that is worth waiting for."""
    if len(request) > LARGEST_REQUEST_BYTES:
        return True
    end = request.find(_HEADERS_END)
    if end < 0:
        return False
    head = request[: end + len(_HEADERS_END)]
    if _CHUNKED.search(head):
        return request.endswith(b"0\r\n\r\n")
    found = _LENGTH.search(head)
    length = int(found[1]) if found else 0
    return length > LARGEST_REQUEST_BYTES or len(request) >= len(head) + length


class BufferingThreadWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The web worker of the management plane."""

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection and wait for its request in the main loop."""
        if self.cfg.is_ssl:
            super().accept(listener)
            return
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        limit = struct.pack("ll", SEND_TIMEOUT_S, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        conn = TConn(self.cfg, client, address, listener.getsockname())
        self._collect(conn)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Take the next request of a kept-alive connection."""
        if self.cfg.is_ssl:
            super().on_client_socket_readable(conn, client)
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._collect(conn)

    def _collect(self, conn: TConn) -> None:
        """Read what is there of a request; when that is not all, go on when there is more."""
        conn.received = bytearray()
        if not self._receive(conn):
            conn.timeout = time.monotonic() + READ_TIMEOUT_S
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, 1, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Read more of a request."""
        if not hasattr(conn, "received"):
            super().on_pending_socket_readable(conn, client)
        elif self._receive(conn):
            self.poller.unregister(client)
            self.pending_conns.remove(conn)

    def _receive(self, conn: TConn) -> bool:
        """Read once; return whether the main loop is done with the connection for now."""
        try:
            data = conn.sock.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.nr_conns -= 1
            conn.close()
            return True
        conn.received += data
        if not is_whole(conn.received):
            self._encourage(conn)
            return False
        conn.data_ready = True
        conn.init()
        conn.parser.unreader.unread(bytes(conn.received))
        self.enqueue_req(conn)
        return True

    @staticmethod
    def _encourage(conn: TConn) -> None:
        """Tell a client to send the body that it holds back, once."""
        if _HEADERS_END in conn.received and _EXPECTS.search(conn.received) and not hasattr(conn, "encouraged"):
            conn.encouraged = True
            conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; registrations under way end soon, one way or the other."""
        if self.alive:
            self.housekeeping.stop_soon()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once; registrations under way are undone."""
        self.housekeeping.stop_now()
        super().handle_quit(sig, frame)

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: BaseException) -> None:
        """Answer a request that is not HTTP in the one shape that errors have."""
        del req, addr
        if isinstance(exc, ParseException):
            status, message = _STATUSES.get(type(exc), 400), f"The request is not valid HTTP: {exc}"
        else:
            self.log.error("Error handling a request", exc_info=exc)
            status, message = 500, "Internal server error."
        body = error_body(status, FRAMEWORK_TYPES[status], message).encode("utf-8", "replace")
        headers = {
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            REQUEST_ID: sane_request_id(None),
            **NO_CACHE,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            write_nonblock(client, f"HTTP/1.1 {status} {FRAMEWORK_TYPES[status]}\r\n{lines}\r\n".encode() + body)
        except OSError:
            self.log.debug("Could not answer a request that is not HTTP")
