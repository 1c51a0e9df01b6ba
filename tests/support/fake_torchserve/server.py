"""The fake itself: two ports, what is answered there, and how a test takes hold of it."""

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.fake_torchserve import inputs, tokens
from tests.support.fake_torchserve.answers import (
    OwnError,
    error_answer,
    handler_answer,
    json_answer,
    new_request_id,
    remove_additions,
    status_answer,
    too_large_answer,
)
from tests.support.fake_torchserve.doors import Doors
from tests.support.fake_torchserve.misbehaviour import Handle, Misbehaviour, Rule
from tests.support.fake_torchserve.models import Host, ServedModel
from tests.support.fake_torchserve.registry import Registry
from tests.support.fake_torchserve.threads import Threads
from tests.support.fake_torchserve.tokens import Tokens
from wfmgmt.serving.models.base import NodeRequest
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient

MAX_REQUEST_BYTES = 6_553_500


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """A request that reached the fake.

    Attributes:
        endpoint: Method and first part of the path, as in `POST /models`.
        model: The model that it is about, if any.
        path: The path, as it came.
        query: Parameters of the query.
        headers: The headers, with their names in lower case.
        body: All of the body; empty for one that was too long.
    """

    endpoint: str
    model: str | None
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class FakeTorchServe:
    """A TorchServe for tests.

    Attributes:
        registry: Its models.
        host: What their workers share; its values may be changed.
        tokens: The keys that it asks for; None when it asks for none.
        requests: What it was asked, in order.

    Args:
        host: Where workers come from.
        registry: The models.
        model_api: Whether models can be registered and removed.
        keys: As `tokens`.
    """

    def __init__(self, host: Host, registry: Registry, *, model_api: bool, keys: Tokens | None) -> None:
        self.host = host
        self.registry = registry
        self.tokens = keys
        self.requests: list[RecordedRequest] = []
        self._rules: list[Rule] = []
        self._threads = Threads()
        self._management = Doors(self._application(tokens.MANAGEMENT, self._management_routes(model_api=model_api)))
        self._inference = Doors(self._application(tokens.INFERENCE, self._inference_routes()))

    @property
    def management_url(self) -> str:
        """Where models are registered."""
        return self._management.url

    @property
    def inference_url(self) -> str:
        """Where predictions are made."""
        return self._inference.url

    def requests_of(self, endpoint: str, model: str | None = None) -> list[RecordedRequest]:
        """Return what was asked of one endpoint, about one model or any."""
        return [each for each in self.requests if each.endpoint == endpoint and model in {None, each.model}]

    def model(self, name: str, version: str | None = None) -> ServedModel:
        """Return a model: to look at its processes, or to change it behind its client's back."""
        return self.registry.find(name, version)

    def misbehave(
        self,
        endpoint: str,
        kind: Misbehaviour,
        *,
        model: str | None = None,
        times: int | None = 1,
        seconds: float = 0.0,
        carried_out: bool = False,
    ) -> None:
        """Answer the next requests badly; see `Rule`. Of several rules the first one applies that is not used up."""
        self._rules.append(
            Rule(endpoint=endpoint, kind=kind, model=model, times=times, seconds=seconds, carried_out=carried_out)
        )

    def behave(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def forget_models(self) -> None:
        """Lose all models while connections stay; their requests are never answered."""
        self.registry.clear()

    async def register(self, url: str, name: str, **parameters: object) -> ServedModel:
        """Put a model there as somebody else would."""
        told = {key: str(value) for key, value in parameters.items()}
        await self.registry.register({"url": url, "model_name": name, **told})
        return self.registry.find(name)

    async def open(self) -> None:
        """Listen on both ports: at first on free ones, then always on these."""
        await self._management.open()
        await self._inference.open()

    async def refuse(self) -> None:
        """Drop all connections and refuse new ones until `open`; models stay and run on."""
        await self._management.shut()
        await self._inference.shut()

    async def restart(self) -> None:
        """Go and come back empty, with new keys."""
        await self.refuse()
        self.registry.clear()
        if self.tokens is not None:
            self.tokens = Tokens(self.tokens.path.parent)
        await self.open()

    async def close(self) -> None:
        """End the ports and all workers."""
        await self._management.close()
        await self._inference.close()
        self.registry.clear()
        await asyncio.gather(*self.host.leaving, return_exceptions=True)
        await self.host.forkserver.close()

    def _application(self, plane: str, routes: list[web.RouteDef]) -> web.Application:
        @web.middleware
        async def receive(request: web.Request, handler: Handle) -> web.StreamResponse:
            return await self._receive(plane, request, handler)

        application = web.Application(middlewares=[receive], client_max_size=MAX_REQUEST_BYTES)
        application.add_routes(routes)
        application.on_response_prepare.append(remove_additions)
        return application

    def _management_routes(self, *, model_api: bool) -> list[web.RouteDef]:
        always = [
            web.get("/models", self._list),
            web.get("/models/{name}", self._describe),
            web.get("/models/{name}/{version}", self._describe),
            web.put("/models/{name}", self._scale),
            web.put("/models/{name}/{version}", self._scale),
            web.put("/models/{name}/{version}/set-default", self._set_default),
            web.get("/token", self._rotate_token),
        ]
        on_demand = [
            web.post("/models", self._register),
            web.delete("/models/{name}", self._unregister),
            web.delete("/models/{name}/{version}", self._unregister),
        ]
        return [*always, *(on_demand if model_api else [])]

    def _inference_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ping", self._ping),
            web.route("*", "/predictions/{name}", self._predict),
            web.route("*", "/predictions/{name}/{version}", self._predict),
        ]

    async def _receive(self, plane: str, request: web.Request, handle: Handle) -> web.StreamResponse:
        """Record a request, and have it answered well or badly."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self._record(request, b"")
            return too_large_answer()
        recorded = self._record(request, body)
        rule = next((each for each in self._rules if each.applies(recorded.endpoint, recorded.model)), None)
        try:
            if rule is not None:
                return await rule.answer(request, handle)
            return await self._answer(plane, request, handle)
        except OwnError as error:
            return error_answer(error)
        except web.HTTPMethodNotAllowed:
            text = "Requested method is not allowed, please refer to API document."
            return error_answer(OwnError(405, "MethodNotAllowedException", text))
        except web.HTTPNotFound:
            text = "Requested resource is not found, please refer to API document."
            return error_answer(OwnError(404, "ResourceNotFoundException", text))

    async def _answer(self, plane: str, request: web.Request, handle: Handle) -> web.StreamResponse:
        """Check the key of a request, and have it answered when its thread is free."""
        if self.tokens is not None and request.path != "/token":
            self.tokens.authorize(plane, request.headers.get("Authorization"))
        async with self._threads.of(request):
            if _waits_for_workers(request):
                return await handle(request)
        return await handle(request)

    def _record(self, request: web.Request, body: bytes) -> RecordedRequest:
        recorded = RecordedRequest(
            endpoint=f"{request.method} /{request.path.split('/')[1]}",
            model=request.match_info.get("name") or request.query.get("model_name"),
            path=request.raw_path,
            query=dict(request.query),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        self.requests.append(recorded)
        return recorded

    async def _register(self, request: web.Request) -> web.Response:
        told: dict[str, Any] = {}
        if request.content_type == "application/json":
            told = json.loads(await request.read() or b"{}")
        parameters = {**request.query, **{name: _text(value) for name, value in told.items()}}
        return status_answer(*await self.registry.register(parameters))

    async def _scale(self, request: web.Request) -> web.Response:
        name, version = _subject(request)
        return status_answer(*await self.registry.scale(name, version, request.query))

    async def _unregister(self, request: web.Request) -> web.Response:
        return status_answer(*self.registry.unregister(*_subject(request)))

    async def _set_default(self, request: web.Request) -> web.Response:
        return status_answer(*self.registry.set_default(request.match_info["name"], request.match_info["version"]))

    async def _list(self, request: web.Request) -> web.Response:
        return json_answer(self.registry.page(request.query))

    async def _describe(self, request: web.Request) -> web.Response:
        return json_answer(self.registry.describe(*_subject(request)))

    async def _rotate_token(self, request: web.Request) -> web.Response:
        if self.tokens is None:
            raise web.HTTPNotFound
        self.tokens.rotate(request.query.get("type"), request.headers.get("Authorization"))
        answer = json_answer(None)
        answer.body = b"\n"
        return answer

    async def _ping(self, _request: web.Request) -> web.Response:
        return status_answer("Healthy")

    async def _predict(self, request: web.Request) -> web.Response:
        model = self.registry.find(*_subject(request))
        request_id = new_request_id()
        fields = inputs.read_fields(request.headers.get("Content-Type", ""), await request.read())
        headers = json.dumps({**request.headers, "explain": "False", "url_path": ""}).encode()
        return handler_answer(await model.submit(NodeRequest(request_id, headers, fields)), request_id)


def _subject(request: web.Request) -> tuple[str, str | None]:
    """Return the model and version that a path names."""
    return request.match_info["name"], request.match_info.get("version")


def _waits_for_workers(request: web.Request) -> bool:
    """Tell whether a request is answered only when workers are up."""
    default = {"POST": "true", "PUT": "false"}.get(request.method)
    is_about_models = request.path.startswith("/models")
    return is_about_models and request.query.get("synchronous", default) == "true"


def _text(value: object) -> str:
    """Return a value of a JSON body as the parameter that it stands for."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@asynccontextmanager
async def fake_torchserve(
    model_store: Path, *, token_folder: Path | None = None, model_api: bool = True, **overrides: Any
) -> AsyncIterator[FakeTorchServe]:
    """Run a fake on two free ports.

    Args:
        model_store: Folder of the archives.
        token_folder: Where it writes the keys that it asks for; None when it asks for none.
        model_api: Whether models can be registered and removed.
        overrides: Values of its `Host`.
    """
    with tempfile.TemporaryDirectory() as folder:
        host = Host(forkserver=ForkserverClient(), worker_ids=itertools.count(9000), **overrides)
        registry = Registry(host, model_store, Path(folder))
        keys = Tokens(token_folder) if token_folder is not None else None
        fake = FakeTorchServe(host, registry, model_api=model_api, keys=keys)
        try:
            await fake.open()
            yield fake
        finally:
            await fake.close()
