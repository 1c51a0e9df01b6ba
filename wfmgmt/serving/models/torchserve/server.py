"""Models on one or several running TorchServe servers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wfmgmt.serving.models.autoscaling import Autoscaling
from wfmgmt.serving.models.base import Drift, DriftKind, Model, ModelNotLoaded
from wfmgmt.serving.models.kept import KeptArchives
from wfmgmt.serving.models.lifetimes import Lifetimes
from wfmgmt.serving.models.torchserve.model import TorchServeModel
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives
from wfmgmt.serving.models.torchserve.server_model import ServerModel, remove_versions
from wfmgmt.torchserve.connection import ServerAddress, TorchServe, open_session
from wfmgmt.torchserve.failures import ServerFailed
from wfmgmt.torchserve.responses import Listed

_log = logging.getLogger("wfmgmt.torchserve")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchServeSettings:
    """The settings that all models on these servers share.

    Attributes:
        servers: Where every model is registered; at least one.
        model_store: Folder of the archives, which is also the model store of every server.
        identity: Distinguishes this installation from others that use the same servers.
        ca_bundle: Certificates to trust instead of the system's, None for the system's.
        connect_timeout_s: For a connection.
        timeout_s: For one call of the management API that starts no worker.
        queue_size: Requests that may wait per model.
        idle_timeout_s: After which workers above the minimum go.
        answer_bytes: Longest answer that a handler may give.
        autoscaling: Whether workers above the minimum come, and what counts them.
    """

    servers: tuple[ServerAddress, ...]
    model_store: Path
    identity: str
    ca_bundle: Path | None = None
    connect_timeout_s: float = 5.0
    timeout_s: float = 10.0
    queue_size: int = 100
    idle_timeout_s: float = 60.0
    answer_bytes: int = 6_553_500
    autoscaling: Autoscaling = field(default_factory=Autoscaling)


class TorchServeModelServer:
    """A `ModelServer` that has TorchServe servers run the models.

    Each model is registered on every server; requests go round. A server that cannot be reached is left out, and gets
    what it lacks from `check` once it is back.

    Args:
        settings: What holds for all models.
        kept: The archives of all registrations.
        digest: Returns the SHA-256 of a file in lower-case hexadecimal; it blocks, and is run in threads. Raises
            OSError.
    """

    def __init__(self, settings: TorchServeSettings, *, kept: KeptArchives, digest: Callable[[Path], str]) -> None:
        self.check_wanted = asyncio.Event()
        self._settings = settings
        self._pinned = PinnedArchives(settings.identity, kept, digest)
        self._session = open_session(settings.ca_bundle, settings.connect_timeout_s)
        self._servers = tuple(
            TorchServe(self._session, address, timeout_s=settings.timeout_s, answer_bytes=settings.answer_bytes)
            for address in settings.servers
        )
        self._lifetimes: Lifetimes[TorchServeModel] = Lifetimes()

    async def load(self, model: Model, *, on_change: Callable[[], None]) -> TorchServeModel:
        """Register a model; see `ModelServer.load`. A server that cannot be reached is left out, but not all."""
        server_models = [
            ServerModel(
                server=server,
                number=number if len(self._servers) > 1 else None,
                model=model,
                pinned=self._pinned,
                idle_timeout_s=self._settings.idle_timeout_s,
                autoscaling=self._settings.autoscaling,
                on_change=on_change,
            )
            for number, server in enumerate(self._servers, start=1)
        ]
        loaded = TorchServeModel(
            model,
            self._lifetimes,
            server_models=server_models,
            pinned=self._pinned,
            queue_size=self._settings.queue_size,
            on_change=on_change,
            on_forgotten=self.check_wanted.set,
        )
        await loaded.load()
        return loaded

    async def check(self, known: Callable[[], Awaitable[Collection[str]]], *, dry_run: bool) -> Sequence[Drift]:
        """Compare each server with what it should hold, and repair it; see `ModelServer.check`."""
        registered = await known()
        found = await asyncio.gather(*(self._check(server, registered, dry_run=dry_run) for server in self._servers))
        if not dry_run:
            uids = {*registered, *(loaded.model.key.uid for loaded in self._lifetimes)}
            try:
                await asyncio.to_thread(self._pinned.sweep, self._settings.model_store, uids)
            except OSError as error:
                _log.warning("%s cannot be swept: %s", self._settings.model_store.name, error.strerror)
        return [drift for drifts in found for drift in drifts]

    async def _check(self, server: TorchServe, known: Collection[str], *, dry_run: bool) -> list[Drift]:
        drifts: list[Drift] = []
        try:
            held = {model.name: model for model in await server.models()}
        except ServerFailed as failure:
            for _, server_model in self._ready_on(server):
                server_model.on_problem(failure.reason)
            return [_unknown(server, failure)]
        for loaded, server_model in self._ready_on(server):
            try:
                drift = await _compare(loaded, server_model, held, dry_run=dry_run)
            except ServerFailed as failure:
                server_model.on_problem(failure.reason)
                drift = _unknown(server, failure, server_model.name, loaded.model.workflow)
            if drift is not None:
                drifts.append(drift)
        extra = [model for model in held.values() if self._is_extra(model, known)]
        return drifts + [await self._remove_extra(server, model, dry_run=dry_run) for model in extra]

    def _ready_on(self, server: TorchServe) -> list[tuple[TorchServeModel, ServerModel]]:
        return [
            (loaded, server_model)
            for loaded in self._lifetimes
            for server_model in loaded.server_models
            if loaded.is_ready and server_model.server is server
        ]

    def _is_extra(self, model: Listed, known: Collection[str]) -> bool:
        """Return whether a model is ours, but of a registration that is not known and not loaded."""
        if not self._pinned.is_ours(model.url):
            return False
        loaded = {self._pinned.file_of(each.model) for each in self._lifetimes}
        return model.url not in loaded and self._pinned.registration(model.url) not in known

    async def _remove_extra(self, server: TorchServe, model: Listed, *, dry_run: bool) -> Drift:
        did, is_repaired = _REPAIRS[DriftKind.EXTRA], False
        if not dry_run:
            try:
                there = await server.describe(model.name)
                await remove_versions(server, model.name, there, lambda url: url == model.url)
                is_repaired = True
            except ServerFailed as failure:
                did = f"{did}: {failure.reason}"
        workflow = model.name.partition("__")[0]  # As it was called: its registration is not known any more.
        return _drift(server, model.name, workflow, DriftKind.EXTRA, did, is_repaired=is_repaired)

    async def close(self) -> None:
        """Let the servers go; what they hold stays there. See `ModelServer.close`."""
        await self._lifetimes.close(leave_ready=True)
        await self._session.close()


_REPAIRS = {
    DriftKind.MISSING: "register it again",
    DriftKind.EXTRA: "unregister it",
    DriftKind.WORKERS: "set the number of its workers",
    DriftKind.SETTINGS: "register it anew, with its own settings",
    DriftKind.NAME_TAKEN: "leave it alone, it is not ours",
}


async def _compare(
    loaded: TorchServeModel, server_model: ServerModel, held: Mapping[str, Listed], *, dry_run: bool
) -> Drift | None:
    """Compare one model with what its server holds, and repair it."""
    there = await server_model.server.describe(server_model.name) if server_model.name in held else []
    kind = server_model.difference(there)
    if not loaded.is_ready:
        return None  # It was unloaded meanwhile.
    if kind is None:
        server_model.on_seen(there)
        return None
    did, is_repaired = _REPAIRS[kind], False
    if kind is DriftKind.NAME_TAKEN:
        problem = f"TorchServe at {server_model.server.name} has a model {server_model.name} that is not ours"
        server_model.on_problem(problem, is_foreign=True)
    elif not dry_run:
        try:
            await server_model.repair(kind)
            is_repaired = True
        except (ServerFailed, ModelNotLoaded) as failure:
            server_model.on_problem(failure.reason)
            did = f"{did}: {failure.reason}"
    return _drift(server_model.server, server_model.name, loaded.model.workflow, kind, did, is_repaired=is_repaired)


def _drift(server: TorchServe, model: str, workflow: str, kind: DriftKind, did: str, *, is_repaired: bool) -> Drift:
    return Drift(server=server.name, model=model, workflow=workflow, kind=kind, did=did, is_repaired=is_repaired)


def _unknown(server: TorchServe, failure: ServerFailed, model: str = "", workflow: str = "") -> Drift:
    return _drift(server, model, workflow, DriftKind.UNKNOWN, failure.reason, is_repaired=False)
