"""Downloads: checked addresses, one deadline, a limit on real bytes, and nothing left behind by a failure."""

import contextlib
import functools
import hashlib
import http.client
import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO

from wfmgmt.archives.addresses import is_public
from wfmgmt.archives.durable import full_disk_reported, new_durable_file
from wfmgmt.archives.progress import ByteCounter, ignore_bytes
from wfmgmt.archives.transfers import Transfer
from wfmgmt.archives.urls import RemoteUrl
from wfmgmt.errors import BadRequest, DownloadFailed, RelativePathRefused, UrlNotAllowed

_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def _never() -> bool:
    return False


class Fetcher:
    """Downloads archives from the addresses that the settings let through.

    Without `allowed_urls`, every address that a host name stands for has to be public, and the socket is connected to
    one of those very addresses, so a name cannot change its meaning between the check and the connection. With
    `allowed_urls`, one of the patterns has to match the whole URL as it was given, but without credentials and
    fragment; the address does not matter then. Every redirect is checked like the first URL.

    Credentials in a URL are sent to its own scheme, host and port only. Proxies, `.netrc` and certificate bundles
    named in the environment are ignored. One fetcher may be used by many threads.

    Args:
        allowed_urls: Patterns of the URLs that may be fetched; none means public addresses only.
        timeout_s: Longest time for one whole download: names, connections, redirects and body.
        limit_bytes: Largest archive.
        max_redirects: Redirects that are followed for one download.
        resolve: Looks up the addresses of a host; called as `resolve(host, port, type=socket.SOCK_STREAM)`.
    """

    def __init__(
        self,
        *,
        allowed_urls: Sequence[re.Pattern[str]],
        timeout_s: float,
        limit_bytes: int,
        max_redirects: int = 5,
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        self._allowed_urls = tuple(allowed_urls)
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        self._max_redirects = max_redirects
        self._resolve = resolve

    def check(self, url: RemoteUrl) -> None:
        """Refuse what can be refused without the network: a URL or a literal address that is not let through.

        Raises:
            UrlNotAllowed: The settings do not let the URL through.
        """
        if self._allowed_urls:
            if not any(pattern.fullmatch(url.requested) for pattern in self._allowed_urls):
                raise UrlNotAllowed(url.shown, "it has to match one of the patterns in WFMGMT_ALLOWED_URLS")
            return
        literal = _literal_address(url.host)
        if literal is not None and not is_public(literal):
            raise _not_public(url)

    def fetch(
        self,
        url: RemoteUrl,
        into: Path,
        cancelled: Callable[[], bool] = _never,
        on_bytes: ByteCounter = ignore_bytes,
    ) -> str:
        """Download an archive into a new file and return its SHA-256 in hexadecimal digits.

        The file is durable when this returns; it does not exist when this raises.

        Args:
            url: Where the archive is.
            into: A path at which nothing exists.
            cancelled: Called now and then, from another thread too; once it returns True, the download fails.
            on_bytes: Called with what has arrived.

        Raises:
            UrlNotAllowed: The settings do not let the URL, or one that it redirects to, through.
            DownloadFailed: The archive did not arrive whole, in time and within the limit.
            InsufficientStorage: The disk is full.
        """
        self.check(url)
        with (
            full_disk_reported(),
            new_durable_file(into) as file,
            Transfer(url, self._timeout_s, cancelled, timeout_setting="WFMGMT_DOWNLOAD_TIMEOUT_S") as transfer,
        ):
            return self._follow(url, file, transfer, on_bytes)

    def post(self, url: RemoteUrl, json: bytes) -> None:
        """Send something to an address, by the same rules; redirects are not followed.

        Raises:
            UrlNotAllowed: The settings do not let the URL through.
            DownloadFailed: It did not answer with 2xx in time.
        """
        self.check(url)
        with Transfer(url, self._timeout_s, _never) as transfer:
            connect = functools.partial(self._connect, url, transfer)
            with transfer.request(url, url.authorization, connect, json) as response:
                transfer.check()  # A connection that was cut at the deadline looks like the end of the headers.
                if response.status // 100 != _OK // 100:
                    raise transfer.failed(f"it answered with status {response.status}")

    def _follow(self, url: RemoteUrl, file: BinaryIO, transfer: Transfer, on_bytes: ByteCounter) -> str:
        hop, authorization = url, url.authorization
        for _ in range(self._max_redirects + 1):
            with transfer.request(hop, authorization, functools.partial(self._connect, hop, transfer)) as response:
                if response.status not in _REDIRECTS:
                    return self._receive(response, file, transfer, on_bytes)
                target = _redirect_target(hop, response, transfer)
            self.check(target)
            same_origin = target.origin == hop.origin
            authorization = target.authorization or (authorization if same_origin else None)
            hop = target
        raise transfer.failed(f"it redirects more than {self._max_redirects} times")

    def _connect(self, hop: RemoteUrl, transfer: Transfer) -> socket.socket:
        """Connect to the host of a hop; without `allowed_urls`, only if all its addresses are public."""
        found = transfer.addresses(self._resolve, hop)
        if not self._allowed_urls and not all(is_public(str(address[0])) for *_, address in found):
            raise _not_public(hop)
        return transfer.connect(found)

    def _receive(
        self, response: http.client.HTTPResponse, file: BinaryIO, transfer: Transfer, on_bytes: ByteCounter
    ) -> str:
        """Stream the body of an answer into the file and return its digest."""
        self._check_answer(response, transfer)
        declared_bytes = response.length
        on_bytes(0, declared_bytes)
        digest, size_bytes = hashlib.sha256(), 0
        for chunk in transfer.body(response):
            size_bytes += len(chunk)
            if size_bytes > self._limit_bytes:
                raise transfer.failed(self._too_large())
            digest.update(chunk)
            file.write(chunk)
            on_bytes(size_bytes, declared_bytes)
        if not size_bytes:
            raise transfer.failed("the answer is empty")
        return digest.hexdigest()

    def _check_answer(self, response: http.client.HTTPResponse, transfer: Transfer) -> None:
        if response.status != _OK:
            raise transfer.failed(f"it answered with status {response.status}")
        if response.getheader("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise transfer.failed("the answer has a Content-Encoding, which was not asked for")
        if response.getheader("Transfer-Encoding", "chunked").strip().lower() != "chunked":
            raise transfer.failed("the answer has an unknown Transfer-Encoding")
        declared = response.getheader("Content-Length")
        if declared is None:
            return
        if not re.fullmatch(r"[0-9]{1,18}", declared):
            raise transfer.failed("the answer has no valid Content-Length")
        if int(declared) > self._limit_bytes:
            raise transfer.failed(self._too_large())

    def _too_large(self) -> str:
        return f"it is larger than {self._limit_bytes} bytes (WFMGMT_DOWNLOAD_LIMIT_MB)"


def _redirect_target(hop: RemoteUrl, response: http.client.HTTPResponse, transfer: Transfer) -> RemoteUrl:
    location = response.getheader("Location")
    if location is None:
        raise transfer.failed(f"it answered with status {response.status} without a Location")
    try:
        return hop.redirected(location)
    except (BadRequest, RelativePathRefused, DownloadFailed) as exc:
        raise transfer.failed("it redirects to an address that is not valid") from exc


def _not_public(url: RemoteUrl) -> UrlNotAllowed:
    hint = "a host whose addresses are not all public has to be let through by a pattern in WFMGMT_ALLOWED_URLS"
    return UrlNotAllowed(url.shown, hint)


def _literal_address(host: str) -> str | None:
    """Return the address that a host is in any of the forms the C library takes; None if it is a name."""
    with contextlib.suppress(ValueError):
        return str(ip_address(host))
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    return None
