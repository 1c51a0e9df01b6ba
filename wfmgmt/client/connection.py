"""HTTP to the two addresses of one service: time-outs, repeated attempts, and errors as exceptions."""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

import requests

from wfmgmt import __version__
from wfmgmt.client.call import IDEMPOTENCY_KEY, Answer, Call, Plane
from wfmgmt.client.errors import ClientError, ConflictStatus, Refused, TimedOut, Unreachable
from wfmgmt.client.form_files import FormBody

#: How long a connection may take to be made.
CONNECT_TIMEOUT_S = 5.0
#: Pauses before a request is sent again whose connection was lost.
PAUSES_S = (0.1, 0.3, 0.6)
_MAX_SHOWN_CHARS = 300
#: What separates the parts of forms: random, so that no file has it in it.
_BOUNDARY = uuid.uuid4().hex
#: Called with how many bytes of a file are sent, of how many.
SentCallback = Callable[[int, int], None]


class Connection:
    """HTTP to the two addresses of one service; for one thread at a time.

    Args:
        urls: The address of each plane that can be called.
        token: What every request carries as `Authorization: Bearer`; nothing when empty.
        timeout_s: How long an answer may take, with all attempts, unless the request itself says longer.

    Raises:
        ValueError: A URL is not the address of a server.
    """

    def __init__(self, urls: Mapping[Plane, str], *, token: str = "", timeout_s: float) -> None:
        self._urls = {plane: server_url(url) for plane, url in urls.items()}
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"wfmgmt/{__version__}"
        self._session.auth = _Bearer(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()

    def url(self, call: Call[Any]) -> str:
        """Return where a request is sent to.

        Raises:
            ValueError: The address of that plane is not known.
        """
        if call.plane not in self._urls:
            raise ValueError(f"the {call.plane} address of the service was not given")
        return self._urls[call.plane] + call.target

    def exchange(self, call: Call[Any], *, on_sent: SentCallback = lambda _done, _total: None) -> Answer:
        """Send a request and return its answer.

        When a connection is lost, reading requests are sent again, and so are writes: all attempts of one write carry
        the same `Idempotency-Key`, by which the service carries it out once. Predictions are sent once.

        Args:
            call: The request.
            on_sent: Called while the files of a request are sent.

        Raises:
            OSError: The file of the request cannot be read.
            Unreachable: There was no connection in all attempts.
            TimedOut: The answer did not come in time.
            Refused: The service answered with an error.
            ValueError: The address of that plane is not known.
        """
        url, deadline = self.url(call), time.monotonic() + max(self._timeout_s, call.takes_s)
        headers = {**({IDEMPOTENCY_KEY: str(uuid.uuid4())} if call.is_write else {}), **call.headers}
        if call.form:
            headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        pauses_s = list(PAUSES_S if call.plane is Plane.MANAGEMENT else ())
        is_repeated = False
        while True:
            try:
                return self._attempt(call, url, headers, deadline - time.monotonic(), on_sent)
            except Unreachable:
                if not pauses_s:
                    raise
                pause_s = pauses_s.pop(0)
            except ConflictStatus as error:
                # The attempt whose connection was lost is still being carried out.
                if not is_repeated or error.retry_after_s is None:
                    raise
                pause_s = error.retry_after_s
            is_repeated = True
            time.sleep(min(pause_s, max(0, deadline - time.monotonic())))  # It gives the service time to come back.

    def _attempt(
        self, call: Call[Any], url: str, headers: Mapping[str, str], timeout_s: float, on_sent: SentCallback
    ) -> Answer:
        shown = url.partition("?")[0]  # A query may have the token of a download.
        if timeout_s <= 0:
            raise TimedOut(f"{shown}: no answer in time.")
        try:
            with _body(call, on_sent) as body:
                response = self._session.request(
                    call.method,
                    url,
                    data=body,
                    headers=dict(headers),
                    timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                    allow_redirects=False,
                    proxies=_proxies(url),
                )
        except requests.ConnectTimeout as error:
            raise Unreachable(f"{shown}: no connection within {CONNECT_TIMEOUT_S:g} s.") from error
        except requests.Timeout as error:
            raise TimedOut(f"{shown}: no answer in time.") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise Unreachable(f"{shown}: {_cause(error)}.") from error
        except requests.RequestException as error:
            raise ClientError(f"{shown}: {type(error).__name__}") from error
        if response.ok and not response.is_redirect:
            return Answer(status=response.status_code, headers=response.headers, body=response.content)
        raise _refused(response)


class _SentFile:
    """A file that says how much of it was read; requests asks it for its length."""

    def __init__(self, file: BinaryIO, on_sent: SentCallback) -> None:
        self._file = file
        self._on_sent = on_sent
        self._size_bytes = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._on_sent(self._file.tell(), self._size_bytes)
        return piece


@contextlib.contextmanager
def _body(call: Call[Any], on_sent: SentCallback) -> Iterator[Any]:
    """Give the body of a request, from its begin."""
    if call.form:
        with contextlib.ExitStack() as held:
            yield FormBody(call.form, _BOUNDARY, on_sent, held)
        return
    if call.file is None:
        yield call.body
        return
    with Path(call.file).open("rb") as file:
        # An empty file has no length that requests would send.
        yield _SentFile(file, on_sent) if os.fstat(file.fileno()).st_size else b""


class _Bearer(requests.auth.AuthBase):
    """Adds the token, if there is one; without this, requests would send what `.netrc` has for the host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def server_url(text: str) -> str:
    """Return the address of a server without a slash at its end.

    Raises:
        ValueError: It is not one, or more than that.
    """
    if "@" in text:
        raise ValueError("the address of a service has no user and no password; what it takes is a token")
    parts = urlsplit(text)  # Raises a ValueError for brackets that are not closed, and so does the port.
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
        raise ValueError(f"expected the address of a service, like http://127.0.0.1:8081, got {text!r}")
    return text.rstrip("/")


def _proxies(url: str) -> dict[str, str]:
    """Return none for this machine: one that the environment names would look for the service on its own."""
    host = urlsplit(url).hostname or ""
    return {"no_proxy": host} if host in {"localhost", "::1"} or host.startswith("127.") else {}


def _cause(error: requests.RequestException) -> str:
    """Return what the system said, which requests and urllib3 wrap several times."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        args: Sequence[object] = cause.args
        nested = [each for each in (getattr(cause, "reason", None), *args) if isinstance(each, BaseException)]
        cause = nested[0] if nested else cause.__context__
    return "the connection was lost"


def _refused(response: requests.Response) -> Refused:
    """Return the error that an answer stands for."""
    try:
        fields = json.loads(response.content)
        type_, message = str(fields["type"]), str(fields["message"])
        hint, operation = str(fields.get("hint", "")), str(fields.get("operation", ""))
    except (ValueError, TypeError, KeyError):  # Of a handler, or of a proxy in between.
        shown = response.content[:_MAX_SHOWN_CHARS].decode(errors="replace").strip()
        type_, hint, operation, message = "", "", "", f"{response.status_code} {response.reason}: {shown}"
    retry_after = response.headers.get("Retry-After", "")
    kind = Refused.classes.get(type_, Refused)
    return kind(
        status=response.status_code,
        type_=type_,
        message=message,
        hint=hint,
        operation=operation,
        request_id=response.headers.get("x-request-id", ""),
        retry_after_s=int(retry_after) if retry_after.isascii() and retry_after.isdigit() else None,
        body=response.content,
    )
