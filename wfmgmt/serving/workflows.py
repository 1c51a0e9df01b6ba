"""One workflow in the runtime: its versions, and the routing by which its requests are spread over them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import FiguresReport, ReachReport, TrafficFigures, TrafficKind
from wfmgmt.domain.releases import Release, RoutingTable, WorkflowTarget
from wfmgmt.domain.routes import Router
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.models.base import WorkerFacts
from wfmgmt.serving.worker_usage import Usages


class Wanted(NamedTuple):
    """The version of a workflow that a request is for.

    Attributes:
        workflow: Name of the workflow.
        version: The version that the request names; None when the release decides.
        request_id: Identity of the request.
        headers: Its headers.
    """

    workflow: str
    version: str | None = None
    request_id: str = ""
    headers: Mapping[str, str] = {}

    @property
    def kind(self) -> TrafficKind:
        """Why the version gets the request."""
        return TrafficKind.PINNED if self.version else TrafficKind.SERVE


class ServedWorkflow:
    """The versions of one workflow and its routing. For the event loop only.

    A version whose registration is ready is known by name; it is loaded while the release names it and for a while
    after that, and parked otherwise. The routing in force is replaced as a whole, so a request sees one release.

    Args:
        name: Name of the workflow.

    Attributes:
        target: What the registry says, as it was read last; None before that.
        uids: The registration of each version that is ready, by version; parked ones are here only.
        versions: The versions that are loaded or being loaded.
        release: The release in force; None before there is one.
        revision: The revision whose release is in force, with all that it names loaded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, LoadedVersion] = {}
        self.reset()

    def reset(self) -> None:
        """Forget all but what is loaded: the workflow is not registered any more."""
        self.target: WorkflowTarget | None = None
        self.uids: dict[str, str] = {}
        self.release: Release | None = None
        self.revision = 0
        self._router: Router | None = None
        self._table: RoutingTable | None = None

    @property
    def registrations(self) -> Collection[str]:
        """The registrations of all its versions, finished or not, as far as the registry was read."""
        return () if self.target is None else self.target.statuses.keys()

    @property
    def loaded(self) -> Collection[str]:
        """The registrations that are loaded or being loaded."""
        return [version.target.uid for version in self.versions.values()]

    @property
    def is_routed(self) -> bool:
        """Whether requests that name no version get to one."""
        return self._router is not None

    @property
    def is_watched(self) -> bool:
        """Whether the release in force has a guard or steps."""
        return self.release is not None and (self.release.table.guard is not None or bool(self.release.table.steps))

    def has_node(self, node: str) -> bool:
        """Return whether a version that is loaded has a node."""
        return any(version.has_node(node) for version in self.versions.values())

    def choose(self, wanted: Wanted) -> str | None:
        """Return the version that a request is for; None when there is no routing."""
        if wanted.version or self._router is None:
            return wanted.version
        return self._router.choose(wanted.headers, wanted.request_id)

    def serving(self, wanted: Wanted) -> LoadedVersion | None:
        """Return the version that a request is for if it can answer now."""
        version = self.versions.get(self.choose(wanted) or "")
        return version if version is not None and version.state is LoadState.SERVING else None

    def mirrored(self, wanted: Wanted) -> LoadedVersion | None:
        """Return the version that is to get a copy of a request, whether it can answer or not; None when none is."""
        if wanted.version or self._router is None:
            return None
        name = self._router.copy_to(wanted.headers, wanted.request_id)
        return None if name is None else self.versions.get(name)

    def add(self, version: LoadedVersion) -> None:
        """Add a version that is to be loaded."""
        name = version.target.version
        self.versions[name] = version
        version.is_routed = self._table is None or name in self._table.versions

    def on_registered(self, version: LoadedVersion) -> None:
        """Record that a version is ready; the first one gets all requests."""
        name = version.target.version
        self.uids[name] = version.target.uid
        if self._router is None:
            self._route(RoutingTable.all_to(name))
        version.on_registered()

    def forget(self, uids: Collection[str]) -> None:
        """Drop registrations that were taken down for good, so that no request has them loaded again."""
        self.uids = {version: uid for version, uid in self.uids.items() if uid not in uids}

    def follow(self, target: WorkflowTarget) -> None:
        """Take what the registry says, which the routing comes to follow once all that it names is loaded."""
        self.target = target
        self.uids = dict(target.versions)

    def route(self) -> None:
        """Put the release of the target in force, at once and as a whole."""
        target = self.target
        self.release = None if target is None else target.release
        self._route(RoutingTable() if self.release is None else self.release.table)

    def _route(self, table: RoutingTable) -> None:
        self._router = Router(self.name, table) if table.routes else None
        self._table = table
        for name, version in self.versions.items():
            version.set_routed(name in table.versions)
            if table.mirror is None or name != table.mirror.version:
                version.drop_copies()

    @property
    def awaited(self) -> Mapping[str, str]:
        """The registrations that the release of the target names, by version."""
        if self.target is None or self.target.release is None:
            return {}
        return {name: self.uids[name] for name in self.target.release.table.versions if name in self.uids}

    @property
    def is_release_in_force(self) -> bool:
        """Whether the routing is what the target says."""
        if self.target is None or self.target.release is None or self.release is None:
            return self.target is not None and self.target.release is self.release
        return self.target.release.number == self.release.number

    @property
    def may_switch(self) -> bool:
        """Whether the release of the target can be put in force: all its shares are loaded, or nothing is lost by it.

        A release whose versions do not come up does not replace one that works.
        """
        release = None if self.target is None else self.target.release
        if release is None or self._table is None:
            return True
        return all(map(self._is_serving, release.table.weights)) or not any(map(self._is_serving, self._table.weights))

    def _is_serving(self, name: str) -> bool:
        version = self.versions.get(name)
        return version is not None and version.state is LoadState.SERVING

    def settle(self) -> None:
        """Record that the release of the target is in force, and that settings follow what was read with it."""
        if self.target is not None:
            self.revision = self.target.revision

    @property
    def is_enforced(self) -> bool:
        """Whether the release of the target is in force, with all that it names loaded."""
        return self.is_release_in_force and all(map(self._is_serving, self.awaited))

    def reached(self, revision: int) -> ReachReport:
        """Return whether a revision is in force: the release, and settings of nodes that came with it or later."""
        serving = {name: version for name, version in self.versions.items() if version.state is LoadState.SERVING}
        if self.revision >= revision:
            is_reached = all(version.has_reached(revision) for version in serving.values())
            problems = {name: version.settings_problem(revision) for name, version in serving.items()}
        else:
            is_reached = False
            problems = {name: version.problem for name, version in self.versions.items() if name in self.awaited}
        problem = "; ".join(f"version {name}: {problem}" for name, problem in problems.items() if problem)
        return ReachReport(revision=self.revision, reached=is_reached, problem=problem)

    @property
    def workers(self) -> list[WorkerFacts]:
        """The workers of all versions that are loaded."""
        versions = self.versions.values()
        return [worker for version in versions for model in version.models.values() for worker in model.workers]

    def figures(self, usages: Usages) -> FiguresReport:
        """Return what is measured of each version that is loaded, or was to be.

        Args:
            usages: What workers take, as far as it was read.
        """
        return FiguresReport(
            revision=self.revision,
            release=None if self.release is None else self.release.number,
            versions={name: version.figures(usages) for name, version in self.versions.items()},
        )

    def served(self, now: float) -> Mapping[str, TrafficFigures]:
        """Return, by version, the requests of the last minute that the release gave to it."""
        return {
            name: version.traffic.figures(now).get(TrafficKind.SERVE, TrafficFigures())
            for name, version in self.versions.items()
        }
