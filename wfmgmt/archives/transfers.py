"""The wire side of a download: sockets to given addresses, under one deadline, with errors that can be shown."""

import contextlib
import functools
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from wfmgmt.archives.urls import RemoteUrl
from wfmgmt.errors import DownloadFailed

_CHUNK_BYTES = 256 * 1024
_POLL_S = 0.2
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "wfmgmt"}

# From the particular to the general: the first that is found anywhere among the causes of an error is the reason.
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
        url: The URL that was asked for; errors name it, whatever it redirects to.
        timeout_s: Time for the whole download.
        cancelled: Says True once the caller has lost interest.
        ca_bundle: File of the certificates to trust, instead of those that come with requests.
        timeout_setting: What errors call the setting of that time.
    """

    def __init__(
        self,
        url: RemoteUrl,
        timeout_s: float,
        cancelled: Callable[[], bool],
        *,
        ca_bundle: Path | None = None,
        timeout_setting: str = "",
    ) -> None:
        self._url = url
        self._ca_bundle = ca_bundle
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
    def get(
        self, hop: RemoteUrl, authorization: str | None, connect: Callable[[], socket.socket]
    ) -> Iterator[requests.Response]:
        """Send the request for one hop and hand out the answer, whatever its status, with its body still to be read.

        Args:
            hop: What to ask for.
            authorization: Value of the header of that name; None for none.
            connect: Returns the socket to use; what wfmgmt raises there is passed on as it is.
        """
        headers = _HEADERS if authorization is None else {**_HEADERS, "Authorization": authorization}
        # A session for each hop: nothing that one host sends, such as cookies, reaches another.
        with _session(connect, self._ca_bundle) as session:
            with self._network_errors():
                response = session.get(
                    hop.requested, headers=headers, timeout=self._timeout_s, stream=True, allow_redirects=False
                )
            with response:
                yield response

    def read(self, response: requests.Response) -> bytes:
        """Return the next bytes of the body, empty at its end."""
        with self._network_errors():
            # Other ways to read would take an endless stream into memory for a chunk whose size is given as -1.
            chunk: bytes = response.raw.read1(_CHUNK_BYTES, decode_content=False)
            return chunk

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
        except BaseException:
            sock.close()
            raise
        return sock

    @contextlib.contextmanager
    def _network_errors(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
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


class _Session(requests.Session):
    """A session that leaves redirects alone; requests would read their bodies, of any size, into memory."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find no redirect in any answer."""


class _Adapter(HTTPAdapter):
    """Sends requests over sockets that a given function connects."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect  # Needed already by what the base class calls.
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: ANN401, FBT001, FBT002 (the base class sets the signature)
        """Make the pools; called by the base class."""
        self.poolmanager = _PoolManager(self._connect, num_pools=connections, maxsize=maxsize, block=block)


class _PoolManager(urllib3.PoolManager):
    """Makes pools whose connections use a given function instead of looking their host up."""

    def __init__(self, connect: Callable[[], socket.socket], **pool_settings: Any) -> None:  # noqa: ANN401 (handed on)
        super().__init__(**pool_settings)
        self._connect = connect

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> urllib3.HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, request_context)
        kind = _TlsConnection if scheme == "https" else _PlainConnection
        pool.ConnectionCls = functools.partial(kind, connect=self._connect)  # type: ignore[assignment]
        return pool


class _PlainConnection(HTTPConnection):
    """A connection whose socket comes from a given function; names and certificates stay those of the host."""

    def __init__(self, *args: Any, connect: Callable[[], socket.socket], **settings: Any) -> None:  # noqa: ANN401 (handed on)
        super().__init__(*args, **settings)
        self._connect = connect

    def _new_conn(self) -> socket.socket:
        return self._connect()


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same with TLS on top."""


def _session(connect: Callable[[], socket.socket], ca_bundle: Path | None) -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.verify = True if ca_bundle is None else str(ca_bundle)
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(connect))
    return session


def _reason(error: BaseException) -> str:
    """Say what went wrong in words that give away nothing of this host, nor what the other side wrote."""
    causes = list(_causes(error))
    return next(text for kind, text in _REASONS if any(isinstance(cause, kind) for cause in causes))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those inside it; requests and urllib3 nest them in arguments, reasons and causes."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            nested = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
            waiting.extend(item for item in nested if isinstance(item, BaseException))
