"""One TorchServe, over HTTP: its management API and its predictions."""

import asyncio
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp

from wfmgmt.backoff import Backoff
from wfmgmt.domain.faults import Fault
from wfmgmt.timeouts import timeout_after
from wfmgmt.torchserve.failures import ServerFailed, ServerRefused, foreign_errors_mapped, shape_checked
from wfmgmt.torchserve.keys import Keys, bearer

WRONG_KEY = "InvalidKeyException"
FORGOTTEN = frozenset({"ModelNotFoundException", "ModelVersionNotFoundException"})
CONFLICT = "ConflictStatusException"

_OK, _MULTIPLE_CHOICES, _MIN_ERROR_STATUS = 200, 300, 400
_PAGE = 100
#: More pages than any server has models for: an offset that does not grow must not be followed for ever.
_MAX_PAGES = 10_000
_REGISTRATIONS_AT_ONCE = 4
#: A server that cannot be reached is left out for these times, doubling.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 10.0
#: Longer bodies are sent in pieces, so that others are served meanwhile.
_SENT_AT_ONCE = 1024 * 1024
_MAX_MANAGEMENT_RESPONSE_BYTES = 16 * 1024 * 1024


class HeldModel(NamedTuple):
    """A model in a server's list.

    Attributes:
        name: What the server knows it by.
        url: Its archive, as it was named at registration.
    """

    name: str
    url: str


class Described(NamedTuple):
    """What a server says about one version of a model; times are TorchServe's own units.

    Attributes:
        version: Its version.
        url: Its archive.
        min_workers: Workers that the server keeps up.
        max_workers: Workers that the server lets be.
        batch_size: Requests handed to the handler together.
        max_batch_delay_ms: Longest wait for a batch to fill.
        response_timeout_s: Longest run of one batch.
        workers: Its workers by their ids, each with its process, 0 for none yet, and whether it is up.
    """

    version: str
    url: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay_ms: int
    response_timeout_s: int
    workers: Mapping[str, tuple[int, bool]]

    @property
    def ready_workers(self) -> int:
        """How many workers are up."""
        return sum(is_ready for _, is_ready in self.workers.values())


class Reply(NamedTuple):
    """An answer to a prediction, whatever it is.

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


class TorchServe:
    """One server. For the event loop only.

    Args:
        session: Makes the requests.
        management_url: Of the management API, without a slash at the end.
        inference_url: Of the inference API, likewise.
        keys: Open both.
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
        self,
        session: aiohttp.ClientSession,
        *,
        management_url: str,
        inference_url: str,
        keys: Keys,
        timeout_s: float,
        answer_bytes: int,
    ) -> None:
        self.name = management_url
        self._session = session
        self.inference_url = inference_url
        self._keys = keys
        self._timeout_s = timeout_s
        self._answer_bytes = answer_bytes
        self._unreachable = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
        self._is_silent = False
        self._renewing = asyncio.Lock()
        self.registering = asyncio.Semaphore(_REGISTRATIONS_AT_ONCE)

    @property
    def is_left_out(self) -> bool:
        """Whether others should be asked first: it could not be reached a moment ago, or its management is silent."""
        return self._is_silent or self._unreachable.is_pausing

    @property
    def has_inference_key(self) -> bool:
        """Whether requests carry a key of ours."""
        return self._keys.current.inference is not None

    @contextmanager
    def _errors_mapped(self, address: str, timeout_s: float) -> Iterator[None]:
        """Map what goes wrong, and take note of whether the server can be reached."""
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
            if refusal.kind not in FORGOTTEN:
                raise

    async def models(self) -> list[HeldModel]:
        """Return all that the server holds."""
        held: list[HeldModel] = []
        offset = 0
        for _ in range(_MAX_PAGES):
            page = await self._manage("GET", "/models", {"limit": _PAGE, "next_page_token": offset})
            with shape_checked(self.name):
                held += [HeldModel(str(each["modelName"]), str(each["modelUrl"])) for each in page["models"]]
                following = page.get("nextPageToken")
                if following is None:
                    return held
                if int(following) <= offset:
                    break
                offset = int(following)
        raise ServerFailed(self.name, "lists its models without an end", Fault.FAILED)

    async def describe(self, name: str) -> list[Described]:
        """Return every version of a model, the default one first; none when there is no such model."""
        try:
            versions = await self._manage("GET", _path("/models", name) + "/all")
        except ServerRefused as refusal:
            if refusal.kind in FORGOTTEN:
                return []
            raise
        with shape_checked(self.name):
            return [_described(each) for each in versions]

    async def predict(self, name: str, version: str, body: bytes | bytearray, headers: Mapping[str, str]) -> Reply:
        """Have a model answer; also an error is an answer. There is no time-out."""
        url = self.inference_url + _path("/predictions", name, version)
        key = self._keys.current.inference
        reply = await self._ask(url, body, headers, key)
        if (
            reply.status == _MIN_ERROR_STATUS
            and WRONG_KEY.encode() in reply.body
            and await self._renew("inference", key)
        ):
            reply = await self._ask(url, body, headers, self._keys.current.inference)
        return reply

    async def _ask(self, url: str, body: bytes | bytearray, headers: Mapping[str, str], key: str | None) -> Reply:
        data = body if len(body) <= _SENT_AT_ONCE else io.BytesIO(body)
        keyed = {**headers, **bearer(key)}
        with self._errors_mapped(self.inference_url, math.inf):
            async with self._session.post(url, data=data, headers=keyed, allow_redirects=False) as answer:
                content = await _body(answer, self._answer_bytes, self.inference_url, " (WFMGMT_RESPONSE_LIMIT_BYTES)")
                return Reply(answer.status, answer.reason or "", answer.headers, content)

    async def _manage(self, method: str, path: str, query: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - any JSON
        """Call the management API and return the JSON of its answer.

        Raises:
            ServerRefused: It answered with an error of its own.
            ServerFailed: It is not there, does not answer, or answers what makes no sense.
        """
        texts = {key: str(value) for key, value in (query or {}).items()}
        key = self._keys.current.management
        status, values = await self._manage_once(method, path, texts, key)
        if status == _MIN_ERROR_STATUS and values.get("type") == WRONG_KEY and await self._renew("management", key):
            status, values = await self._manage_once(method, path, texts, self._keys.current.management)
        if status >= _MIN_ERROR_STATUS:
            raise self._refusal(status, values)
        if not _OK <= status < _MULTIPLE_CHOICES:
            raise ServerFailed(self.name, f"answered with status {status}", Fault.FAILED)
        return values

    async def _manage_once(self, method: str, path: str, query: Mapping[str, str], key: str | None) -> tuple[int, Any]:
        try:
            with self._errors_mapped(self.name, self._timeout_s):
                async with (
                    timeout_after(self._timeout_s),
                    self._session.request(
                        method, self.name + path, params=query, headers=bearer(key), allow_redirects=False
                    ) as answer,
                ):
                    content = await _body(answer, _MAX_MANAGEMENT_RESPONSE_BYTES, self.name)
            self._is_silent = False
        except ServerFailed as failure:
            self._is_silent = failure.fault is Fault.TIMED_OUT
            raise
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ServerFailed(self.name, "answered what is no JSON", Fault.FAILED) from error
        if answer.status >= _MIN_ERROR_STATUS and not isinstance(values, dict):
            raise ServerFailed(self.name, f"answered with status {answer.status}", Fault.FAILED)
        return answer.status, values

    def _refusal(self, status: int, values: Mapping[str, Any]) -> ServerFailed:
        kind, message = str(values.get("type", "")), str(values.get("message", ""))
        if kind == WRONG_KEY:
            return ServerFailed(self.name, f"does not accept our key{self._keys.problem}", Fault.UNREACHABLE)
        return ServerRefused(self.name, status, kind, message)

    async def _renew(self, kind: str, refused: str | None) -> bool:
        """Get keys anew after one was refused, and tell whether there is another one now.

        TorchServe's keys expire, and nobody else may ask for new ones. Each new one makes the one before it invalid,
        so of several requests that were refused only the first asks.
        """
        async with self._renewing:
            await asyncio.to_thread(self._keys.reread)
            if self._keys.current.of(kind) == refused and self._keys.current.api is not None:
                await self._ask_for_key(kind, self._keys.current.api)
                await asyncio.to_thread(self._keys.reread)
            return self._keys.current.of(kind) != refused

    async def _ask_for_key(self, kind: str, api: str) -> None:
        url = f"{self.name}/token"
        with self._errors_mapped(self.name, self._timeout_s):
            async with (
                timeout_after(self._timeout_s),
                self._session.get(url, params={"type": kind}, headers=bearer(api), allow_redirects=False) as answer,
            ):
                await _body(answer, _MAX_MANAGEMENT_RESPONSE_BYTES, self.name)


async def _body(answer: aiohttp.ClientResponse, limit_bytes: int, server: str, setting: str = "") -> bytes:
    if (answer.content_length or 0) <= limit_bytes and answer.content_length is not None:
        return await answer.read()
    content = await answer.content.read(limit_bytes + 1)
    while len(content) <= limit_bytes and (more := await answer.content.read(limit_bytes + 1 - len(content))):
        content += more
    if len(content) > limit_bytes:
        raise ServerFailed(server, f"answered more than {limit_bytes} bytes{setting}", Fault.FAILED)
    return content


def _path(start: str, *names: str) -> str:
    return "/".join([start, *(quote(name, safe="") for name in names)])


def _described(values: Mapping[str, Any]) -> Described:
    return Described(
        version=str(values["modelVersion"]),
        url=str(values["modelUrl"]),
        min_workers=int(values["minWorkers"]),
        max_workers=int(values["maxWorkers"]),
        batch_size=int(values["batchSize"]),
        max_batch_delay_ms=int(values["maxBatchDelay"]),
        response_timeout_s=int(values["responseTimeout"]),
        workers={
            str(worker["id"]): (max(int(worker.get("pid", 0)), 0), worker["status"] == "READY")
            for worker in values["workers"]
        },
    )
