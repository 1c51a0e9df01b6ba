"""gunicorn's threaded worker, whose threads never wait for a client.

gunicorn gives a connection to a thread, which reads the request and sends the answer, so a few clients that do their
part byte by byte can hold every thread. Here the worker's main loop collects each request; a thread sees it once it is
whole; and what a client does not take of the answer at once, the main loop sends. The same goes for the wait for the
client's end of a connection that is being closed, which gunicorn spends in the main loop itself.
"""

import io
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from types import FrameType
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidChunkSize,
    InvalidHTTPVersion,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
)
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from gunicorn.util import unquote_to_wsgi_str
from gunicorn.workers.gthread import TConn, ThreadWorker

from wfmgmt.api.application import MAX_BODY_BYTES
from wfmgmt.api.guard import ManagementGuard
from wfmgmt.deployment.answers import answer, host_of
from wfmgmt.deployment.client_socket import ClientSocket
from wfmgmt.deployment.housekeeping import Housekeeping
from wfmgmt.deployment.partial_request import PartialRequest
from wfmgmt.deployment.streamed_body import StreamedBody
from wfmgmt.deployment.upload_threads import UploadThreads
from wfmgmt.errors.uploads import TooManyUploads
from wfmgmt.http.answers import WRONG_VERSION, status_and_type

#: How long a client may take to send a request, to accept an answer, and to close its end.
CLIENT_TIMEOUT_S = 10
#: The same once the worker stops.
STOPPING_TIMEOUT_S = 2
#: How long a worker that is only replaced may go on for its clients: in effect, as long as they need.
MAX_REPLACED_S = 24 * 3600
_VERSION = (1, 1)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUSES = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
_TOO_LARGE: dict[int, str] = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is larger than {MAX_BODY_BYTES} bytes.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The request line is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers are too large.",
}


class _NoHost(ParseException):  # type: ignore[misc]  # gunicorn has no types
    """A request of HTTP/1.1 does not name a host, as RFC 9112 has it."""

    def __str__(self) -> str:
        return "the header Host is missing"


class BufferingThreadWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """The web worker of the management plane.

    Everything but `handle` and what it calls runs in the main loop. Connections that wait for their client are in
    `pending_conns`, oldest first, from where gunicorn closes them when their time is over.

    Attributes:
        guard: Refuses requests of web pages before their bodies are there; the application refuses all others of them.
        housekeeping: What this web worker does beside; None until it has begun to.
        uploads: For requests whose bodies are files, which have threads of their own; None when there are none.
    """

    guard: ManagementGuard | None = None
    housekeeping: Housekeeping | None = None
    uploads: UploadThreads | None = None

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Return the pool with all its threads started, so that none is missing once clients wait.

        Raises:
            RuntimeError: The system has no room for them.
        """
        pool = ThreadPoolExecutor(self.cfg.threads)
        all_run = threading.Barrier(self.cfg.threads)
        try:
            for _ in range(self.cfg.threads):
                pool.submit(all_run.wait)
        except RuntimeError:
            all_run.abort()
            raise
        return pool

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection and wait for its request."""
        if self.cfg.is_ssl:
            super().accept(listener)
            return
        try:
            accepted, address = listener.accept()
        except OSError as error:
            # Another worker was quicker, the client is gone again, or the system is out of something for now.
            self.log.debug("Could not accept a connection: %s", error)
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, ClientSocket(accepted), address, listener.getsockname())
        conn.data_ready = True
        self._collect(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do, and keep a place free for the next connection."""
        super().wait_for_and_dispatch_events(timeout)
        while self.nr_conns >= self.worker_connections and self._close_one_that_waits():
            pass

    def _close_one_that_waits(self) -> bool:
        """Close the connection that has waited for longest for a request, or for the rest of one.

        Those that a thread answers, or that still take their answer, stay. Both queues are in the order of waiting.
        """
        idle = next(iter(self.keepalived_conns), None)
        pending = next((conn for conn in self.pending_conns if not conn.sock.unsent), None)
        if idle and (not pending or idle.timeout - self.cfg.keepalive <= pending.timeout - CLIENT_TIMEOUT_S):
            self.keepalived_conns.remove(idle)
            self.poller.unregister(idle.sock)
            self._close(idle)
        elif pending:
            self._stop_waiting(pending)
            self._close(pending)
        return bool(idle or pending)

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - the base class sets the signature
        """Accept connections or not; the last call is that of a worker that stops, which has little patience."""
        super().set_accept_enabled(enabled)
        if self._is_stopping:
            deadline = time.monotonic() + STOPPING_TIMEOUT_S
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, deadline)

    @property
    def _is_stopping(self) -> bool:
        """Whether clients get less time: not in a worker that is only replaced."""
        return not self.alive and (self.housekeeping is None or self.housekeeping.is_service_stopping)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Take the next request of a connection that was kept alive."""
        if not isinstance(client, ClientSocket):
            super().on_client_socket_readable(conn, client)
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._collect(conn)

    def _collect(self, conn: TConn, received: bytes = b"") -> None:
        """Begin a request, with what has been received of it already."""
        conn.request = PartialRequest(streams=self.uploads is not None)
        data = received or conn.sock.receive()
        if data is not None and self._has_all(conn, data):
            self._proceed(conn)
        else:
            self._wait(conn, selectors.EVENT_READ, self._collect_more)

    def _collect_more(self, conn: TConn, client: ClientSocket) -> None:
        data = client.receive()
        if data is not None and self._has_all(conn, data):
            self._stop_waiting(conn)
            self._proceed(conn)

    def _has_all(self, conn: TConn, data: bytes) -> bool:
        """Add to a request; return whether there is nothing more to wait for."""
        request: PartialRequest = conn.request
        if not data:
            request.is_broken_off = True
        elif not request.add(data):
            if self._is_refused(conn, request):
                return True
            if request.expects_continue:
                request.expects_continue = False
                conn.sock.sendall(_CONTINUE)
                conn.sock.flush()
            return False
        return True

    def _is_refused(self, conn: TConn, request: PartialRequest) -> bool:
        """Check a request once its head is there; gunicorn's parser reads it, as it will when the body has come."""
        if self.guard is None or request.head is None or request.is_checked:
            return False
        request.is_checked = True
        try:
            parsed = Request(self.cfg, IterUnreader([request.head]), conn.client)
        except ParseException:
            return False  # A thread finds what is wrong with it.

        def header(name: str) -> str | None:
            values = [value for key, value in parsed.headers if key == name.upper()]
            return ",".join(values) if values else None

        path = unquote_to_wsgi_str(parsed.path)
        request.refused = self.guard.refusal(parsed.method, path, header, client=host_of(conn.client))
        return request.refused is not None

    def _proceed(self, conn: TConn) -> None:
        """Give a whole request to a thread, refuse one that is too large, close a connection that ended."""
        request: PartialRequest = conn.request
        if request.is_broken_off:
            self._close(conn)
        elif request.refusal:
            answer(conn.sock, conn.client, request.refusal, _TOO_LARGE[request.refusal], request_id=request.request_id)
            self._finish(conn, None)
        elif request.refused:
            error, request_id = request.refused
            status, kind = status_and_type(error)
            answer(conn.sock, conn.client, status, str(error), request_id=request_id, kind=kind)
            self._finish(conn, None)
        elif request.is_streamed and self.uploads is not None:
            self._begin_upload(conn, self.uploads)
        else:
            self._init(conn)
            self.enqueue_req(conn)

    def _init(self, conn: TConn) -> None:
        conn.init()
        conn.parser.unreader.unread(bytes(conn.request.received))

    def take_uploads(self, *, max_uploads: int, timeout_s: float, is_stopping: Callable[[], bool]) -> None:
        """Take requests whose bodies are files from now on; the arguments are those of `UploadThreads`."""
        self.uploads = UploadThreads(max_uploads=max_uploads, timeout_s=timeout_s, is_stopping=is_stopping)

    def _begin_upload(self, conn: TConn, uploads: UploadThreads) -> None:
        """Give a request to a thread of its own, which may wait for the body, unless there are too many."""
        self._init(conn)
        answered = uploads.begin(conn.sock, partial(self.handle, conn), is_held_back=conn.request.expects_continue)
        if answered is None:
            error = TooManyUploads()
            status, kind = status_and_type(error)
            more = {"Retry-After": str(error.retry_after_s)}
            answer(conn.sock, conn.client, status, str(error), request_id=conn.request.request_id, kind=kind, more=more)
            self._finish(conn, None)
        else:
            answered.add_done_callback(lambda done: self.method_queue.defer(self._end_upload, uploads, conn, done))

    def _end_upload(self, uploads: UploadThreads, conn: TConn, answered: "Future[Any]") -> None:
        uploads.end(conn.sock)
        self._finish(conn, answered)

    def handle(self, conn: TConn) -> Any:  # noqa: ANN401 - gunicorn's own value
        """Answer one request. Runs in a thread."""
        result = super().handle(conn)
        if isinstance(conn.sock, ClientSocket):
            conn.sock.end_answer()
            conn.sock.flush()
        return result

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """Call the application, with the body read: what is wrong with it is the client's error, not ours."""
        if isinstance(conn.sock, ClientSocket):
            if conn.request.is_streamed:
                req.body = StreamedBody(req.body)
                req.force_close()  # Where the next request would begin is known only if all of the body is read.
            else:
                try:
                    req.body = io.BytesIO(req.body.read())
                except NoMoreData as error:
                    raise InvalidChunkSize(b"larger than the body") from error
            if req.version >= _VERSION and not any(name == "HOST" for name, _ in req.headers):
                raise _NoHost
            req.version = min(req.version, _VERSION)  # gunicorn would answer with that of the request.
        is_kept: bool = super().handle_request(req, conn)
        return is_kept

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Go on with a connection that a thread is done with."""
        if isinstance(conn.sock, ClientSocket):
            self._finish(conn, fs)
        else:
            super().finish_request(conn, fs)

    def _finish(self, conn: TConn, answered: "Future[Any] | None") -> None:
        """Send what is left of an answer, then wait for the next request, or for the client to close its end."""
        conn.sock.flush()
        if conn.sock.unsent:
            self._wait(conn, selectors.EVENT_WRITE, partial(self._send_more, answered))
        elif answered is None or answered.cancelled() or answered.exception() or not answered.result():
            self._linger(conn)
        elif received := conn.parser.unreader.take_buffered():
            self._collect(conn, received)
        else:
            super().finish_request(conn, answered)

    def _send_more(self, answered: "Future[Any] | None", conn: TConn, client: ClientSocket) -> None:
        client.flush()
        if not client.unsent:
            self._stop_waiting(conn)
            self._finish(conn, answered)

    def _linger(self, conn: TConn) -> None:
        """End our side and throw away what the client still sends: closing at once could cost it the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
        else:
            self._wait(conn, selectors.EVENT_READ, self._linger_on)

    def _linger_on(self, conn: TConn, client: ClientSocket) -> None:
        if client.receive() == b"":
            self._stop_waiting(conn)
            self._close(conn)

    def _wait(self, conn: TConn, event: int, callback: Callable[[TConn, ClientSocket], None]) -> None:
        conn.timeout = time.monotonic() + (STOPPING_TIMEOUT_S if self._is_stopping else CLIENT_TIMEOUT_S)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, event, partial(callback, conn))

    def _stop_waiting(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def notify(self) -> None:
        """Show that the main loop runs; gunicorn calls this once a second at least, also while a worker stops."""
        super().notify()
        if self.housekeeping is None:
            return
        self.housekeeping.beat()
        if self.housekeeping.is_service_stopping or self.ppid != os.getppid():
            self.housekeeping.stop_soon()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; those under way end soon when the service stops, and in their own time otherwise."""
        if self.housekeeping is not None and not self.housekeeping.is_service_stopping:
            # Every request under way has a bound of its own: a registration its time-outs, a slow client the above.
            self.cfg.set("graceful_timeout", MAX_REPLACED_S)
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once; registrations under way are undone."""
        if self.housekeeping is not None:
            self.housekeeping.stop_now()
        super().handle_quit(sig, frame)

    def handle_error(self, req: object, client: socket.socket, addr: object, exc: BaseException) -> None:
        """Answer a request that is not HTTP in the one shape that errors have."""
        del req
        if isinstance(exc, InvalidHTTPVersion) and isinstance(exc.version, tuple):  # Else it is another protocol.
            answer(client, addr, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, WRONG_VERSION)
        elif isinstance(exc, ParseException):
            status = _STATUSES.get(type(exc), HTTPStatus.BAD_REQUEST)
            answer(client, addr, status, f"The request is not valid HTTP: {exc}")
        else:
            self.log.error("Error handling a request", exc_info=exc)
            answer(client, addr, HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error.")
