"""The parts of a runtime over a registry and model servers in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wfmgmt.control.start_marker import StartMarker
from wfmgmt.domain.access import Role
from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.releases import FIRST_VERSION, Release, ReleaseKind, RoutingTable, WorkflowTarget
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.tokens import Token
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.http.failed_logins import FailedLogins
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.drift_check import DriftCheck
from wfmgmt.serving.inference_tokens import InferenceTokens
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.mirroring import Mirror
from wfmgmt.serving.models.base import Drift, Model, ModelNotLoaded, NodeAnswer, NodeRequest, WorkerFacts, WorkerStatus
from wfmgmt.serving.node_logs import NodeLogs
from wfmgmt.serving.predictions import AdmissionControl, PredictionLimits
from wfmgmt.serving.reconciler import Reconciler
from wfmgmt.serving.rollouts import RolloutLoop
from wfmgmt.serving.runtime import Runtime
from wfmgmt.serving.worker_usage import WorkerUsages


def make_request(
    uid: str,
    *,
    workflow: str = "",
    version: str = FIRST_VERSION,
    response_timeout_s: int = 60,
    settings: NodeSettings | None = None,
) -> LoadRequest:
    """Return the request to load a workflow of one model, which is called after its registration unless given."""
    node = Node(name="m", kind=NodeKind.MODEL, model_file="m.mar", model_sha256="", settings=settings or NodeSettings())
    return LoadRequest(
        uid=uid,
        workflow=workflow or uid,
        version=version,
        archive_file="w.war",
        archive_sha256="",
        handler=None,
        startup_timeout_s=60,
        response_timeout_s=response_timeout_s,
        nodes=(node,),
        edges=(),
    )


@dataclass
class Row:
    """A workflow in the fake registry.

    Attributes:
        change: Number of its last change.
        statuses: Its versions, by version.
        release: What the current release says.
        revision: How many changes it has had.
        settings: Of the nodes of its versions.
    """

    change: int
    statuses: dict[str, WorkflowStatus]
    release: RoutingTable | None = None
    revision: int = 0
    settings: dict[str, NodeSettings] = field(default_factory=dict)


class FakeRegistry:
    """A registry in memory that counts what it is asked, and fails as a test wants it.

    The workflow is called after the uid of its first version unless `names` says otherwise, and the uid of a further
    version is `uid/version`.
    """

    def __init__(self) -> None:
        self.change = 0
        self.rows: dict[str, Row] = {}
        self.gone: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.has_gap = False
        self.slices_read = 0
        self.fails_at_slice: int | None = None
        self.problem = ""
        self.recorded: list[Drift] = []
        self.made_at = ""
        self.accepted: list[Token] = []
        self.used: list[int] = []
        self.reads_of_tokens = 0

    def last_change(self) -> int:
        """Return the number of the last change."""
        if self.problem:
            raise RegistryUnavailable(self.problem)
        return self.change

    def tokens(self) -> tuple[list[Token], bool]:
        """Return the tokens that are accepted; the first one was the first ever."""
        self.reads_of_tokens += 1
        return self.accepted, bool(self.accepted)

    def record_uses(self, ids: Sequence[int]) -> None:
        """Write down that tokens were used."""
        if self.problem:
            raise RegistryUnavailable(self.problem)
        self.used += ids

    def put(self, uid: str, status: WorkflowStatus = WorkflowStatus.READY, *, version: str = FIRST_VERSION) -> None:
        """Change a version; the first one of a workflow that is ready gets all requests."""
        row = self._changed(uid)
        row.statuses[version] = status
        if status is WorkflowStatus.READY:
            row.release = row.release or RoutingTable.all_to(version)

    def release(self, uid: str, table: RoutingTable) -> None:
        """Make a release."""
        self._changed(uid).release = table

    def change_settings(self, uid: str, settings: NodeSettings, *, version: str = FIRST_VERSION) -> None:
        """Change the settings of the node of a version."""
        self._changed(uid).settings[version] = settings

    def _changed(self, uid: str) -> Row:
        self.change += 1
        row = self.rows.setdefault(uid, Row(self.change, {}))
        row.change = self.change
        row.revision += 1
        return row

    def remove(self, uid: str, *, version: str | None = None) -> None:
        """Remove a workflow, or one of its versions."""
        if version is not None:
            del self._changed(uid).statuses[version]
            return
        self.change += 1
        self.gone[uid] = self.change
        del self.rows[uid]

    def changes(self, since: int) -> Changes:
        """Return what changed."""
        self._check()
        if self.has_gap:
            return Changes(number=self.change, workflows=(), removed=(), has_gap=True)
        return Changes(
            number=self.change,
            workflows=tuple(uid for uid, row in self.rows.items() if row.change > since),
            removed=tuple(uid for uid, change in self.gone.items() if change > since),
        )

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return some rows, in the order in which they were made."""
        if self.slices_read == self.fails_at_slice:
            raise RegistryUnavailable("locked")
        self.slices_read += 1
        uids = list(self.rows)[last : last + limit]
        end = last + limit if len(uids) == limit else None
        return RegistrySlice(changes={uid: self.rows[uid].change for uid in uids}, last=end)

    def targets(self, uids: Sequence[str]) -> list[WorkflowTarget]:
        """Return what is to run."""
        self._check()
        return [self._target(uid, self.rows[uid]) for uid in uids if uid in self.rows]

    def _target(self, uid: str, row: Row) -> WorkflowTarget:
        ready = [version for version, status in row.statuses.items() if status is WorkflowStatus.READY]
        release = Release(
            number=row.revision, at=self.made_at, actor="", reason="", kind=ReleaseKind.TRAFFIC, previous=None,
            table=row.release or RoutingTable(),
        )  # fmt: skip
        return WorkflowTarget(
            uid=uid,
            name=self.names.get(uid, uid),
            change=row.change,
            revision=row.revision,
            statuses={version_uid(uid, version): status for version, status in row.statuses.items()},
            versions={version: version_uid(uid, version) for version in ready},
            release=None if row.release is None else release,
        )

    def uids(self) -> set[str]:
        """Return the versions of all rows."""
        self._check()
        return {version_uid(uid, version) for uid, row in self.rows.items() for version in row.statuses}

    def load_requests(self, uids: list[str]) -> Iterable[LoadRequest]:
        """Return what is needed to load those that are ready."""
        self._check()
        return [
            make_request(
                version_uid(uid, version),
                workflow=self.names.get(uid, uid),
                version=version,
                settings=row.settings.get(version),
            )
            for uid, row in self.rows.items()
            for version, status in row.statuses.items()
            if version_uid(uid, version) in uids and status is WorkflowStatus.READY
        ]

    def record(self, drifts: Sequence[Drift]) -> None:
        """Keep differences."""
        self._check()
        self.recorded += drifts

    def _check(self) -> None:
        if self.problem:
            raise RegistryUnavailable(self.problem)


def version_uid(uid: str, version: str) -> str:
    """Return the registration of a version of a workflow in the fake registry."""
    return uid if version == FIRST_VERSION else f"{uid}/{version}"


class FakeLoadedModel:
    """A model with one worker that answers what it is asked, or never.

    Attributes:
        asked: The requests to it.
        answers: What comes of them, in turn and then the last one again: an answer, an error, or None for never.
        done: What was changed about it, in order.
        problem: Why it cannot be scaled.
    """

    def __init__(self, on_unload: Callable[[], None]) -> None:
        self.status = WorkerStatus(wanted=1, ready=1)
        self.workers: list[WorkerFacts] = []
        self.queued = 0
        self.busy_s: float | None = None
        self.asked: list[NodeRequest] = []
        self.answers: list[NodeAnswer | Exception | None] = [None]
        self.done: list[object] = []
        self.problem = ""
        self._on_unload = on_unload

    def infer(self, request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        """Answer, fail or do neither."""
        del avoid
        self.asked.append(request)
        outcome = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answered = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Exception):
            answered.set_exception(outcome)
        elif outcome is not None:
            answered.set_result(outcome)
        return answered

    async def scale(self, minimum: int, maximum: int) -> None:
        """Keep the numbers, or fail."""
        if self.problem:
            raise ModelNotLoaded("m", self.problem)
        self.done.append((minimum, maximum))

    async def change(self, settings: NodeSettings) -> None:
        """Keep the settings."""
        self.done.append(settings)

    async def unload(self) -> None:
        """Be gone."""
        self._on_unload()


class FakeModelServer:
    """A model server that loads at once, unless a test has it fail or wait."""

    def __init__(self) -> None:
        self.check_wanted = asyncio.Event()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.attempts: list[str] = []
        self.loaded: set[str] = set()
        self.models: dict[str, FakeLoadedModel] = {}
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
        self.models[model.key.uid] = FakeLoadedModel(partial(self.loaded.discard, model.key.uid))
        return self.models[model.key.uid]

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
    measurements: Measurements
    catalog: Catalog
    loader: Loader
    history: LoadHistory
    reconciler: Reconciler


def make_parts(folder: Path, *, standby_s: float = 600) -> Parts:
    """Return the parts of a runtime, of which nothing runs."""
    registry, models, measurements = FakeRegistry(), FakeModelServer(), Measurements()
    make_version = partial(
        LoadedVersion,
        servers={NodeKind.MODEL: models, NodeKind.FUNCTION: models},
        workflow_store=folder,
        model_store=folder,
        measurements=measurements,
    )
    catalog = Catalog(make_version, queue_size=2, drain_timeout_s=0.1)
    history = LoadHistory(folder / "loads.json")
    loader = Loader(catalog, history)
    reconciler = Reconciler(
        registry=registry, catalog=catalog, loader=loader, history=history, standby_s=standby_s, prepare=prepare
    )
    return Parts(registry, models, measurements, catalog, loader, history, reconciler)


def open_tokens(registry: FakeRegistry) -> InferenceTokens:
    """Return what lets everybody do everything."""
    return InferenceTokens(
        registry,
        failed=FailedLogins(),
        anonymous=Role.ADMIN,
        until_first_token=False,
        has_open_predictions=True,
        has_open_metrics=True,
    )


def make_runtime(parts: Parts) -> Runtime:
    """Return a runtime of these parts, of which nothing runs."""
    limits = PredictionLimits()
    return Runtime(
        catalog=parts.catalog,
        loader=parts.loader,
        history=parts.history,
        reconciler=parts.reconciler,
        drift_check=DriftCheck(
            models=parts.models,
            registry=parts.registry,
            catalog=parts.catalog,
            measurements=parts.measurements,
            interval_s=None,
        ),
        measurements=parts.measurements,
        admission=AdmissionControl(limits),
        mirror=Mirror(limits),
        rollouts=RolloutLoop(parts.catalog, lambda _name, _judged, _following, _verdict: None),
        node_logs=NodeLogs(),
        usages=WorkerUsages(),
        tokens=open_tokens(parts.registry),
        start=StartMarker(None),
    )
