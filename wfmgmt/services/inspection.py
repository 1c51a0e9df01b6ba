"""Read-only queries of the API: which workflows are registered, and how they run."""

import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.figures_cache import FiguresCache
from wfmgmt.control.messages import FiguresReport, LogLine, VersionFigures, VersionState, WorkflowReport
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.operations import Operation, OperationState
from wfmgmt.domain.plans import version_diff
from wfmgmt.domain.releases import Release, WorkflowTarget
from wfmgmt.domain.status import WorkflowState, WorkflowStatus
from wfmgmt.domain.threads import ThreadPolicy
from wfmgmt.errors import (
    NodeNotFound,
    RegistryUnavailable,
    ReleaseNotFound,
    RuntimeUnavailable,
    VersionNotFound,
    WorkflowNotFound,
)
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.records import ListedVersion, Page, RegisteredArchive, WorkflowDetail, WorkflowKey
from wfmgmt.registry.registry import Registry
from wfmgmt.services.store_files import StoreFiles, StoreFileState

#: Operations on one workflow that are looked at.
MAX_LAST_OPERATIONS = 20
#: Workflows whose details are cached.
REMEMBERED = 1024
#: For so long the files of one workflow are not looked at again, and those of all workflows.
LOOK_S, LOOK_AT_ALL_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class InspectedWorkflow:
    """A workflow as registered, as the runtime reported it last, and what that measured; None when it has not yet.

    It stays the same object as long as all of it stays the same, so what is derived from it can be remembered with it.
    `threads` says how many threads its workers use, `store_files` what became of the files that it was registered from,
    as of `looked_at` on the monotonic clock.
    """

    workflow: WorkflowDetail
    report: WorkflowReport | None
    threads: ThreadPolicy
    figures: VersionFigures | None = None
    store_files: Mapping[RegisteredArchive, StoreFileState] = field(default_factory=dict)
    looked_at: float = -math.inf

    @property
    def state(self) -> VersionState:
        """How the version is, as clients see it."""
        if self.report is not None:
            return self.report.version_state
        is_routed = self.workflow.version in self.workflow.release.table.versions
        return VersionState.LOADING if is_routed else VersionState.PARKED


class ListedWorkflow(NamedTuple):
    """A line of the list of workflows in all their states."""

    version: ListedVersion
    state: WorkflowState


#: The status in the registry of what is in a state.
_STATUSES: Mapping[WorkflowState, WorkflowStatus] = {
    WorkflowState.READY: WorkflowStatus.READY,
    WorkflowState.LOADING: WorkflowStatus.READY,
    WorkflowState.FAILED: WorkflowStatus.READY,
    WorkflowState.REGISTERING: WorkflowStatus.REGISTERING,
    WorkflowState.UNREGISTERING: WorkflowStatus.UNREGISTERING,
}


class Inspection:
    """Read-only queries over the registry and the runtime's status. Thread-safe.

    Args:
        registry: The registry.
        status: What the runtime reported.
        figures: What it measured, for descriptions.
        runtime: Has the figures of this moment.
        threads: Says how many threads workers use.
        store_files: Says what became of the files in the stores.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        status: StatusCache,
        figures: FiguresCache,
        runtime: RuntimeClient,
        threads: ThreadPolicy,
        store_files: StoreFiles,
    ) -> None:
        self._registry = registry
        self._store_files = store_files
        self._file_counts: tuple[float, Mapping[tuple[str, StoreFileState], int]] = (-math.inf, {})
        self._figures = figures
        self._runtime = runtime
        self._status = status
        self._threads = threads
        self._inspected: OrderedDict[WorkflowKey, InspectedWorkflow] = OrderedDict()

    def page(self, *, limit: int, offset: int, scope: Scope = EVERYTHING) -> Page:
        """Return one page of the list, in name order."""
        with self._registry.read() as reader:
            return reader.page(limit=limit, offset=offset, scope=scope)

    def page_after(self, name: str, *, limit: int, scope: Scope = EVERYTHING) -> Page:
        """Return the page of the list that follows a name."""
        with self._registry.read() as reader:
            return reader.page_after(name, limit=limit, scope=scope)

    def listed(
        self,
        states: frozenset[WorkflowState],
        *,
        name: str,
        node_name: str,
        limit: int,
        offset: int,
        scope: Scope = EVERYTHING,
    ) -> tuple[list[ListedWorkflow], bool]:
        """Return one page of the workflows in these states in name order, and whether others follow.

        Args:
            states: One at least.
            name: Name of a workflow, or the beginning of names with a `*` behind it; empty for all.
            node_name: The same of a node that they have.
            limit: Lines wanted, >= 1.
            offset: Lines to skip from the start of the order, >= 0.
            scope: Of those that exist.
        """
        statuses = list(dict.fromkeys(_STATUSES[state] for state in WorkflowState if state in states))
        with self._registry.read() as reader:
            versions = reader.listed(statuses, name=name, node_name=node_name, scope=scope)
            listed = (ListedWorkflow(each, _state(each, self._status.report(each.uid))) for each in versions)
            found = list(islice((each for each in listed if each.state in states), offset, offset + limit + 1))
        return found[:limit], len(found) > limit

    def all_listed(self, *, name: str, scope: Scope = EVERYTHING) -> list[ListedWorkflow]:
        """Return the workflows of a name in all states, as `listed` does."""
        reports = {report.uid: report for report in self._status.reports()}
        with self._registry.read() as reader:
            versions = reader.listed(list(WorkflowStatus), name=name, scope=scope)
            return [ListedWorkflow(each, _state(each, reports.get(each.uid))) for each in versions]

    def describe(self, name: str, version: str | None = None) -> InspectedWorkflow:
        """Return one version of a workflow, its default one unless given.

        Which registration that is, and its revision, are read each time; what was read of that one is still right.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            VersionNotFound: It has no such version.
        """
        with self._registry.read() as reader:
            key = reader.key(name, version)
            inspected = None if key is None else self._inspect(reader, key)
            if inspected is None:
                is_unknown = version is None or reader.uid(name) is None
                error = WorkflowNotFound(name) if is_unknown else VersionNotFound(name, version or "")
                error.operation = reader.operations.under_way(name, version)
                raise error
        return self._measured(inspected)

    def describe_all(self, name: str) -> list[InspectedWorkflow]:
        """Return all versions of a workflow, in the order of their registration.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
        """
        with self._registry.read() as reader:
            if reader.uid(name) is None:
                raise WorkflowNotFound(name)
            inspected = [self._inspect(reader, key) for key in reader.keys(name)]
        return [self._measured(each) for each in inspected if each is not None]

    def _inspect(self, reader: Reader, key: WorkflowKey) -> InspectedWorkflow | None:
        known = self._inspected.get(key)
        workflow = known.workflow if known is not None else reader.detail(key)
        if workflow is None:
            return None
        self._status.catch_up(key.change)
        report = self._status.report(key.uid)
        if known is not None and known.report is report:
            return known
        return self._remember(InspectedWorkflow(workflow=workflow, report=report, threads=self._threads))

    def _measured(self, inspected: InspectedWorkflow) -> InspectedWorkflow:
        """Return a workflow with what was measured of it, and what became of its files, within the last second."""
        workflow, report = inspected.workflow, inspected.report
        is_loaded = report is not None and report.state.is_loaded
        figures = self._figures.figures(workflow.workflow_uid, workflow.version) if is_loaded else None
        now = time.monotonic()
        if now - inspected.looked_at >= LOOK_S:
            files = self._store_files.states([workflow.archive, *workflow.models.values()])
            inspected = replace(inspected, figures=figures, store_files=files, looked_at=now)
        elif inspected.figures is not figures:
            inspected = replace(inspected, figures=figures)
        else:
            return inspected
        return self._remember(inspected)

    def store_files(self) -> Mapping[tuple[str, StoreFileState], int]:
        """Return how many files of registered workflows are in which state, by store, as of the last minute."""
        looked_at, counts = self._file_counts
        if time.monotonic() - looked_at >= LOOK_AT_ALL_S:
            with self._registry.read() as reader:
                archives = reader.archives()
            counts = self._store_files.counts(archives)
            self._file_counts = (time.monotonic(), counts)
        return counts

    def releases(self, name: str, *, limit: int, before: int | None) -> tuple[list[Release], int]:
        """Return releases of a workflow, the newest first, and its revision.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
        """
        with self._registry.read() as reader:
            return reader.releases(name, limit=limit, before=before), self._revision(reader, name)

    def release(self, name: str, number: int) -> tuple[Release, int]:
        """Return one release of a workflow, and the workflow's revision.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            ReleaseNotFound: It has no such release.
        """
        with self._registry.read() as reader:
            revision = self._revision(reader, name)
            release = reader.release(name, number)
        if release is None:
            raise ReleaseNotFound(name, number)
        return release, revision

    def traffic(self, name: str) -> tuple[WorkflowTarget, Release, FiguresReport | None]:
        """Return versions, release and live figures of a workflow; None for these when the runtime does not answer.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
        """
        with self._registry.read() as reader:
            target = reader.target(name)
        if target is None or target.release is None:
            raise WorkflowNotFound(name)
        try:
            return target, target.release, self._runtime.figures(target.uid)
        except RuntimeUnavailable:
            return target, target.release, None

    def log(self, name: str, version: str | None, *, node: str | None, lines: int) -> Sequence[LogLine]:
        """Return the last lines of the log about a version of a workflow, or about one node of it, the oldest first.

        Raises:
            WorkflowNotFound: No ready workflow has the name; if its last registration failed, the error says so.
            VersionNotFound: It has no such version; likewise.
            NodeNotFound: That has no such node.
            RuntimeUnavailable: The runtime, which has the lines, does not answer.
        """
        try:
            workflow = self.describe(name, version).workflow
        except (WorkflowNotFound, VersionNotFound) as error:
            with self._registry.read() as reader:
                operations = reader.operations.page(limit=MAX_LAST_OPERATIONS, workflow=name)
            name_failed(error, [each for each in operations if version in (None, each.version)])
            raise
        if node is not None and node not in {each.name for each in workflow.nodes}:
            raise NodeNotFound(name, workflow.version, node)
        return self._runtime.log(name, workflow.version, node, lines).lines

    def diff(self, name: str, old: str, new: str) -> tuple[dict[str, object], int]:
        """Return, as JSON, what differs between two versions of a workflow, and the workflow's revision.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            VersionNotFound: It has no such version.
        """
        with self._registry.read() as reader:
            target = reader.target(name)
            if target is None:
                raise WorkflowNotFound(name)
            for version in (old, new):
                if version not in target.versions:
                    raise VersionNotFound(name, version)
            requests = {version: next(reader.load_requests([target.versions[version]])) for version in (old, new)}
        return version_diff(requests[old], requests[new]), target.revision

    def _revision(self, reader: Reader, name: str) -> int:
        revision = reader.revision(name)
        if revision is None:
            raise WorkflowNotFound(name)
        return revision

    def _remember(self, inspected: InspectedWorkflow) -> InspectedWorkflow:
        self._inspected[inspected.workflow.key] = inspected
        if len(self._inspected) > REMEMBERED:
            self._inspected.popitem(last=False)
        return inspected

    def problem(self) -> str:
        """Return why nothing can be served, an empty text when something can."""
        try:
            with self._registry.read() as reader:
                reader.uid("")
        except RegistryUnavailable as error:
            return str(error)
        return self._status.problem()

    def missing(self) -> list[WorkflowReport]:
        """Return the reports of workflows that are not ready."""
        return self._status.missing()

    def counts(self) -> tuple[dict[WorkflowStatus, int], dict[OperationState, int]]:
        """Return how many workflows stand where, and how many operations that are not done."""
        with self._registry.read() as reader:
            return reader.counts(), reader.operations.counts()

    def workers(self) -> tuple[int, int]:
        """Return how many worker processes should be up, and how many are."""
        workers = [report.workers for report in self._status.reports()]
        return sum(wanted for wanted, _ in workers), sum(ready for _, ready in workers)


def name_failed(error: WorkflowNotFound | VersionNotFound, operations: Sequence[Operation]) -> None:
    """Have an error say that the last registration failed or was cancelled, if it was."""
    last = operations[0] if operations else None
    if last is None or last.state is OperationState.SUCCEEDED:
        return
    error.operation = last.uid
    if last.state is OperationState.CANCELLED:
        error.hint = f"Its last registration was cancelled at {last.ended_at} by {last.cancelled_by or 'the service'}."
    elif last.error is not None:
        error.hint = f"Its last registration failed at {last.ended_at}: {last.error.message}"


def _state(listed: ListedVersion, report: WorkflowReport | None) -> WorkflowState:
    if listed.status is not WorkflowStatus.READY:
        return WorkflowState(listed.status.value)
    if report is None or not (report.state.is_loaded or report.state.has_failed):
        return WorkflowState.LOADING
    return WorkflowState.FAILED if report.state.has_failed else WorkflowState.READY
