"""The workflows that are served: found by name and version, waited for, reported."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Protocol

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import ShuttingDown, VersionNotFound, WorkflowNotFound, WorkflowNotReady
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.status_log import StatusLog
from wfmgmt.serving.waiting import WaitingRequests
from wfmgmt.serving.workflows import ServedWorkflow, Wanted

#: How long a request may wait for the registry to be read: until then the time that its workflow has is not known.
UNREAD_WAIT_S = 30.0


class MakeVersion(Protocol):
    """Makes a version of which nothing is loaded yet."""

    def __call__(self, target: LoadRequest, *, publish: Callable[[WorkflowReport], None]) -> LoadedVersion:
        """Return a version that passes its reports to `publish`."""


class Catalog:
    """All workflows of this runtime, with their versions. For the event loop only.

    Iteration gives the versions that are loaded or being loaded.

    Args:
        make_version: Makes each version.
        queue_size: Requests that may wait for one workflow.
        drain_timeout_s: How long accepted requests may take before their version is taken down.

    Attributes:
        status_log: How the versions are.
        is_behind: Whether workflows are registered that it does not have yet.
        is_closing: Whether the runtime is stopping.
        standby: Registrations of versions that are loaded, or were to be, without the routing in force naming them.
        called_for: Registrations of parked versions that requests wait for.
        changed: Names of workflows with versions that came, went or changed since the reconciler emptied it.
        watched: Workflows whose release in force has a guard or steps.
        progress: Set, and replaced by another one, when anything may have come closer to its target.
        added: Versions that were ever added, each of which has its number.
        look_wanted: Set when the reconciler should look at once: something is called for, or has changed.
    """

    def __init__(self, make_version: MakeVersion, *, queue_size: int, drain_timeout_s: float) -> None:
        self.status_log = StatusLog()
        self.is_behind = False
        self.is_closing = False
        self.standby: set[str] = set()
        self.called_for: set[str] = set()
        self.changed: set[str] = set()
        self.watched: set[ServedWorkflow] = set()
        self.progress = asyncio.Event()
        self.added = 0
        self.look_wanted = asyncio.Event()
        self._make_version = make_version
        self._drain_timeout_s = drain_timeout_s
        self._waiting = WaitingRequests(queue_size)
        self._versions: dict[str, LoadedVersion] = {}
        self._workflows: dict[str, ServedWorkflow] = {}
        self._followed: dict[str, ServedWorkflow] = {}

    def __iter__(self) -> Iterator[LoadedVersion]:
        return iter(list(self._versions.values()))

    @property
    def uids(self) -> Collection[str]:
        """The registrations that are loaded or being loaded."""
        return self._versions.keys()

    @property
    def followed(self) -> Collection[ServedWorkflow]:
        """The workflows of which something is ready or loaded, as far as the registry was read."""
        return self._followed.values()

    def get(self, uid: str) -> LoadedVersion | None:
        """Return the version of a registration, None when nothing of it is loaded."""
        return self._versions.get(uid)

    def named(self, name: str) -> ServedWorkflow | None:
        """Return a workflow by its name."""
        return self._workflows.get(name)

    def workflow(self, uid: str) -> ServedWorkflow | None:
        """Return a workflow that the registry was read to have, by its identity."""
        return self._followed.get(uid)

    def on_registered(self, version: LoadedVersion) -> None:
        """Let clients know of a version: the registry calls it ready."""
        self._workflows[version.target.workflow].on_registered(version)

    def is_known(self, target: LoadRequest) -> bool:
        """Return whether the registry was read to have a version as ready."""
        workflow = self._workflows.get(target.workflow)
        return workflow is not None and workflow.uids.get(target.version) == target.uid

    def report(self, uid: str) -> WorkflowReport:
        """Return how a version is; its state is `absent` when it is not loaded."""
        return self.status_log.report(uid) or WorkflowReport(uid=uid, workflow="", state=LoadState.ABSENT)

    def serving(self, wanted: Wanted) -> LoadedVersion | None:
        """Return what `find` finds, None when it finds nothing that can answer now."""
        workflow = self._workflows.get(wanted.workflow)
        return None if workflow is None else workflow.serving(wanted)

    def can_answer(self, wanted: Wanted) -> bool:
        """Return whether `find` finds a version now."""
        return self.serving(wanted) is not None

    def mirrored(self, wanted: Wanted) -> LoadedVersion | None:
        """Return the version that is to get a copy of a request, whether it can answer or not; None when none is."""
        workflow = self._workflows.get(wanted.workflow)
        return None if workflow is None else workflow.mirrored(wanted)

    def node_called(self, model: str) -> tuple[str, str] | None:
        """Return the workflow and the node that the name of a model stands for; None when it has not the form of one.

        TorchServe calls the model of a node `{workflow}__{node}`. Either may have such underscores itself: a workflow
        that has the node goes before one that has not, and one that exists before one that does not.
        """
        pairs = [(model[:at], model[at + 2 :]) for at in range(1, len(model) - 2) if model.startswith("__", at)]
        has_node = (pair for pair in pairs if (known := self._workflows.get(pair[0])) and known.has_node(pair[1]))
        exists = (pair for pair in pairs if pair[0] in self._workflows)
        return next(chain(has_node, exists, pairs), None)

    def find(self, wanted: Wanted) -> LoadedVersion:
        """Return the version that a client means.

        Raises:
            WorkflowNotFound: No workflow of that name is registered.
            VersionNotFound: It has no such version.
            WorkflowNotReady: It is registered, or may be, but cannot answer now.
            ShuttingDown: The runtime is stopping.
        """
        if self.is_closing:
            raise ShuttingDown("The server is stopping.")
        version = self.serving(wanted)
        if version is not None:
            return version
        raise self._absence(wanted)

    def _absence(self, wanted: Wanted) -> WorkflowNotReady | WorkflowNotFound | VersionNotFound:
        """Return why a workflow cannot answer now."""
        label = f"{wanted.workflow} version {wanted.version}" if wanted.version else wanted.workflow
        workflow = self._workflows.get(wanted.workflow)
        version = self._coming(wanted)
        if version is not None and version.state is LoadState.DOWN:
            return WorkflowNotReady(f"Workflow {label} is not loaded: {version.problem}")
        if version is not None or self._parked(wanted) is not None:
            return WorkflowNotReady(f"Workflow {label} is being loaded; try again later.")
        if self.is_behind or not self.status_log.is_complete:
            return WorkflowNotReady(
                self.status_log.catalog_error or "The runtime has not read the database yet; try again later."
            )
        if wanted.version and workflow is not None and workflow.is_routed:
            return VersionNotFound(wanted.workflow, wanted.version)
        return WorkflowNotFound(wanted.workflow)

    def _coming(self, wanted: Wanted) -> LoadedVersion | None:
        """Return the version that a request is for if clients may know of it, whether it is loaded or not."""
        workflow = self._workflows.get(wanted.workflow)
        version = None if workflow is None else workflow.versions.get(workflow.choose(wanted) or "")
        return version if version is not None and version.state.is_registered else None

    def _parked(self, wanted: Wanted) -> str | None:
        """Return the registration of the version that a request is for if it is ready in the registry only."""
        workflow = self._workflows.get(wanted.workflow)
        return None if workflow is None else workflow.uids.get(workflow.choose(wanted) or "")

    async def wait_until_loaded(self, wanted: Wanted, waited_s: float = 0.0) -> float:
        """Wait for a version that is still being loaded, or may be; `find` finds it then. One that is parked is loaded.

        Returns:
            For how long the request has waited in all, with `waited_s` from before: a part of its `response_timeout`.

        Raises:
            WorkflowNotReady: The time is over, or waiting longer is not likely to help.
            Saturated: Too many wait for it already.
            WfmgmtError: As for `find`.
        """
        clock = asyncio.get_running_loop().time
        since = clock() - waited_s
        with self._waiting.admit(wanted.workflow):
            while True:
                try:
                    self.find(wanted)
                except WorkflowNotReady:
                    left_s = since + self._patience_s(wanted) - clock()
                    if left_s <= 0:
                        if (version := self._coming(wanted)) is not None:
                            version.record_refusal(wanted.kind, clock() - since)
                        raise
                else:
                    return clock() - since
                try:
                    await self._waiting.wait(wanted.workflow, left_s)
                except asyncio.CancelledError:
                    if (version := self._coming(wanted)) is not None:
                        version.record_abandoned(wanted.kind, clock() - since)
                    raise

    def _patience_s(self, wanted: Wanted) -> float:
        """Return for how long a request may wait for a version that cannot answer now; call for it if it is parked."""
        version = self._coming(wanted)
        if version is not None:
            is_coming = version.state is LoadState.RESTORING or version.is_hopeful
            return version.target.response_timeout_s if is_coming else 0.0
        uid = self._parked(wanted)
        if uid is not None and uid not in self.called_for:
            self.called_for.add(uid)
            self.look_wanted.set()
        return UNREAD_WAIT_S

    def wake(self, name: str) -> None:
        """Have the requests that wait for a workflow look at it again."""
        self._waiting.wake(name)

    def wake_all(self) -> None:
        """Have all requests that wait look again."""
        self._waiting.wake_all()

    def follow(self, target: WorkflowTarget) -> ServedWorkflow:
        """Return the workflow of a target, which it follows from now on."""
        workflow = self._workflows.setdefault(target.name, ServedWorkflow(target.name))
        if workflow.target is not None and workflow.target.uid != target.uid:
            self.drop(workflow.target.uid)
            workflow = self._workflows.setdefault(target.name, workflow)
        workflow.follow(target)
        self._followed[target.uid] = workflow
        return workflow

    def drop(self, uid: str) -> ServedWorkflow | None:
        """Return a workflow that is not in the registry any more, of which no version is known from now on."""
        workflow = self._followed.pop(uid, None)
        if workflow is not None:
            workflow.reset()
            self.watched.discard(workflow)
            self._remove_if_empty(workflow)
        return workflow

    def route(self, workflow: ServedWorkflow) -> None:
        """Put the release of a workflow's target in force."""
        workflow.route()
        (self.watched.add if workflow.is_watched else self.watched.discard)(workflow)
        self._waiting.wake(workflow.name)

    def _remove_if_empty(self, workflow: ServedWorkflow) -> None:
        """Remove a workflow of which nothing is loaded or known."""
        if not workflow.versions and not workflow.uids and self._workflows.get(workflow.name) is workflow:
            del self._workflows[workflow.name]

    def add(self, target: LoadRequest) -> LoadedVersion:
        """Return a new version, which has its name from now on and is to be loaded."""
        version = self._make_version(target, publish=self._publish)
        self.added += 1
        version.number = self.added
        workflow = self._workflows.setdefault(target.workflow, ServedWorkflow(target.workflow))
        workflow.add(version)
        self._versions[target.uid] = version
        version.publish()
        return version

    def _publish(self, report: WorkflowReport) -> None:
        self.status_log.publish(report)
        self._waiting.wake(report.workflow)
        (self.standby.discard if report.is_routed else self.standby.add)(report.uid)
        self._on_change(report.workflow)

    def signal(self) -> None:
        """Have those look again who wait for a change to be in force."""
        self.progress.set()
        self.progress = asyncio.Event()

    def _on_change(self, name: str) -> None:
        """Have the reconciler look at a workflow that may have come closer to its target."""
        self.changed.add(name)
        self.signal()
        workflow = self._workflows.get(name)
        if workflow is not None and workflow.target is not None and workflow.revision != workflow.target.revision:
            self.look_wanted.set()

    async def unload(self, uid: str) -> None:
        """Take a version down for good once what was accepted is answered; one that is not there is fine."""
        version = self._versions.get(uid)
        if version is not None:
            self._workflows[version.target.workflow].forget({uid})
        await self.park(uid)

    async def park(self, uid: str) -> None:
        """Take a version down once what was accepted is answered; a request that names it has it loaded again."""
        version = self._versions.get(uid)
        if version is not None:
            await version.unload(self._drain_timeout_s)
            if self._versions.get(uid) is not version:
                return  # Another call has removed it, and it may have been loaded again since.
            del self._versions[uid]
            self._remove(version)
        self.standby.discard(uid)
        self.status_log.forget(uid)

    def _remove(self, version: LoadedVersion) -> None:
        workflow = self._workflows.get(version.target.workflow)
        if workflow is not None:
            if workflow.versions.get(version.target.version) is version:
                del workflow.versions[version.target.version]
            self._remove_if_empty(workflow)
        self._waiting.wake(version.target.workflow)
        self._on_change(version.target.workflow)
        if version.target.uid in self.called_for:
            self.look_wanted.set()

    async def drain(self) -> None:
        """Accept no more requests, and return when those accepted are answered or the time for that is over."""
        self.is_closing = True
        self._waiting.wake_all()
        await asyncio.gather(*(version.drain(self._drain_timeout_s) for version in self))
