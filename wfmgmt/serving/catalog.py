"""The workflows that are loaded, or being loaded: found by name, waited for, reported."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import ShuttingDown, WorkflowNotFound, WorkflowNotReady
from wfmgmt.serving.loading import LoadedWorkflow
from wfmgmt.serving.status_log import StatusLog
from wfmgmt.serving.waiting import WaitingRequests

#: How long a request may wait for the registry to be read: until then the time that its workflow has is not known.
UNREAD_WAIT_S = 30.0


class MakeWorkflow(Protocol):
    """Makes a workflow of which nothing is loaded yet."""

    def __call__(self, target: LoadRequest, *, publish: Callable[[WorkflowReport], None]) -> LoadedWorkflow:
        """Return a workflow that passes its reports to `publish`."""


class Catalog:
    """All workflows of this runtime. For the event loop only.

    Args:
        make_workflow: Makes each workflow.
        queue_size: Requests that may wait for one workflow.
        drain_timeout_s: How long accepted requests may take before their workflow is taken down.

    Attributes:
        status_log: How the workflows are.
        is_behind: Whether workflows are registered that it does not have yet.
        is_closing: Whether the runtime is stopping.
    """

    def __init__(self, make_workflow: MakeWorkflow, *, queue_size: int, drain_timeout_s: float) -> None:
        self.status_log = StatusLog()
        self.is_behind = False
        self.is_closing = False
        self._make_workflow = make_workflow
        self._drain_timeout_s = drain_timeout_s
        self._waiting = WaitingRequests(queue_size)
        self._workflows: dict[str, LoadedWorkflow] = {}
        self._by_name: dict[str, LoadedWorkflow] = {}

    def __iter__(self) -> Iterator[LoadedWorkflow]:
        return iter(list(self._workflows.values()))

    @property
    def uids(self) -> Collection[str]:
        """The registrations that it has."""
        return self._workflows.keys()

    def get(self, uid: str) -> LoadedWorkflow | None:
        """Return the workflow of a registration, None when there is none."""
        return self._workflows.get(uid)

    def report(self, uid: str) -> WorkflowReport:
        """Return how a workflow is; its state is `absent` when it is not loaded."""
        return self.status_log.report(uid) or WorkflowReport(uid=uid, workflow="", state=LoadState.ABSENT)

    def find(self, name: str) -> LoadedWorkflow:
        """Return the workflow that a client means.

        Raises:
            WorkflowNotFound: None of that name is registered.
            WorkflowNotReady: It is registered, or may be, but cannot answer now.
            ShuttingDown: The runtime is stopping.
        """
        if self.is_closing:
            raise ShuttingDown("The server is stopping.")
        workflow = self._by_name.get(name)
        if workflow is None or not workflow.state.is_registered:
            if self.is_behind or not self.status_log.is_complete:
                raise WorkflowNotReady(
                    self.status_log.catalog_error or "The runtime has not read the database yet; try again later."
                )
            raise WorkflowNotFound(name)
        if workflow.state is LoadState.SERVING:
            return workflow
        if workflow.state is LoadState.RESTORING:
            raise WorkflowNotReady(f"Workflow {name} is being loaded; try again later.")
        raise WorkflowNotReady(f"Workflow {name} is not loaded: {workflow.report().problem}")

    def can_answer(self, name: str) -> bool:
        """Return whether `find` finds a workflow now."""
        workflow = self._by_name.get(name)
        return workflow is not None and workflow.state is LoadState.SERVING

    async def wait_until_loaded(self, name: str, waited_s: float = 0.0) -> float:
        """Wait for a workflow that is still being loaded, or may be; `find` finds it then.

        Returns:
            For how long the request has waited in all, with `waited_s` from before: a part of its `response_timeout`.

        Raises:
            WorkflowNotReady: The time is over, or waiting longer is not likely to help.
            TooManyRequests: Too many wait for it already.
            WfmgmtError: As for `find`.
        """
        clock = asyncio.get_running_loop().time
        since = clock() - waited_s
        with self._waiting.admit(name):
            while True:
                try:
                    self.find(name)
                except WorkflowNotReady:
                    left_s = since + self._patience_s(name) - clock()
                    if left_s <= 0:
                        raise
                else:
                    return clock() - since
                await self._waiting.wait(name, left_s)

    def _patience_s(self, name: str) -> float:
        """Return for how long a request may wait for a workflow that cannot answer now."""
        workflow = self._by_name.get(name)
        if workflow is None or not workflow.state.is_registered:
            return UNREAD_WAIT_S
        is_coming = workflow.state is LoadState.RESTORING or workflow.is_hopeful
        return workflow.target.response_timeout_s if is_coming else 0.0

    def wake(self, name: str) -> None:
        """Have the requests that wait for a workflow look at it again."""
        self._waiting.wake(name)

    def wake_all(self) -> None:
        """Have all requests that wait look again."""
        self._waiting.wake_all()

    def add(self, target: LoadRequest) -> LoadedWorkflow:
        """Return a new workflow, which has its name from now on and is to be loaded."""
        workflow = self._make_workflow(target, publish=self._publish)
        self._workflows[target.uid] = self._by_name[target.workflow] = workflow
        workflow.publish()
        return workflow

    def _publish(self, report: WorkflowReport) -> None:
        self.status_log.publish(report)
        self._waiting.wake(report.workflow)

    async def unload(self, uid: str) -> None:
        """Take a workflow down once what was accepted is answered; one that is not there is fine."""
        workflow = self._workflows.get(uid)
        if workflow is not None:
            await workflow.unload(self._drain_timeout_s)
            self._workflows.pop(uid, None)
            if self._by_name.get(workflow.target.workflow) is workflow:
                del self._by_name[workflow.target.workflow]
            self._waiting.wake(workflow.target.workflow)
        self.status_log.forget(uid)

    async def drain(self) -> None:
        """Accept no more requests, and return when those accepted are answered or the time for that is over."""
        self.is_closing = True
        self._waiting.wake_all()
        await asyncio.gather(*(workflow.drain(self._drain_timeout_s) for workflow in self))
