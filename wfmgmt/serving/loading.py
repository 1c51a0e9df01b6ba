"""One version of a workflow in the runtime: loading its nodes, predictions, unloading, its status."""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from wfmgmt.control.load_state import LoadEvent, LoadState
from wfmgmt.control.messages import NodeReport, TrafficKind, VersionFigures, WorkflowReport
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind
from wfmgmt.errors import WfmgmtError
from wfmgmt.errors.predictions import NodeRefused
from wfmgmt.serving.measurements import Measurements, NodeMeasurements
from wfmgmt.serving.models.base import Model, ModelKey, ModelNotLoaded, NodeAnswer
from wfmgmt.serving.models.protocol import LoadedModel, ModelServer
from wfmgmt.serving.node_figures import figures_of_nodes
from wfmgmt.serving.node_settings import SettingsFollower
from wfmgmt.serving.predictions import Prediction, WorkflowRunner
from wfmgmt.serving.traffic import is_server_error
from wfmgmt.serving.worker_usage import Usages

_log = logging.getLogger("wfmgmt.runtime")

#: A client that gives up after so long found the version too slow; one that does so earlier wants no answer any more.
ABANDONED_S = 1.0

_FAULTS_BY_PRECEDENCE = (
    Fault.UNREACHABLE,
    Fault.TIMED_OUT,
    Fault.FAILED,
    Fault.NAME_TAKEN,
    Fault.NO_ROOM,
    Fault.MODEL,
    Fault.FILE,
    Fault.ARCHIVE,
)

#: How often it is published which nodes are up while others are not, at most.
_SHOWN_S = 0.25


class LoadedVersion:
    """The nodes of one registration: of one version of a workflow. For the event loop only.

    Args:
        target: What to load.
        servers: Where nodes of each kind run.
        workflow_store: Folder of the .war files.
        model_store: Folder of the .mar files.
        measurements: Where to count what happens at each node.
        publish: Called with a new report whenever something changed.

    Attributes:
        target: What is loaded.
        state: How far that is, and whether clients may know of it.
        worked_before: Whether it came up when it was loaded last, as far as is known.
        is_hopeful: Whether requests wait for it although loading it failed.
        is_routed: Whether the routing in force names it.
        number: The place of it in the order in which versions were added.
        last_used: When the last request to it ended, or it lost its share, on the loop's clock.
        traffic: The requests to it.
        copies: The copies of requests that it works on.
    """

    def __init__(
        self,
        target: LoadRequest,
        *,
        servers: Mapping[NodeKind, ModelServer],
        workflow_store: Path,
        model_store: Path,
        measurements: Measurements,
        publish: Callable[[WorkflowReport], None],
    ) -> None:
        self.target = target
        self.state = LoadState.LOADING
        self.worked_before = True
        self.is_hopeful = False
        self.is_routed = True
        self.number = 0
        self.last_used = asyncio.get_running_loop().time()
        self.traffic = measurements.start_version(target.workflow, target.version)
        self.copies: set[asyncio.Task[None]] = set()
        self._workflow_store = workflow_store
        self._model_store = model_store
        self._publish = publish
        self._failures: dict[str, str] = {}
        self._faults: set[Fault] = set()
        self._is_out_of_space = False
        self._task: asyncio.Task[None] | None = None
        self._measurements = measurements
        self._measured: Mapping[str, NodeMeasurements] = {}
        self._runner: WorkflowRunner | None = None
        self._shown_at = -_SHOWN_S
        self._settings: SettingsFollower | None = None
        self._revision = 0
        self._servers = servers
        self._models: dict[str, LoadedModel] = {}
        self._under_way = 0
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    @property
    def problem(self) -> str:
        """Why it did not come up, in one line; empty while another attempt may be under way."""
        if not self.state.has_failed:
            return ""
        return "; ".join(f"{node}: {reason}" for node, reason in self._failures.items())

    @property
    def _log_fields(self) -> dict[str, str]:
        """What lines of the log about it belong to."""
        target = self.target
        return {"workflow": target.workflow, "version": target.version, "request_id": target.request_id}

    def has_node(self, node: str) -> bool:
        """Return whether it has a node of that name."""
        return any(each.name == node for each in self.target.nodes)

    def has_reached(self, revision: int) -> bool:
        """Return whether all settings of nodes are in force that came with a revision or later."""
        return self._settings is None or self._settings.has_reached(revision)

    def settings_problem(self, revision: int) -> str:
        """Return why they are not, in one line; empty while nothing has gone wrong."""
        return "" if self._settings is None else self._settings.problem(revision)

    def report(self) -> WorkflowReport:
        """Return how the version is."""
        return WorkflowReport(
            uid=self.target.uid,
            workflow=self.target.workflow,
            version=self.target.version,
            is_routed=self.is_routed,
            state=self.state,
            nodes={node.name: self._node_report(node) for node in self.target.nodes},
            failures=self._failures,
            fault=next((fault for fault in _FAULTS_BY_PRECEDENCE if fault in self._faults), Fault.MODEL),
            is_out_of_space=self._is_out_of_space,
            worked_before=self.worked_before,
        )

    def _node_report(self, node: Node) -> NodeReport:
        is_loading = self._runner is None and self.state is LoadState.LOADING
        model = self._models.get(node.name) if self._runner is not None or is_loading else None
        if model is None:
            return NodeReport(kind=node.kind, wanted=node.settings.min_workers)
        status = model.status
        return NodeReport(kind=node.kind, wanted=status.wanted, ready=status.ready, error=status.error)

    async def predict(self, prediction: Prediction) -> Mapping[str, NodeAnswer]:
        """Take a request through the graph of a version that is loaded; see `WorkflowRunner.run`."""
        if self._runner is None:
            raise RuntimeError(f"{self.target.workflow} was never loaded")
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            answers = await self._runner.run(prediction)
        except WfmgmtError as error:
            is_failure = not isinstance(error, NodeRefused) or is_server_error(error.status)
            self._record(prediction.kind, began, clock(), is_failure=is_failure)
            raise
        except asyncio.CancelledError:
            if prediction.kind is not TrafficKind.MIRROR:
                self.record_abandoned(prediction.kind, clock() - began)
            raise
        is_failure = any(is_server_error(answer.status) for answer in answers.values())
        self._record(prediction.kind, began, clock(), is_failure=is_failure)
        return answers

    def record_refusal(self, kind: TrafficKind, waited_s: float) -> None:
        """Count a request that it could not take as one that it failed: a guard has to see that it is down."""
        now = asyncio.get_running_loop().time()
        self._record(kind, now - waited_s, now, is_failure=True)

    def record_abandoned(self, kind: TrafficKind, waited_s: float) -> None:
        """Count a request whose client gave up: of a version that hangs a guard may never see anything else."""
        now = asyncio.get_running_loop().time()
        self._record(kind, now - waited_s, now, is_failure=waited_s >= ABANDONED_S)

    def _record(self, kind: TrafficKind, began: float, now: float, *, is_failure: bool) -> None:
        self.traffic.of(kind).record(now, now - began, is_failure=is_failure)

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """Its nodes as they are loaded, by name; none until all are."""
        return {} if self._runner is None else self._models

    def figures(self, usages: Usages) -> VersionFigures:
        """Return what was measured in the last minute; `usages` says what workers take, as far as it was read."""
        now, runner = asyncio.get_running_loop().time(), self._runner
        return VersionFigures(
            traffic=self.traffic.figures(now),
            in_flight=self._under_way,
            dropped=self.traffic.dropped,
            nodes={} if runner is None else figures_of_nodes(self._models, runner.figures, usages),
        )

    @contextmanager
    def accepting(self) -> Iterator[None]:
        """Keep the version loaded while a request that was accepted is answered."""
        self._under_way += 1
        self._is_quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._is_quiet.set()
                self.last_used = asyncio.get_running_loop().time()

    @property
    def may_be_parked(self) -> bool:
        """Whether it is not needed now: it has no share, and answers nothing."""
        return not self.is_routed and not self._under_way and self.state in {LoadState.SERVING, LoadState.DOWN}

    async def drain(self, timeout_s: float) -> None:
        """Accept nothing more, and return when what was accepted is answered or the time is over."""
        self.leave()
        try:
            await asyncio.wait_for(self._is_quiet.wait(), timeout_s)
        except TimeoutError:
            _log.warning(
                "abandoned %d requests that took longer than WFMGMT_DRAIN_TIMEOUT_S",
                self._under_way,
                extra=self._log_fields,
            )

    def on_registered(self) -> None:
        """Let clients know of the version: the registry calls it ready."""
        self._move(LoadEvent.REGISTERED)

    def retry(self) -> None:
        """Let clients wait for it once more, since a load that failed is asked for again."""
        self._move(LoadEvent.RETRIED)

    def _move(self, event: LoadEvent) -> None:
        before, self.state = self.state, self.state.after(event)
        if self.state is not before:
            self.publish()

    def set_routed(self, is_routed: bool) -> None:  # noqa: FBT001 - a setter
        """Record whether the routing in force names it."""
        if is_routed is not self.is_routed:
            self.is_routed = is_routed
            self.last_used = asyncio.get_running_loop().time()
            self.publish()

    def drop_copies(self) -> None:
        """End copies of requests that it works on: those that wait would hold up requests that have clients."""
        for copy in self.copies:
            copy.cancel()

    def follow(self, target: LoadRequest, revision: int) -> None:
        """Take over settings of nodes that were changed since it was read what to load.

        Args:
            target: What was read now.
            revision: The revision of the workflow that was read.
        """
        self.target, self._revision = target, revision
        if self._settings is not None:
            self._settings.follow(target.nodes, revision)

    def leave(self) -> None:
        """Accept nothing more, since it is to be taken down."""
        self.state = self.state.after(LoadEvent.LEFT)

    def publish(self) -> None:
        """Publish how the version is."""
        self._publish(self.report())

    def _on_node_change(self) -> None:
        """Publish how the version is when the workers of a node changed; while it loads that is not shown."""
        if self.state.is_loaded:
            self.publish()

    async def load(self) -> None:
        """Bring every node up; afterwards it has come up, or failed with nothing of it left running.

        While a failed load is tried again it stays failed, so attempts that change nothing are not published.
        """
        if self.state in {LoadState.LEAVING, LoadState.ABSENT}:
            return  # It was unloaded before its turn came.
        self._is_out_of_space = False
        self._faults.clear()
        self._task, failed_before = asyncio.current_task(), self._failures
        loading = self.target
        try:
            self._failures = await self._load_nodes(loading)
            if not self._failures:
                self._start_runner(loading)
        except Exception as error:  # noqa: BLE001 - a load that fails in any way has to end
            _log.error("loading broke off", exc_info=error, extra=self._log_fields)
            self._failures = {self.target.nodes[0].name: f"the runtime failed: {type(error).__name__}"}
        try:
            if self._failures:
                await self._unload_nodes()
        finally:
            self._task = None
        self.state = self.state.after(LoadEvent.FAILED if self._failures else LoadEvent.CAME_UP)
        self.last_used = asyncio.get_running_loop().time()
        for node, reason in self._failures.items() - failed_before.items():
            _log.warning("not loaded: %s", reason, extra={**self._log_fields, "node": node})
        self.target = replace(self.target, request_id="")  # What comes later is not that request's doing.
        self.publish()

    def _start_runner(self, loaded: LoadRequest) -> None:
        """Make what is needed only for a version that runs; there may be very many that do not.

        Args:
            loaded: What was loaded; settings may have changed meanwhile.
        """
        names = [node.name for node in loaded.nodes]
        self._measured = self._measurements.start(loaded.workflow, names)
        infer = {node: model.infer for node, model in self._models.items()}
        self._runner = runner = WorkflowRunner(loaded, infer=infer, measured=self._measured)
        self._settings = SettingsFollower(
            self._models, loaded.nodes, set_retries=runner.set_retries, on_change=self._on_node_change
        )
        self._settings.follow(self.target.nodes, self._revision)

    async def _load_nodes(self, target: LoadRequest) -> dict[str, str]:
        """Bring all nodes up at once; return the reasons of those that failed, in the order of the graph."""
        nodes = target.nodes
        outcomes = await asyncio.gather(*map(self._load_node, nodes), return_exceptions=True)
        return dict(filter(None, map(self._failure, (node.name for node in nodes), outcomes)))

    async def _load_node(self, node: Node) -> None:
        server = self._servers[node.kind]
        self._models[node.name] = await server.load(self._model(node), on_change=self._on_node_change)
        now = asyncio.get_running_loop().time()
        if self.state is LoadState.LOADING and now - self._shown_at >= _SHOWN_S:
            self._shown_at = now
            self.publish()

    def _failure(self, node: str, outcome: BaseException | None) -> tuple[str, str] | None:
        """Return which node failed and why, None for one that came up."""
        if outcome is None:
            return None
        if isinstance(outcome, ModelNotLoaded):
            cause = outcome.__cause__
            self._faults.add(outcome.fault)
            self._is_out_of_space |= isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
            return outcome.node, outcome.reason
        if not isinstance(outcome, Exception):
            raise outcome
        _log.error("loading broke off", exc_info=outcome, extra={**self._log_fields, "node": node})
        return node, f"the runtime failed: {type(outcome).__name__}"

    def _model(self, node: Node) -> Model:
        target = self.target
        is_function = node.kind is NodeKind.FUNCTION
        if is_function:
            archive, sha256 = self._workflow_store / target.archive_file, target.archive_sha256
        else:
            archive, sha256 = self._model_store / str(node.model_file), str(node.model_sha256)
        return Model(
            key=ModelKey(target.uid, node.name),
            workflow=target.workflow,
            version=target.version,
            archive=archive,
            archive_sha256=sha256,
            handler=f"{target.handler}:{node.name}" if is_function else None,
            settings=node.settings,
            threads=node.threads,
            startup_timeout_s=target.startup_timeout_s,
            request_id=target.request_id,
        )

    async def unload(self, drain_timeout_s: float = 0.0) -> None:
        """Take every node down, ending a load that is under way, after accepted requests were answered."""
        await self.drain(drain_timeout_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._settings is not None:
            await self._settings.close()
        await self._unload_nodes()
        measured, self._measured = self._measured, {}  # Once, also when several have it unloaded.
        self._measurements.stop(self.target.workflow, measured)
        self._measurements.stop_version(self.target.workflow, self.target.version, self.traffic)
        self.state = self.state.after(LoadEvent.GONE)

    async def _unload_nodes(self) -> None:
        await asyncio.gather(*(model.unload() for model in self._models.values()))
