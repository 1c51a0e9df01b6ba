"""Which version answers: default version, traffic, rollouts and rollbacks, each change one release."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import Release, ReleaseKind, RoutingTable, WorkflowTarget
from wfmgmt.domain.rollouts import RolloutAction, acted, with_all_to
from wfmgmt.domain.traffic import TrafficParser
from wfmgmt.errors import NothingToRollBack, ReleaseNotFound, RuntimeUnavailable, VersionNotFound, WorkflowNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.enforcement import Enforcement
from wfmgmt.services.planning import lost_archives, release_plan
from wfmgmt.services.release_rules import Released, make_release


class _Wanted(NamedTuple):
    """The table of a release that is to be made.

    Attributes:
        table: The table.
        previous: For a rollback, the number of the release before the one that it repeats.
    """

    table: RoutingTable
    previous: int | None = None


#: Works out the table from what the registry holds.
_Rule = Callable[[Reader, WorkflowTarget, Release], _Wanted]


class Releases:
    """Makes releases. Thread-safe.

    Each use case returns once the runtime routes by the release. It first has the versions that the release names
    loaded, and changes nothing if one does not come up. A dry run returns a plan.

    Args:
        registry: The registry.
        folders: The archive stores.
        kept: The archives that are kept by their digests.
        enforcement: Brings releases into force.
    """

    def __init__(
        self, *, registry: Registry, folders: StoreFolders, kept: KeptArchives, enforcement: Enforcement
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._kept = kept
        self._enforcement = enforcement

    def set_default(self, name: str, version: str, change: Change) -> Released | Plan:
        """Give one version all requests.

        Raises:
            WfmgmtError: As `_release`, or `VersionNotFound`.
        """

        def rule(_reader: Reader, target: WorkflowTarget, current: Release) -> _Wanted:
            if version not in target.versions:
                raise VersionNotFound(name, version)
            return _Wanted(with_all_to(current.table, version))

        return self._release(name, ReleaseKind.SET_DEFAULT, change, rule)

    def set_traffic(self, name: str, given: Mapping[str, object], change: Change) -> Released | Plan:
        """Put a routing table in force.

        Args:
            name: Of the workflow.
            given: What the client sent, as `TrafficParser` reads it.
            change: Who asks.

        Raises:
            WfmgmtError: As `_release`, or `BadRequest`, or `VersionNotFound`.
        """

        def rule(_reader: Reader, target: WorkflowTarget, current: Release) -> _Wanted:
            return _Wanted(TrafficParser(name, tuple(target.versions)).table(given, current.table))

        return self._release(name, ReleaseKind.TRAFFIC, change, rule)

    def rollout(self, name: str, action: RolloutAction, change: Change) -> Released | Plan:
        """Pause, resume, finish or take back a rollout.

        Raises:
            WfmgmtError: As `_release`, or `NoRollout`.
        """

        def rule(_reader: Reader, _target: WorkflowTarget, current: Release) -> _Wanted:
            return _Wanted(acted(name, current.table, action))

        return self._release(name, ReleaseKind.ROLLOUT, change, rule)

    def roll_back(self, name: str, to: int | None, change: Change) -> Released | Plan:
        """Repeat an earlier release, but for its steps: a rollback begins no rollout.

        Args:
            name: Of the workflow.
            to: Number of the release; when None, the one before the current one, or before the one that the current
                one repeats.
            change: Who asks.

        Raises:
            WfmgmtError: As `_release`, or `NothingToRollBack`, or `ReleaseNotFound`.
        """

        def rule(reader: Reader, target: WorkflowTarget, current: Release) -> _Wanted:
            number = current.previous if to is None else to
            if number is None:
                raise NothingToRollBack(f"Workflow {name} has no release before release {current.number}.")
            repeated = reader.release(name, number)
            if repeated is None:
                raise ReleaseNotFound(name, number)
            for version, uid in reader.released_uids(name, number).items():
                if target.versions.get(version) != uid:
                    now = "is another registration now" if version in target.versions else "is not registered any more"
                    what = f"Release {number} of workflow {name} names version {version}, which {now}"
                    raise NothingToRollBack(f"{what}; {_alternative(reader.repeatable_release(name, number))}")
            return _Wanted(replace(repeated.table, steps=(), is_paused=False), repeated.previous)

        return self._release(name, ReleaseKind.ROLLBACK, change, rule)

    def _release(self, name: str, kind: ReleaseKind, change: Change, rule: _Rule) -> Released | Plan:
        """Make a release by a rule, which is looked at again in the transaction that makes it.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            PreconditionFailed: It has another revision than expected.
            StalePlan: What would be done is not what the client has seen.
            VersionDoesNotLoad: A version that the release would name does not come up.
            RuntimeUnavailable: The runtime cannot be reached. Once the release is made, it comes into force later.
        """
        with self._registry.read() as reader:
            target, wanted, plan = _look(reader, name, change, rule)
        if change.dry_run:
            return self._with_doubts(plan, target, wanted.table)
        self._enforcement.load(target, wanted.table.versions)
        with self._registry.write() as writer:
            target, wanted, _plan = _look(writer, name, change, rule)
            released = make_release(
                writer,
                name,
                wanted.table,
                kind=kind,
                origin=change.origin,
                reason=change.reason,
                previous=wanted.previous,
            )
            change.on_made(writer, released)
        self._enforcement.reach(target, released.revision)
        return released

    def _with_doubts(self, plan: Plan, target: WorkflowTarget, table: RoutingTable) -> Plan:
        """Return a plan with what may keep it from being carried out: versions that have to be loaded first."""
        if plan.is_empty:
            return plan
        try:
            missing = self._enforcement.unloaded(target, table.versions)
        except RuntimeUnavailable as error:
            return replace(plan, unknown=(f"Which versions have to be loaded first: {error}",))
        with self._registry.read() as reader:
            return replace(plan, warnings=lost_archives(self._kept, self._folders, reader.load_requests(missing)))


def _alternative(number: int | None) -> str:
    if number is None:
        return "no release before it can be repeated either."
    return f"the newest release before it that can be repeated is {number} (to={number})."


def _look(reader: Reader, name: str, change: Change, rule: _Rule) -> tuple[WorkflowTarget, _Wanted, Plan]:
    """Return the workflow, the table that it is to get, and the plan of that, after all checks."""
    target = reader.target(name)
    if target is None or target.release is None:
        raise WorkflowNotFound(name)
    change.check(reader, name)
    wanted = rule(reader, target, target.release)
    plan = release_plan(reader, target, target.release.table, wanted.table)
    change.check_plan(plan)
    return target, wanted, plan
