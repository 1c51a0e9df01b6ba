"""Releases as clients ask for them, and the routing tables that they stand for."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from wfmgmt.domain.audit import canonical_json
from wfmgmt.domain.operations import NewOperation, Operation, OperationKind
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import Release, ReleaseKind, RoutingTable, WorkflowTarget
from wfmgmt.domain.rollouts import RolloutAction, acted, with_all_to
from wfmgmt.domain.traffic import TrafficParser
from wfmgmt.errors import NothingToRollBack, ReleaseNotFound, VersionNotFound, WorkflowNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.services.changes import Change
from wfmgmt.services.operation_records import ACTION
from wfmgmt.services.planning import release_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequest:
    """A release that is asked for.

    Attributes:
        name: Of the workflow.
        kind: What makes the release.
        given: The rest, as plain JSON: `version` of a default; a routing table, or `version` and `weight`; the `action`
            on a rollout; `to`, the number of the release that is repeated.
    """

    name: str
    kind: ReleaseKind
    given: Mapping[str, Any]

    @classmethod
    def of_operation(cls, operation: Operation) -> "ReleaseRequest":
        """Return the request that an operation carries out."""
        facts = operation.request
        return cls(name=operation.workflow, kind=ReleaseKind(facts[ACTION]), given=facts["given"])


class Wanted(NamedTuple):
    """The table of a release that is to be made.

    Attributes:
        table: The table.
        repeated: For a rollback, the number of the release that it repeats.
        previous: For a rollback, the number of the release before that one.
    """

    table: RoutingTable
    repeated: int | None = None
    previous: int | None = None


def look(reader: Reader, request: ReleaseRequest, change: Change) -> tuple[WorkflowTarget, Wanted, Plan]:
    """Return the workflow, the table that it is to get, and the plan of that, after all checks.

    Raises:
        WorkflowNotFound: No ready workflow has the name.
        PreconditionFailed: It has another revision than expected.
        StalePlan: What would be done is not what the client has seen.
        WfmgmtError: As the rule of the request says.
    """
    target = reader.target(request.name)
    if target is None or target.release is None:
        raise WorkflowNotFound(request.name)
    change.check(reader, request.name)
    wanted = _RULES[request.kind](request, reader, target, target.release)
    plan = release_plan(reader, target, target.release.table, wanted.table)
    change.check_plan(plan)
    return target, wanted, plan


def new_operation(request: ReleaseRequest, wanted: Wanted, change: Change) -> NewOperation:
    """Return the operation of a release. No two may be at work on the same one.

    A rollback repeats the release that it means now, whatever is released until it is carried out.
    """
    given = {**request.given, "to": wanted.repeated} if request.kind is ReleaseKind.ROLLBACK else request.given
    digest = hashlib.sha256(canonical_json(given).encode()).hexdigest()
    return NewOperation(
        uid=uuid.uuid4().hex,
        key=f"release {request.name} {request.kind} {digest}",
        kind=OperationKind.RELEASE,
        workflow=request.name,
        version=request.given["version"] if request.kind is ReleaseKind.SET_DEFAULT else "",
        url="",
        request={ACTION: request.kind.value, "given": given, **change.conditions},
        origin=change.origin,
    )


def _default(request: ReleaseRequest, _reader: Reader, target: WorkflowTarget, current: Release) -> Wanted:
    version = request.given["version"]
    if version not in target.versions:
        raise VersionNotFound(request.name, version)
    return Wanted(with_all_to(current.table, version))


def _traffic(request: ReleaseRequest, _reader: Reader, target: WorkflowTarget, current: Release) -> Wanted:
    return Wanted(TrafficParser(request.name, tuple(target.versions)).table(request.given, current.table))


def _rollout(request: ReleaseRequest, _reader: Reader, _target: WorkflowTarget, current: Release) -> Wanted:
    return Wanted(acted(request.name, current.table, RolloutAction(request.given["action"])))


def _rollback(request: ReleaseRequest, reader: Reader, target: WorkflowTarget, current: Release) -> Wanted:
    """Repeat an earlier release, but for its steps: a rollback begins no rollout.

    Unless one is named, it is the one before the current one, or before the one that the current one repeats.
    """
    name, to = request.name, request.given["to"]
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
    return Wanted(replace(repeated.table, steps=(), is_paused=False), number, repeated.previous)


def _alternative(number: int | None) -> str:
    if number is None:
        return "no release before it can be repeated either."
    return f"the newest release before it that can be repeated is {number} (to={number})."


#: Works out the table from what the registry holds.
_Rule = Callable[[ReleaseRequest, Reader, WorkflowTarget, Release], Wanted]
_RULES: Mapping[ReleaseKind, _Rule] = {
    ReleaseKind.SET_DEFAULT: _default,
    ReleaseKind.TRAFFIC: _traffic,
    ReleaseKind.ROLLOUT: _rollout,
    ReleaseKind.ROLLBACK: _rollback,
}
