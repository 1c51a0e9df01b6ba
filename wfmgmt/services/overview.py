"""The overview of all workflows: how each is, what it does, and who changed it last."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.messages import TrafficFigures
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.releases import RoutingTable, WorkflowTarget
from wfmgmt.domain.status import WorkflowState, WorkflowStatus
from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.registry.records import LastChange
from wfmgmt.registry.registry import Registry
from wfmgmt.services.inspection import Inspection, ListedWorkflow


class OverviewOrder(StrEnum):
    """What the overview is sorted by."""

    NAME = "name"
    NAME_DESCENDING = "-name"
    #: What needs somebody's attention first.
    STATE = "state"


_URGENCY = (
    WorkflowState.FAILED,
    WorkflowState.LOADING,
    WorkflowState.REGISTERING,
    WorkflowState.UNREGISTERING,
    WorkflowState.READY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """One line of the overview.

    Attributes:
        name: Of the workflow; empty while a registration has not found it out.
        url: What it was registered from, or is to be.
        version: The default version, or the one that is being registered or unregistered.
        state: How it is.
        operation: Of a registration that is under way; empty otherwise.
        table: Which versions get its requests.
        wanted: Worker processes of all its versions that should be up.
        ready: Those that are.
        problem: Why some are missing; empty when none is.
        traffic: The default version's requests of the last minute; None when it is not loaded, or that is not known.
        last_change: Its last change; None without one.
    """

    name: str
    url: str
    version: str
    state: WorkflowState
    operation: str = ""
    table: RoutingTable = field(default_factory=RoutingTable)
    wanted: int = 0
    ready: int = 0
    problem: str = ""
    traffic: TrafficFigures | None = None
    last_change: LastChange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewPage:
    """One page of the overview.

    Attributes:
        rows: The lines.
        total: Lines on all pages.
        counts: How many workflows with such a name are in which state.
        problem: Why nothing is known of how they run; empty when it is.
    """

    rows: Sequence[OverviewRow]
    total: int
    counts: Mapping[WorkflowState, int] = field(default_factory=dict)
    problem: str = ""


class Overview:
    """Lists workflows with all that one line can say of each. Thread-safe.

    Args:
        registry: The registry.
        inspection: Lists them.
        status: What the runtime reported.
        runtime: Has the figures of this moment; with a short time-out.
    """

    def __init__(
        self, *, registry: Registry, inspection: Inspection, status: StatusCache, runtime: RuntimeClient
    ) -> None:
        self._registry = registry
        self._inspection = inspection
        self._status = status
        self._runtime = runtime

    def page(
        self,
        *,
        limit: int,
        offset: int,
        name: str = "",
        states: frozenset[WorkflowState] = frozenset(WorkflowState),
        order: OverviewOrder = OverviewOrder.NAME,
        scope: Scope = EVERYTHING,
    ) -> OverviewPage:
        """Return one page.

        Args:
            limit: Lines wanted, >= 1, and fewer than a statement can have parameters.
            offset: Lines to skip, >= 0.
            name: Name of a workflow, or the beginning of names with a `*` behind it; empty for all.
            states: The states that are wanted.
            order: What it is sorted by.
            scope: Of those that exist.

        Raises:
            RegistryUnavailable: The registry cannot be read.
        """
        everything = self._inspection.all_listed(name=name, scope=scope)
        found = [each for each in everything if each.state in states]
        if order is OverviewOrder.NAME_DESCENDING:
            found.reverse()
        elif order is OverviewOrder.STATE:
            found.sort(key=lambda each: _URGENCY.index(each.state))
        return OverviewPage(
            rows=self._rows(found[offset : offset + limit]),
            total=len(found),
            counts=Counter(each.state for each in everything),
            problem=self._status.problem(),
        )

    def _rows(self, listed: Sequence[ListedWorkflow]) -> list[OverviewRow]:
        names = {each.version.name for each in listed if each.version.name}
        with self._registry.read() as reader:
            targets = reader.targets_named(names)
            changes = {name: reader.last_change(name) for name in names}
        traffic = self._traffic([target.uid for target in targets.values()])
        return [
            self._row(each, targets.get(each.version.name), traffic, last_change=changes.get(each.version.name))
            for each in listed
        ]

    def _traffic(self, uids: Sequence[str]) -> Mapping[str, Mapping[str, TrafficFigures]]:
        try:
            return self._runtime.traffic(uids).workflows if uids else {}
        except RuntimeUnavailable:
            return {}

    def _row(
        self,
        listed: ListedWorkflow,
        target: WorkflowTarget | None,
        traffic: Mapping[str, Mapping[str, TrafficFigures]],
        *,
        last_change: LastChange | None,
    ) -> OverviewRow:
        version, state = listed
        if target is None or target.release is None or version.status is not WorkflowStatus.READY:
            is_new = version.status is WorkflowStatus.REGISTERING
            return OverviewRow(
                name=version.name,
                url=version.url,
                version=version.version,
                state=state,
                operation=version.uid if is_new else "",
                last_change=last_change,
            )
        reports = [report for uid in target.versions.values() if (report := self._status.report(uid)) is not None]
        workers = [report.workers for report in reports]
        return OverviewRow(
            name=version.name,
            url=version.url,
            version=version.version,
            state=state,
            table=target.release.table,
            wanted=sum(wanted for wanted, _ in workers),
            ready=sum(ready for _, ready in workers),
            problem="; ".join(report.problem for report in reports if report.problem),
            traffic=traffic.get(target.uid, {}).get(version.version),
            last_change=last_change,
        )
