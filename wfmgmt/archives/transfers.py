"""The wire side of a download: sockets to given addresses, under one deadline, with errors that can be shown."""

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import certifi

from wfmgmt.archives.urls import RemoteUrl
from wfmgmt.errors import DownloadFailed

_CHUNK_BYTES = 256 * 1024
_POLL_S = 0.2
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "wfmgmt"}

# From the particular to the general: the first class that an error is of is the reason.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "the TLS connection failed"),
    (socket.gaierror, "the host is not known"),
    (UnicodeError, "the host is not known"),
    (TimeoutError, "it did not answer in time"),
    (ConnectionRefusedError, "the connection was refused"),
    (http.client.IncompleteRead, "it ended before it was complete"),
    (ConnectionError, "the connection was lost"),
    (http.client.HTTPException, "the answer is not valid HTTP"),
    (ValueError, "the answer is not valid HTTP"),
    (OSError, "the host cannot be reached"),
)

# Family, type, protocol, canonical name and socket address, as `socket.getaddrinfo` lists them.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class Transfer:
    """One download under way: its deadline, and the live connection, which is shut down when time is up.

    Time-outs of sockets begin anew with each byte that arrives, so a thread watches the clock and the caller's wish to
    cancel. It holds a duplicate of the socket, which stays the same connection when TLS takes over the original.

    Args:
        url: The URL that was asked for; errors name it, also after redirects.
        timeout_s: Time for the whole download.
        cancelled: Says True once the caller has lost interest.
        timeout_setting: What errors call the setting of that time.
    """

    def __init__(
        self,
        url: RemoteUrl,
        timeout_s: float,
        cancelled: Callable[[], bool],
        *,
        timeout_setting: str = "",
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._timeout_setting = timeout_setting
        self._deadline = time.monotonic() + timeout_s
        self._cancelled = cancelled
        self._verdict: str | None = None
        self._lock = threading.Lock()
        self._live: socket.socket | None = None
        self._over = threading.Event()
        self._guard = threading.Thread(target=self._watch, name="download-deadline", daemon=True)

    def __enter__(self) -> Self:
        self._guard.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._guard.join()
        self._hold(None)

    def check(self) -> None:
        """Raise DownloadFailed if the deadline has passed or the caller cancelled."""
        if reason := self._ended():
            raise DownloadFailed(self._url.shown, reason)

    def failed(self, reason: str) -> DownloadFailed:
        """Return the error to raise: what ended the whole download, if anything did, goes before the given reason."""
        return DownloadFailed(self._url.shown, self._ended() or reason)

    def addresses(self, resolve: Callable[..., Sequence[Any]], hop: RemoteUrl) -> list[AddressInfo]:
        """Look up the addresses of a host; a lookup that outlives the deadline is left to itself."""
        answers: queue.SimpleQueue[list[AddressInfo] | OSError | UnicodeError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(list(resolve(hop.host, hop.port, type=socket.SOCK_STREAM)))
            except (OSError, UnicodeError) as exc:
                answers.put(exc)

        threading.Thread(target=look_up, name="download-lookup", daemon=True).start()
        while True:
            self.check()
            with contextlib.suppress(queue.Empty):
                answer = answers.get(timeout=min(_POLL_S, self._remaining_s()))
                break
        if isinstance(answer, list) and answer:
            return answer
        raise self.failed("the host is not known")

    def connect(self, addresses: Sequence[AddressInfo]) -> socket.socket:
        """Connect to the first address that answers; each has an even share of the time that is left."""
        failure = OSError()
        for position, info in enumerate(addresses):
            try:
                return self._connect_one(info, self._remaining_s() / (len(addresses) - position))
            except OSError as exc:
                failure = exc
        raise self.failed(_reason(failure)) from failure

    @contextlib.contextmanager
    def request(
        self,
        hop: RemoteUrl,
        authorization: str | None,
        connect: Callable[[], socket.socket],
        json: bytes | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send the request for one hop and yield the answer, of any status, with its body still to be read.

        Args:
            hop: What to request.
            authorization: Value of the header of that name; None for none.
            connect: Returns the socket to use; what wfmgmt raises there is passed on as it is.
            json: What to POST; None to GET.
        """
        method, more = ("GET", {}) if json is None else ("POST", {"Content-Type": "application/json"})
        headers = _HEADERS if authorization is None else {**_HEADERS, "Authorization": authorization}
        tls = ssl.create_default_context(cafile=certifi.where()) if hop.scheme == "https" else None
        with contextlib.closing(_Connection(hop, connect, tls)) as connection:
            with self._network_errors():
                connection.request(method, hop.target, json, headers | more)
                response = connection.getresponse()
            with response:
                yield response

    def body(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            DownloadFailed: It ended too early, or was ended.
        """
        missing = response.length  # None when only its end gives the length.
        while missing != 0:
            with self._network_errors():
                # Other ways to read would take an endless stream into memory for a chunk whose size is given as -1.
                chunk = response.read1(_CHUNK_BYTES if missing is None else min(_CHUNK_BYTES, missing))
            if not chunk:
                break
            yield chunk
            if missing is not None:
                missing -= len(chunk)
        if missing:
            raise self.failed("it ended before it was complete")
        self.check()  # A connection that was cut at the deadline looks like the end of a body of unknown length.

    def _connect_one(self, info: AddressInfo, timeout_s: float) -> socket.socket:
        family, kind, protocol, _, address = info
        sock = socket.socket(family, kind, protocol)
        try:
            self._hold(sock)
            self.check()
            # Zero would mean not to wait at all.
            sock.settimeout(max(timeout_s, 0.001))
            sock.connect(address)
            sock.settimeout(self._timeout_s)
            self.check()  # What ended it before the socket was connected could not shut the socket down.
        except BaseException:
            sock.close()
            raise
        return sock

    @contextlib.contextmanager
    def _network_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as exc:
            raise self.failed(_reason(exc)) from exc

    def _remaining_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0)

    def _ended(self) -> str | None:
        if self._verdict is None:
            if not self._remaining_s():
                setting = f" ({self._timeout_setting})" if self._timeout_setting else ""
                self._verdict = f"it was not complete after {self._timeout_s:g} s{setting}"
            elif self._cancelled():
                self._verdict = "it was cancelled"
        return self._verdict

    def _hold(self, sock: socket.socket | None) -> None:
        with self._lock:
            if self._live is not None:
                self._live.close()
            self._live = None if sock is None else sock.dup()

    def _watch(self) -> None:
        while self._ended() is None:
            if self._over.wait(min(_POLL_S, self._remaining_s())):
                return
        with self._lock, contextlib.suppress(OSError):
            if self._live is not None:
                self._live.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    """A connection whose socket comes from a given function; names and certificates stay those of the host.

    It follows no redirect, knows no proxy and keeps no cookie.

    Args:
        hop: Where it leads.
        open_socket: Returns the socket to use.
        tls: What to secure it with; None for http.
    """

    def __init__(self, hop: RemoteUrl, open_socket: Callable[[], socket.socket], tls: ssl.SSLContext | None) -> None:
        super().__init__(hop.host, hop.port)
        self.default_port = http.client.HTTP_PORT if tls is None else http.client.HTTPS_PORT  # `Host` leaves it out.
        self._open_socket = open_socket
        self._tls = tls

    def connect(self) -> None:
        self.sock = self._open_socket()
        if self._tls is not None:
            # A name may end in a dot, which no certificate has.
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host.removesuffix("."))


def _reason(error: BaseException) -> str:
    """Say what went wrong in words that give away nothing of this host, nor what the other side wrote."""
    return next(text for kind, text in _REASONS if isinstance(error, kind))
