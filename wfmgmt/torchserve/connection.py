"""One TorchServe, over HTTP: its management API and its predictions."""

import asyncio
import io
import json
import math
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp

from wfmgmt.backoff import Backoff
from wfmgmt.domain.faults import Fault
from wfmgmt.errors import BadRequest
from wfmgmt.timeouts import timeout_after
from wfmgmt.torchserve.failures import (
    WRONG_ADDRESS,
    ServerFailed,
    ServerRefused,
    foreign_errors_mapped,
    shape_checked,
)
from wfmgmt.torchserve.keys import Keys, bearer
from wfmgmt.torchserve.responses import (
    NOT_FOUND,
    WRONG_KEY,
    Figures,
    Listed,
    ModelDetail,
    parse_figures,
    parse_model,
    parse_page,
)

_PAGE = 100
#: More pages than any server needs: an offset that does not grow must not be followed for ever.
MAX_PAGES = 10_000
_REGISTRATIONS_AT_ONCE = 4
#: A server that cannot be reached is left out for these times, doubling.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0
#: Longer bodies are sent in pieces, so that others are served meanwhile.
_SENT_AT_ONCE = 1024 * 1024
_MAX_MANAGEMENT_RESPONSE_BYTES = 16 * 1024 * 1024


class Reply(NamedTuple):
    """A response, be it a success or an error.

    Attributes:
        status: HTTP status.
        reason: Reason phrase; TorchServe leaves it empty for answers of handlers.
        headers: Headers; names compare without case.
        body: The bytes.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """The addresses of one TorchServe and its keys.

    Attributes:
        management_url: Of its management API, without a slash at the end.
        inference_url: Of its inference API, likewise; empty where no model is asked.
        keys: Open both.
    """

    management_url: str
    inference_url: str = ""
    keys: Keys


class TorchServe:
    """Client of one TorchServe server. For the event loop only.

    Args:
        session: Makes the requests.
        address: Where it is.
        timeout_s: For one call of the management API.
        answer_bytes: Longest answer to a prediction.

    Attributes:
        name: What errors of management call the server: its management address.
        inference_url: What errors of predictions call it.
        registering: To be held while a model is registered: each registration costs the server much at once.

    Source:
        TorchServe 0.12.0, as recorded from a running server; the shape of its own errors holds for older ones, too.
    """

    def __init__(
        self, session: aiohttp.ClientSession, address: ServerAddress, *, timeout_s: float, answer_bytes: int = 0
    ) -> None:
        self.name = address.management_url
        self.inference_url = address.inference_url
        self._session = session
        self._keys = address.keys
        self._timeout_s = timeout_s
        self._answer_bytes = answer_bytes
        self._unreachable = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
        self._has_timed_out = False
        self._renewing = asyncio.Lock()
        self.registering = asyncio.Semaphore(_REGISTRATIONS_AT_ONCE)

    @property
    def is_left_out(self) -> bool:
        """Whether others should be asked first: it could not be reached a moment ago, or its management timed out."""
        return self._has_timed_out or self._unreachable.is_pausing

    @property
    def has_inference_key(self) -> bool:
        """Whether requests carry a key of ours."""
        return "inference" in self._keys.current

    @contextmanager
    def _errors_mapped(self, address: str, timeout_s: float) -> Iterator[None]:
        """Map what goes wrong, and leave the server out for a while when it cannot be reached."""
        try:
            with foreign_errors_mapped(address, timeout_s):
                yield
        except ServerFailed as failure:
            if failure.fault is Fault.UNREACHABLE:
                self._unreachable.next_pause()
            raise
        self._unreachable.reset()

    async def register(self, name: str, parameters: Mapping[str, object]) -> None:
        """Register a model without any worker.

        Args:
            name: What the server is to know it by.
            parameters: As TorchServe has them, besides its name.

        Raises:
            ServerFailed: As for all methods.
        """
        await self._manage("POST", "/models", {**parameters, "model_name": name, "initial_workers": 0})

    async def scale(self, name: str, version: str, *, min_workers: int, max_workers: int) -> None:
        """Change the numbers of workers, which come and go a moment later.

        Args:
            name: The model.
            version: Which version of it.
            min_workers: Workers that the server brings up when there are fewer; with 0 it ends all.
            max_workers: Workers that the server ends others down to when there are more.
        """
        query = {"min_worker": min_workers, "max_worker": max_workers, "synchronous": "false"}
        await self._manage("PUT", _path("/models", name, version), query)

    async def set_default(self, name: str, version: str) -> None:
        """Make a version of a model the one that is meant when none is named."""
        await self._manage("PUT", _path("/models", name, version) + "/set-default")

    async def unregister(self, name: str, version: str) -> None:
        """Remove a version of a model; one that is gone already is fine. The default one can only go last."""
        try:
            await self._manage("DELETE", _path("/models", name, version))
        except ServerRefused as refusal:
            if refusal.kind not in NOT_FOUND:
                raise

    async def models(self) -> list[Listed]:
        """Return all models, each name once."""
        return await self._list("model")

    async def workflows(self) -> list[Listed]:
        """Return all workflows, each name once."""
        return await self._list("workflow")

    async def _list(self, kind: str) -> list[Listed]:
        found: dict[str, Listed] = {}
        offset = 0
        for _ in range(MAX_PAGES):
            page = await self._manage("GET", f"/{kind}s", {"limit": _PAGE, "next_page_token": offset})
            with shape_checked(self.name):
                listed, following = parse_page(kind, page)
            # What is registered or removed between two pages moves the others, so a name can come twice.
            found.update({each.name: each for each in listed})
            if following is None:
                return list(found.values())
            if following <= offset:
                break
            offset = following
        raise ServerFailed(self.name, f"lists its {kind}s without an end", Fault.FAILED)

    async def describe(self, name: str) -> list[ModelDetail]:
        """Return every version of a model, the default one first; none when there is no such model."""
        try:
            versions = await self._manage("GET", _path("/models", name) + "/all")
        except ServerRefused as refusal:
            if refusal.kind in NOT_FOUND:
                return []
            raise
        with shape_checked(self.name):
            return [parse_model(each) for each in versions]

    async def figures(self, workflow: str) -> Figures:
        """Return what the server says about a workflow."""
        values = await self._manage("GET", _path("/workflows", workflow))
        with shape_checked(self.name):
            return parse_figures(workflow, values)

    async def predict(self, name: str, version: str, body: bytes | bytearray, headers: Mapping[str, str]) -> Reply:
        """Have a model answer; also an error is an answer. There is no time-out."""
        path = _path("/predictions", name, version)

        async def send(key: str | None) -> Reply:
            data = body if len(body) <= _SENT_AT_ONCE else io.BytesIO(body)
            with self._errors_mapped(self.inference_url, math.inf):
                return await self._send(
                    "POST", self.inference_url, path, self._answer_bytes, data=data, headers={**headers, **bearer(key)}
                )

        return await self._send_keyed("inference", send)

    async def _manage(self, method: str, path: str, query: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - any JSON
        """Call the management API and return the JSON of its response.

        Raises:
            ServerRefused: It answered with an error of its own.
            ServerFailed: It cannot be reached, timed out, or did not answer as a TorchServe does.
        """
        reply = await self._send_keyed("management", lambda key: self._manage_once(method, path, query or {}, key))
        if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
            raise ServerFailed(self.name, f"redirects (status {reply.status}), which is not followed", Fault.FAILED)
        try:
            values = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            what = f"answered with status {reply.status} and no JSON{WRONG_ADDRESS}"
            raise ServerFailed(self.name, what, Fault.FAILED) from error
        if reply.status < HTTPStatus.BAD_REQUEST:
            return values
        if not isinstance(values, dict):
            raise ServerFailed(self.name, f"answered with status {reply.status}", Fault.FAILED)
        kind = str(values.get("type", "error"))
        if kind == WRONG_KEY:
            raise ServerFailed(self.name, self._keys.problem, Fault.UNREACHABLE)
        raise ServerRefused(self.name, reply.status, kind, str(values.get("message", "")))

    async def _manage_once(self, method: str, path: str, query: Mapping[str, object], key: str | None) -> Reply:
        texts = {name: str(value) for name, value in query.items()}
        try:
            with self._errors_mapped(self.name, self._timeout_s):
                async with timeout_after(self._timeout_s):
                    reply = await self._send(
                        method, self.name, path, _MAX_MANAGEMENT_RESPONSE_BYTES, params=texts, headers=bearer(key)
                    )
        except ServerFailed as failure:
            self._has_timed_out = failure.fault is Fault.TIMED_OUT
            raise
        self._has_timed_out = False
        return reply

    async def _send(self, method: str, server: str, path: str, limit_bytes: int, **content: Any) -> Reply:  # noqa: ANN401 - handed on
        """Send a request and read the response."""
        async with self._session.request(method, server + path, allow_redirects=False, **content) as response:
            if response.content_length is not None and response.content_length <= limit_bytes:
                body = await response.read()
            else:
                body = await response.content.read(limit_bytes + 1)
                while len(body) <= limit_bytes and (more := await response.content.read(limit_bytes + 1 - len(body))):
                    body += more
            if len(body) > limit_bytes:
                setting = " (WFMGMT_RESPONSE_LIMIT_BYTES)" if server == self.inference_url else ""
                raise ServerFailed(server, f"answered more than {limit_bytes} bytes{setting}", Fault.FAILED)
            return Reply(response.status, response.reason or "", response.headers, body)

    async def _send_keyed(self, kind: str, send: Callable[[str | None], Awaitable[Reply]]) -> Reply:
        """Send a request with the key for an address, and once more with a new key when that one is refused."""
        key = self._keys.current.get(kind)
        reply = await send(key)
        if reply.status == HTTPStatus.BAD_REQUEST and WRONG_KEY.encode() in reply.body and await self._renew(kind, key):
            reply = await send(self._keys.current.get(kind))
        return reply

    async def _renew(self, kind: str, refused: str | None) -> bool:
        """Get keys anew after one was refused, and return whether there is another one now.

        TorchServe's keys expire, and new ones come only by request. Each makes the one before it invalid, so of several
        requests that were refused only the first asks.
        """
        async with self._renewing:
            await asyncio.to_thread(self._keys.reread)
            if self._keys.current.get(kind) == refused and self._keys.renewing is not None:
                await self._manage_once("GET", "/token", {"type": kind}, self._keys.renewing)
                await asyncio.to_thread(self._keys.reread)
            return self._keys.current.get(kind) != refused


def trusting(ca_bundle: Path) -> ssl.SSLContext:
    """Return what checks certificates by those in a file.

    Raises:
        BadRequest: It has none that can be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:  # ssl.SSLError is one.
        raise BadRequest(f"The certificates in {ca_bundle} cannot be read.") from error


def open_session(
    ca_bundle: Path | None, connect_timeout_s: float, headers: Mapping[str, str] | None = None
) -> aiohttp.ClientSession:
    """Return what makes the requests: kept-alive connections, as many as there are requests.

    Args:
        ca_bundle: Certificates to trust instead of the system's, None for the system's.
        connect_timeout_s: For a connection.
        headers: Of every request that has no others of these names.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=True if ca_bundle is None else trusting(ca_bundle)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        skip_auto_headers={"Accept-Encoding", "User-Agent", "Accept"},
    )


def _path(start: str, *names: str) -> str:
    return "/".join([start, *(quote(name, safe="") for name in names)])
