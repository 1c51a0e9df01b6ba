"""Models on one or several running TorchServe servers."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import (
    Drift,
    DriftKind,
    Model,
    ModelNotLoaded,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    WorkerStatus,
)
from wfmgmt.serving.models.lifetimes import Lifetimes
from wfmgmt.serving.models.torchserve.codec import ModelForgotten
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives, registration_of
from wfmgmt.serving.models.torchserve.server_model import ServerModel, remove_versions
from wfmgmt.torchserve.connection import HeldModel, TorchServe
from wfmgmt.torchserve.failures import ServerFailed
from wfmgmt.torchserve.keys import Keys

_log = logging.getLogger("wfmgmt.torchserve")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """One TorchServe.

    Attributes:
        management_url: Of its management API, without a slash at the end.
        inference_url: Of its inference API, likewise.
        keys: Open both.
    """

    management_url: str
    inference_url: str
    keys: Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchServeSettings:
    """What holds for all models.

    Attributes:
        servers: Where every model is registered; at least one.
        model_store: Folder of the archives, which is also the model store of every server.
        identity: Tells this deployment from others that use the same servers.
        ca_bundle: Certificates to trust instead of the system's, None for the system's.
        connect_timeout_s: For a connection.
        timeout_s: For one call of the management API that starts no worker.
        queue_size: Requests that may wait per model.
        idle_timeout_s: After which workers above the minimum go.
        answer_bytes: Longest answer that a handler may give.
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


class _Entry:
    """One model on all servers.

    Attributes:
        model: What was asked for.
        replicas: One per server, in the order of the settings.
        asked: Requests under way.
        is_leaving: Whether it is being unloaded.
    """

    def __init__(self, model: Model, replicas: Sequence[ServerModel]) -> None:
        self.model = model
        self.replicas = replicas
        self.asked: set[asyncio.Task[NodeAnswer]] = set()
        self.is_leaving = False
        self._turn = 0

    def in_turn(self, avoid: int | None) -> list[ServerModel]:
        """Return the replicas in the order in which a request should try them."""
        self._turn = (self._turn + 1) % len(self.replicas)
        turned = [*self.replicas[self._turn :], *self.replicas[: self._turn]]
        return sorted(turned, key=lambda each: (each.server.is_left_out, avoid is not None and each.number == avoid))


class TorchServeModelServer:
    """A `ModelServer` that has TorchServe servers run the models.

    Each model is registered on every server; requests go round. A server that cannot be reached is left out, and gets
    what it lacks from `check` once it is back.

    Args:
        settings: What holds for all models.
        digest: Returns the SHA-256 of a file in lower-case hexadecimal; it blocks, and is run in threads. Raises
            OSError.
        on_change: Called with a name whenever its status may have changed.
        on_forgotten: Called when a server turned out not to hold a model, so that `check` should not wait.
    """

    def __init__(
        self,
        settings: TorchServeSettings,
        *,
        digest: Callable[[Path], str],
        on_change: Callable[[str], None],
        on_forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._pinned = PinnedArchives(settings.identity, digest)
        self._on_change = on_change
        self._on_forgotten = on_forgotten
        self._session = _session(settings)
        self._servers = tuple(
            TorchServe(
                self._session,
                management_url=address.management_url,
                inference_url=address.inference_url,
                keys=address.keys,
                timeout_s=settings.timeout_s,
                answer_bytes=settings.answer_bytes,
            )
            for address in settings.servers
        )
        self._lifetimes = Lifetimes(bring_up=self._bring_up, take_down=self._take_down, on_change=on_change)

    async def load(self, model: Model) -> None:
        """Register a model; see `ModelServer.load`. A server that cannot be reached is left out, but not all."""
        await self._lifetimes.load(model.name, model.node, _Entry(model, self._replicas(model)))

    def _replicas(self, model: Model) -> list[ServerModel]:
        return [
            ServerModel(
                server=server,
                number=number if len(self._servers) > 1 else None,
                model=model,
                file=self._pinned.file_of(model),
                is_ours=self._pinned.is_ours,
                check=partial(self._pinned.check, model),
                idle_timeout_s=self._settings.idle_timeout_s,
                on_change=lambda: self._on_change(model.name),
            )
            for number, server in enumerate(self._servers, start=1)
        ]

    async def _bring_up(self, entry: _Entry) -> None:
        self._on_change(entry.model.name)
        await asyncio.to_thread(self._pinned.pin, entry.model)
        outcomes = await asyncio.gather(*(replica.bring_up() for replica in entry.replicas), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        for failure in failures:
            if not _is_unreachable(failure) or len(failures) == len(outcomes):
                raise failure
        for replica, outcome in zip(entry.replicas, outcomes, strict=True):
            if isinstance(outcome, ModelNotLoaded):
                _log.warning("%s is left out: %s", replica.name, outcome.reason)
                replica.on_problem(outcome.reason)

    async def _take_down(self, entry: _Entry) -> None:
        entry.is_leaving = True
        for task in entry.asked:
            task.cancel()
        outcomes = await asyncio.gather(*(replica.take_down() for replica in entry.replicas), return_exceptions=True)
        for replica, outcome in zip(entry.replicas, outcomes, strict=True):
            if outcome is not None:
                _log.warning("%s may be left until it can be removed: %s", replica.name, outcome)
        try:
            await asyncio.to_thread(self._pinned.unpin, entry.model)
        except OSError as error:
            _log.warning("%s could not be unpinned: %s", entry.model.archive.name, error.strerror)

    async def scale(self, name: str, workers: int) -> None:
        """Change the number of a model's workers on each server; see `ModelServer.scale`."""
        entry = self._lifetimes.find_ready(name)
        if entry is None:
            raise ModelNotLoaded(name, "it is not loaded")
        before = [replica.workforce.minimum for replica in entry.replicas]
        outcomes = await asyncio.gather(
            *(replica.set_minimum(workers) for replica in entry.replicas), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            changed = [index for index, outcome in enumerate(outcomes) if outcome is None]
            undone = (entry.replicas[index].set_minimum(before[index]) for index in changed)
            await asyncio.gather(*undone, return_exceptions=True)
            raise failures[0]

    def infer(self, name: str, request: NodeRequest, *, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a model answer a request; see `ModelServer.infer`. A `worker` is a server."""
        entry = self._lifetimes.find_ready(name)
        refusal = f"{name} is not loaded." if entry is None else self._refusal(entry)
        if entry is None or refusal is not None:
            answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
            answer.set_exception(NoWorker(str(refusal)))
            return answer
        task = asyncio.create_task(self._answer(entry, request, avoid))
        entry.asked.add(task)
        task.add_done_callback(entry.asked.discard)
        return task

    def _refusal(self, entry: _Entry) -> str | None:
        """Return why no more requests are taken on, None when they are."""
        model = entry.model
        places = max(self._settings.queue_size, model.batch_size)
        if len(entry.asked) >= places + len(self._servers) * max(model.max_workers, 1) * model.batch_size:
            return f"{places} requests wait for {model.node} already (WFMGMT_QUEUE_SIZE); try again later."
        return None

    async def _answer(self, entry: _Entry, request: NodeRequest, avoid: int | None) -> NodeAnswer:
        try:
            return await self._ask_in_turn(entry, request, avoid)
        except asyncio.CancelledError:
            if entry.is_leaving:
                raise NoWorker(f"{entry.model.node} of {entry.model.workflow} is being unloaded") from None
            raise

    async def _ask_in_turn(self, entry: _Entry, request: NodeRequest, avoid: int | None) -> NodeAnswer:
        """Ask one server; another one only when that cannot have run the request."""
        reasons = []
        for replica in entry.in_turn(avoid):
            try:
                return await replica.ask(request)
            except ModelForgotten as forgotten:
                self._on_forgotten()
                reasons.append(str(forgotten))
            except ServerFailed as failure:
                reasons.append(failure.reason)
        raise NoWorker(f"{entry.model.node} has no worker: {'; '.join(reasons)}")

    async def unload(self, name: str) -> None:
        """Remove a model from all servers; see `ModelServer.unload`."""
        await self._lifetimes.unload(name)

    def status(self, name: str) -> WorkerStatus:
        """Return the workers on all servers together; see `ModelServer.status`."""
        entry = self._lifetimes.find(name)
        if entry is None:
            return WorkerStatus(wanted=0, ready=0)
        workforces = [replica.workforce for replica in entry.replicas]
        return WorkerStatus(
            wanted=sum(each.minimum for each in workforces),
            ready=sum(each.ready for each in workforces),
            error=next((each.problem for each in workforces if each.problem is not None), None),
        )

    async def check(self, known: Collection[str], *, dry_run: bool) -> Sequence[Drift]:
        """Compare each server with what it should hold, and mend it; see `ModelServer.check`."""
        found = await asyncio.gather(*(self._check(server, known, dry_run=dry_run) for server in self._servers))
        if not dry_run:
            loaded = {registration_of(entry.model.name) for entry in self._lifetimes}
            try:
                await asyncio.to_thread(self._pinned.sweep, self._settings.model_store, {*known, *loaded})
            except OSError as error:
                _log.warning("%s cannot be swept: %s", self._settings.model_store.name, error.strerror)
        return [drift for drifts in found for drift in drifts]

    async def _check(self, server: TorchServe, known: Collection[str], *, dry_run: bool) -> list[Drift]:
        drifts: list[Drift] = []
        try:
            held = {model.name: model for model in await server.models()}
        except ServerFailed as failure:
            for _, replica in self._ready_on(server):
                replica.on_problem(failure.reason)
            return [_unknown(server, failure)]
        for entry, replica in self._ready_on(server):
            try:
                drift = await self._compare(entry, replica, held, dry_run=dry_run)
            except ServerFailed as failure:
                replica.on_problem(failure.reason)
                drift = _unknown(server, failure, replica.name)
            if drift is not None:
                drifts.append(drift)
        extra = [model for model in held.values() if self._is_extra(model, known)]
        return drifts + [await self._remove_extra(server, model, dry_run=dry_run) for model in extra]

    def _ready_on(self, server: TorchServe) -> list[tuple[_Entry, ServerModel]]:
        ready = [entry for entry in self._lifetimes if self._lifetimes.find_ready(entry.model.name) is entry]
        return [(entry, replica) for entry in ready for replica in entry.replicas if replica.server is server]

    async def _compare(
        self, entry: _Entry, replica: ServerModel, held: dict[str, HeldModel], *, dry_run: bool
    ) -> Drift | None:
        """Compare one model with what its server holds, and mend it."""
        there = await replica.server.describe(replica.name) if replica.name in held else []
        kind = replica.difference(there)
        if self._lifetimes.find_ready(entry.model.name) is not entry:
            return None  # It was unloaded meanwhile.
        if kind is None:
            replica.on_seen(there)
            return None
        did, is_repaired = _MENDING[kind], False
        if kind is DriftKind.NAME_TAKEN:
            problem = f"TorchServe at {replica.server.name} has a model {replica.name} that is not ours"
            replica.on_problem(problem, is_foreign=True)
        elif not dry_run:
            try:
                await replica.mend(kind)
                is_repaired = True
            except (ServerFailed, ModelNotLoaded) as failure:
                replica.on_problem(failure.reason)
                did = f"{did}: {failure.reason}"
        return _drift(replica.server, replica.name, kind, did, is_repaired=is_repaired)

    def _is_extra(self, model: HeldModel, known: Collection[str]) -> bool:
        """Return whether a model is ours, but of a registration that is not known and not loaded."""
        if not self._pinned.is_ours(model.url):
            return False
        loaded = {self._pinned.file_of(entry.model) for entry in self._lifetimes}
        return model.url not in loaded and self._pinned.registration(model.url) not in known

    async def _remove_extra(self, server: TorchServe, model: HeldModel, *, dry_run: bool) -> Drift:
        did, is_repaired = _MENDING[DriftKind.EXTRA], False
        if not dry_run:
            try:
                there = await server.describe(model.name)
                await remove_versions(server, model.name, there, lambda url: url == model.url)
                is_repaired = True
            except ServerFailed as failure:
                did = f"{did}: {failure.reason}"
        return _drift(server, model.name, DriftKind.EXTRA, did, is_repaired=is_repaired)

    async def close(self) -> None:
        """Let the servers go; what they hold stays there. See `ModelServer.close`."""
        await self._lifetimes.close(leave_ready=True)
        await self._session.close()


_MENDING = {
    DriftKind.MISSING: "register it again",
    DriftKind.EXTRA: "unregister it",
    DriftKind.WORKERS: "set the number of its workers",
    DriftKind.SETTINGS: "register it anew, with its own settings",
    DriftKind.NAME_TAKEN: "leave it alone, it is not ours",
}


def _drift(server: TorchServe, model: str, kind: DriftKind, did: str, *, is_repaired: bool) -> Drift:
    return Drift(
        server=server.name, model=model, workflow=model.partition("__")[0], kind=kind, did=did, is_repaired=is_repaired
    )


def _unknown(server: TorchServe, failure: ServerFailed, model: str = "") -> Drift:
    return _drift(server, model, DriftKind.UNKNOWN, failure.reason, is_repaired=False)


def _is_unreachable(failure: BaseException) -> bool:
    return isinstance(failure, ModelNotLoaded) and failure.fault in {Fault.UNREACHABLE, Fault.TIMED_OUT}


def _session(settings: TorchServeSettings) -> aiohttp.ClientSession:
    """Return what makes the requests: kept-alive connections, as many as there are requests."""
    context: ssl.SSLContext | bool = True
    if settings.ca_bundle is not None:
        context = ssl.create_default_context(cafile=settings.ca_bundle)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout_s),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers={"Accept-Encoding", "User-Agent", "Accept"},
    )
