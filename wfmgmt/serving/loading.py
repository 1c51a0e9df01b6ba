"""One workflow in the runtime: bringing its nodes up, taking them down, telling how they are."""

import asyncio
import errno
import logging
from collections.abc import Callable
from pathlib import Path

from wfmgmt.domain.workflow import DeployedNode, Deployment, NodeKind
from wfmgmt.serving.control import LoadState, NodeReport, WorkflowReport
from wfmgmt.serving.models.base import Model, ModelNotLoaded, ModelServer, WorkerStatus
from wfmgmt.serving.models.local.server import FunctionGroup, LocalFunctions

_log = logging.getLogger("wfmgmt.runtime")


class LoadedWorkflow:
    """The nodes of one registration. For the event loop only.

    Args:
        deployment: What to load.
        models: Where model nodes run.
        functions: Where function nodes run.
        workflow_store: Folder of the .war files.
        model_store: Folder of the .mar files.
        publish: Called with a new report whenever something changed.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        models: ModelServer,
        functions: LocalFunctions,
        workflow_store: Path,
        model_store: Path,
        publish: Callable[[WorkflowReport], None],
    ) -> None:
        self.deployment = deployment
        self.state = LoadState.LOADING
        self.is_registered = False
        self._models = models
        self._functions = functions
        self._workflow_store = workflow_store
        self._model_store = model_store
        self._publish = publish
        self._failures: dict[str, str] = {}
        self._is_out_of_space = False
        self._task: asyncio.Task[None] | None = None

    def key(self, node: str) -> str:
        """Return what the model server knows a node by: registrations never share a worker, whatever their names."""
        return f"{self.deployment.uid}/{node}"

    def report(self) -> WorkflowReport:
        """Return how the workflow is."""
        return WorkflowReport(
            uid=self.deployment.uid,
            workflow=self.deployment.workflow,
            state=self.state,
            nodes={node.name: self._node_report(node) for node in self.deployment.nodes},
            failures=self._failures,
            is_out_of_space=self._is_out_of_space,
            is_registered=self.is_registered,
        )

    def _node_report(self, node: DeployedNode) -> NodeReport:
        if self.state is not LoadState.LOADED:
            return NodeReport(kind=node.kind, wanted=node.settings.min_workers)
        status: WorkerStatus
        if node.kind is NodeKind.MODEL:
            status = self._models.status(self.key(node.name))
        else:
            status = self._functions.status(self.deployment.uid)
        return NodeReport(kind=node.kind, wanted=status.wanted, ready=status.ready, error=status.error)

    def note_registered(self) -> None:
        """Take note that the database calls the workflow ready."""
        if not self.is_registered:
            self.is_registered = True
            self.tell()

    def tell(self) -> None:
        """Publish how the workflow is."""
        self._publish(self.report())

    async def load(self) -> None:
        """Bring every node up; afterwards the state is `loaded`, or `failed` with nothing of it left running.

        While a failed load is tried again the state stays `failed`, so nobody hears of tries that change nothing.
        """
        if self.state is LoadState.ABSENT:
            return  # It was unloaded before its turn came.
        self._is_out_of_space = False
        self._task, failed_before = asyncio.current_task(), self._failures
        try:
            self._failures = await self._load_nodes()
        except Exception as error:  # noqa: BLE001 - whatever went wrong, waiting for it is over
            _log.error("loading broke off", exc_info=error, extra={"workflow": self.deployment.workflow})
            self._failures = {self.deployment.nodes[0].name: f"the runtime failed: {type(error).__name__}"}
        try:
            if self._failures:
                await self._unload_nodes()
        finally:
            self._task = None
        self.state = LoadState.FAILED if self._failures else LoadState.LOADED
        for node, reason in self._failures.items() - failed_before.items():
            _log.warning("not loaded: %s", reason, extra={"workflow": self.deployment.workflow, "node": node})
        self.tell()

    async def _load_nodes(self) -> dict[str, str]:
        """Bring all nodes up at once; return the reasons of those that failed, in the order of the graph."""
        nodes = self.deployment.nodes
        loads = {node.name: self._models.load(self._model(node)) for node in nodes if node.kind is NodeKind.MODEL}
        functions = tuple(node.name for node in nodes if node.kind is NodeKind.FUNCTION)
        if functions:
            loads[functions[0]] = self._functions.load(self._group(functions))
        outcomes = await asyncio.gather(*loads.values(), return_exceptions=True)
        failures = dict(filter(None, map(self._failure, loads, outcomes)))
        return {node.name: failures[node.name] for node in nodes if node.name in failures}

    def _failure(self, node: str, outcome: BaseException | None) -> tuple[str, str] | None:
        """Return which node failed and why, None for one that came up."""
        if outcome is None:
            return None
        if isinstance(outcome, ModelNotLoaded):
            cause = outcome.__cause__
            self._is_out_of_space |= isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
            return outcome.node, outcome.reason
        if not isinstance(outcome, Exception):
            raise outcome
        _log.error("loading broke off", exc_info=outcome, extra={"workflow": self.deployment.workflow, "node": node})
        return node, f"the runtime failed: {type(outcome).__name__}"

    def _model(self, node: DeployedNode) -> Model:
        settings = node.settings
        return Model(
            name=self.key(node.name),
            workflow=self.deployment.workflow,
            node=node.name,
            archive=self._model_store / str(node.archive_file),
            archive_sha256=str(node.archive_sha256),
            min_workers=settings.min_workers,
            max_workers=settings.max_workers,
            batch_size=settings.batch_size,
            startup_timeout_s=self.deployment.startup_timeout_s,
        )

    def _group(self, functions: tuple[str, ...]) -> FunctionGroup:
        return FunctionGroup(
            name=self.deployment.uid,
            workflow=self.deployment.workflow,
            archive=self._workflow_store / self.deployment.archive_file,
            archive_sha256=self.deployment.archive_sha256,
            handler=str(self.deployment.handler),
            functions=functions,
            startup_timeout_s=self.deployment.startup_timeout_s,
        )

    async def unload(self) -> None:
        """Take every node down, ending a load that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._unload_nodes()
        self.state = LoadState.ABSENT

    async def _unload_nodes(self) -> None:
        unloads = [self._models.unload(self.key(n.name)) for n in self.deployment.nodes if n.kind is NodeKind.MODEL]
        await asyncio.gather(*unloads, self._functions.unload(self.deployment.uid))
