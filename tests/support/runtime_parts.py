"""The parts of a runtime over a registry and model servers in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.loading import LoadedWorkflow
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.base import Drift, Model, ModelNotLoaded, NodeAnswer, NodeRequest, WorkerStatus
from wfmgmt.serving.reconciler import Reconciler


def make_request(uid: str, *, workflow: str = "", response_timeout_s: int = 60) -> LoadRequest:
    """Return the request to load a workflow of one model, which is called after its registration unless given."""
    node = Node(name="m", kind=NodeKind.MODEL, model_file="m.mar", model_sha256="", settings=NodeSettings())
    return LoadRequest(
        uid=uid,
        workflow=workflow or uid,
        archive_file="w.war",
        archive_sha256="",
        handler=None,
        startup_timeout_s=60,
        response_timeout_s=response_timeout_s,
        nodes=(node,),
        edges=(),
    )


class FakeRegistry:
    """A registry in memory that counts its reads, and fails on demand."""

    def __init__(self) -> None:
        self.revision = 0
        self.rows: dict[str, tuple[int, WorkflowStatus]] = {}
        self.gone: dict[str, int] = {}
        self.has_gap = False
        self.slices_read = 0
        self.fails_at_slice: int | None = None
        self.problem = ""
        self.recorded: list[Drift] = []

    def put(self, uid: str, status: WorkflowStatus = WorkflowStatus.READY) -> None:
        """Change a row."""
        self.revision += 1
        self.rows[uid] = (self.revision, status)

    def remove(self, uid: str) -> None:
        """Remove a row."""
        self.revision += 1
        self.gone[uid] = self.revision
        del self.rows[uid]

    def changes(self, since: int) -> Changes:
        """Return what changed."""
        self._check()
        if self.has_gap:
            return Changes(revision=self.revision, statuses={}, removed=(), has_gap=True)
        return Changes(
            revision=self.revision,
            statuses={uid: status for uid, (revision, status) in self.rows.items() if revision > since},
            removed=tuple(uid for uid, revision in self.gone.items() if revision > since),
        )

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return some rows, in the order in which they were made."""
        if self.slices_read == self.fails_at_slice:
            raise RegistryUnavailable("locked")
        self.slices_read += 1
        uids = list(self.rows)[last : last + limit]
        end = last + limit if len(uids) == limit else None
        return RegistrySlice(statuses={uid: self.rows[uid][1] for uid in uids}, last=end)

    def uids(self) -> set[str]:
        """Return all rows."""
        self._check()
        return set(self.rows)

    def load_requests(self, uids: list[str]) -> Iterable[LoadRequest]:
        """Return what is needed to load those that are ready."""
        self._check()
        return [make_request(uid) for uid in uids if self.rows.get(uid, (0, None))[1] is WorkflowStatus.READY]

    def record(self, drifts: Sequence[Drift]) -> None:
        """Keep differences."""
        self._check()
        self.recorded += drifts

    def _check(self) -> None:
        if self.problem:
            raise RegistryUnavailable(self.problem)


class FakeLoadedModel:
    """A model with one worker that never answers."""

    def __init__(self, on_unload: Callable[[], None]) -> None:
        self.status = WorkerStatus(wanted=1, ready=1)
        self._on_unload = on_unload

    def infer(self, _request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        """Return what stays without an answer."""
        del avoid
        return asyncio.get_running_loop().create_future()

    async def scale(self, minimum: int, maximum: int) -> None:
        """Ignore it."""

    async def change(self, settings: NodeSettings) -> None:
        """Ignore it."""

    async def unload(self) -> None:
        """Be gone."""
        self._on_unload()


class FakeModelServer:
    """A model server that loads at once, unless the test has it fail or wait."""

    def __init__(self) -> None:
        self.check_wanted = asyncio.Event()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.attempts: list[str] = []
        self.loaded: set[str] = set()
        self.failing: set[str] = set()
        self.drifts: list[Drift] = []
        self.known: set[str] = set()

    async def load(self, model: Model, *, on_change: Callable[[], None]) -> FakeLoadedModel:
        """Load a model."""
        del on_change
        self.attempts.append(model.key.uid)
        await self.may_load.wait()
        if model.key.uid in self.failing:
            raise ModelNotLoaded(model.node, "the test makes it fail")
        self.loaded.add(model.key.uid)
        return FakeLoadedModel(partial(self.loaded.discard, model.key.uid))

    async def check(self, known: Callable[[], Awaitable[Collection[str]]], *, dry_run: bool) -> Sequence[Drift]:
        """Find the differences of the test."""
        del dry_run
        self.known = set(await known())
        return self.drifts

    async def close(self) -> None:
        """End."""


async def prepare() -> None:
    """Prepare nothing."""


@dataclass
class Parts:
    """A catalog with what keeps it in step."""

    registry: FakeRegistry
    models: FakeModelServer
    catalog: Catalog
    loader: Loader
    history: LoadHistory
    reconciler: Reconciler


def make_parts(folder: Path) -> Parts:
    """Return the parts of a runtime, of which nothing runs."""
    registry, models = FakeRegistry(), FakeModelServer()
    make_workflow = partial(
        LoadedWorkflow,
        servers={NodeKind.MODEL: models, NodeKind.FUNCTION: models},
        workflow_store=folder,
        model_store=folder,
        measurements=Measurements(),
    )
    catalog = Catalog(make_workflow, queue_size=2, drain_timeout_s=0.1)
    history = LoadHistory(folder / "loads.json")
    loader = Loader(catalog, history)
    reconciler = Reconciler(registry=registry, catalog=catalog, loader=loader, history=history, prepare=prepare)
    return Parts(registry, models, catalog, loader, history, reconciler)
