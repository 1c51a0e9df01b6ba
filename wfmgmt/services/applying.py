"""Applying declared state: what files say about workflows is brought about, one workflow not minding the others."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, Self

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.declared import DeclaredWorkflow
from wfmgmt.domain.operations import NewOperation, Operation, OperationError, OperationKind, OperationState
from wfmgmt.domain.plans import Change as FieldChange
from wfmgmt.domain.releases import ReleaseKind
from wfmgmt.domain.traffic import table_json
from wfmgmt.errors import (
    OperationCancelled,
    ShuttingDown,
    TooManyRegistrations,
    WfmgmtError,
    WorkflowBusy,
    WorkflowNotFound,
)
from wfmgmt.errors.declared import NotApplied, NotManaged, SourceBusy
from wfmgmt.http.answers import named_status_and_type
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.declared_state import Found, differences, drift, look_at, names_of
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_records import Accepted, described_error
from wfmgmt.services.operations import Operations
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.services.release_requests import ReleaseRequest
from wfmgmt.services.releases import Releases
from wfmgmt.services.removal import Removal
from wfmgmt.services.scaling import Scaling
from wfmgmt.services.tracking import RunningOperation

#: Where declarations come from unless they name a source.
DEFAULT_SOURCE = "default"
#: Workflows that one application is at work on at a time.
_PARALLEL = 8
_POLL_S = 0.1
#: Workflows that the event of an application names.
_MAX_NAMED = 100


class ApplyAction(StrEnum):
    """What applying a declaration does to a workflow."""

    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyRequest:
    """Workflows that are to be brought to what is declared.

    Attributes:
        source: Where it is declared.
        declared: What, by the names of the workflows.
        prune: Whether workflows of this source go that are not declared any more, and versions likewise.
        adopt: Whether workflows that come from elsewhere are taken over.
    """

    source: str
    declared: Mapping[str, DeclaredWorkflow]
    prune: bool = False
    adopt: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        declared = {name: each.json() for name, each in self.declared.items()}
        return {"source": self.source, "declared": declared, "prune": self.prune, "adopt": self.adopt}

    @classmethod
    def of_operation(cls, operation: Operation) -> Self:
        """Return the request that an operation carries out."""
        facts = operation.request
        declared = {name: DeclaredWorkflow.of_json(name, each) for name, each in facts["declared"].items()}
        return cls(source=facts["source"], declared=declared, prune=facts["prune"], adopt=facts["adopt"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one workflow, or would become of it.

    Attributes:
        workflow: Its name.
        action: What was to be done.
        changes: What differed.
        error: Why that could not be done; None when it was.
    """

    workflow: str
    action: ApplyAction
    changes: Sequence[FieldChange] = ()
    error: OperationError | None = None

    def json(self) -> dict[str, Any]:
        """Return it as plain JSON, which answers show, too."""
        error = None
        if self.error is not None:
            code, error_type = named_status_and_type(self.error.type)
            error = {"code": code, "type": error_type, "message": self.error.message}
        return {
            "workflow": self.workflow,
            "action": self.action.value,
            "changes": [change.json() for change in self.changes],
            "error": error,
        }


class Drifted(NamedTuple):
    """A value that somebody has changed since it was applied.

    Attributes:
        workflow: Of which workflow.
        change: From what is declared to what is there.
        since: When the workflow was changed last; empty when that is not known.
        actor: By whom.
    """

    workflow: str
    change: FieldChange
    since: str
    actor: str


class _StepFailed(Exception):
    """A registration or release that was carried out for a workflow has failed."""

    def __init__(self, error: OperationError) -> None:
        super().__init__(error.message)
        self.error = error


class Applying:
    """Applies declarations. Thread-safe.

    Each workflow is brought to what is declared on its own: versions are added, then settings and traffic changed, then
    what is surplus removed. What is there already is left alone, so applying again goes on where something failed.

    Args:
        registry: The registry.
        queue: Carries registrations out.
        scaling: Changes settings.
        releases: Changes traffic.
        removal: Removes.
        operations: Records applications, and has the operations of the steps.
        failures: Records those that fail.
        long_requests: When work under way has to end.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        queue: RegistrationQueue,
        scaling: Scaling,
        releases: Releases,
        removal: Removal,
        operations: Operations,
        failures: FailedChanges,
        long_requests: LongRequests,
    ) -> None:
        self._registry = registry
        self._queue = queue
        self._scaling = scaling
        self._releases = releases
        self._removal = removal
        self._operations = operations
        self._failures = failures
        self._long_requests = long_requests

    def plan(self, request: ApplyRequest, change: Change) -> list[Applied]:
        """Return what applying would do to each workflow; archives are not looked into."""
        return [_planned(found, request, change) for found in self._look(request, change.scope).values()]

    def accept(self, request: ApplyRequest, change: Change) -> Accepted:
        """Record that a declaration is to be applied.

        Raises:
            SourceBusy: One of the same source is being applied.
            TooManyRegistrations: Too many wait.
        """
        new = NewOperation(
            uid=uuid.uuid4().hex,
            key=f"apply {request.source}",
            kind=OperationKind.APPLY,
            workflow="",
            version="",
            url="",
            request={**request.facts, **change.conditions},
            origin=change.origin,
        )
        conflict = SourceBusy(request.source)
        self._operations.refuse_second(new, conflict)
        accepted = Accepted(new.uid)
        self._operations.accept(new, conflict, lambda writer: change.on_made(writer, accepted))
        return accepted

    def result(self, accepted: Accepted, wait_s: float) -> Accepted | Sequence[Mapping[str, Any]] | OperationError:
        """Return what came of each workflow as JSON, or what was accepted if that is not known after a time."""
        found = self._operations.result(accepted, wait_s, lambda _, result: list(result["results"]))
        return found.results if isinstance(found, OperationError) and found.results is not None else found

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Apply what an operation was accepted for.

        Raises:
            NotApplied: Some workflows could not be brought to what is declared.
            OperationCancelled: Somebody has cancelled it; what is applied stays.
            ShuttingDown: The server stops; the next process goes on.
        """
        request, change = ApplyRequest.of_operation(operation), Change.of_operation(operation)
        with running.breakable(self._long_requests.is_stopping) as is_broken_off:
            work = partial(self._apply, request, change, is_broken_off)
            plans = {
                name: _planned(found, request, change) for name, found in self._look(request, change.scope).items()
            }
            due = [name for name, plan in plans.items() if plan.action is not ApplyAction.NONE and plan.error is None]
            # Those that go are last: nothing is missing that something else was to take over from.
            for names in (
                [name for name in due if name in request.declared],
                [name for name in due if name not in request.declared],
            ):
                with ThreadPoolExecutor(_PARALLEL, "apply") as pool:
                    plans.update(zip(names, pool.map(work, names), strict=True))
            if is_broken_off():
                raise ShuttingDown("The server is stopping.")
        self._record(request, change, running, list(plans.values()))

    def _record(
        self, request: ApplyRequest, change: Change, running: RunningOperation, results: Sequence[Applied]
    ) -> None:
        """Record what came of all workflows; nothing in the audit trail if nothing changed."""
        failed = {each.workflow: each.error.message for each in results if each.error is not None}
        done = {each.workflow: each.action.value for each in results if each.action is not ApplyAction.NONE}
        as_json = [each.json() for each in results]
        event = AuditEvent(
            origin=change.origin,
            action=AuditAction.APPLY,
            workflow="",
            outcome=AuditOutcome.FAILED if failed else AuditOutcome.SUCCEEDED,
            detail={
                "source": request.source,
                "prune": request.prune,
                "changed": {name: each for name, each in list(done.items())[:_MAX_NAMED] if name not in failed},
                "failed": dict(list(failed.items())[:_MAX_NAMED]),
                **change.stated_reason,
            },
            operation=running.uid,
        )
        if failed:
            error = NotApplied(failed, len(results), as_json)
            reason = {"type": type(error).__name__, "message": str(error)}
            event = replace(event, detail={**event.detail, "error": reason})
            if done.keys() - failed.keys():  # What was changed has a row, however many have failed lately.
                with self._registry.write() as writer:
                    writer.record(event)
            else:
                self._failures.record(event, error)
            raise error
        with self._registry.write() as writer:
            if done:
                writer.record(event)
            running.succeed(writer, {"results": as_json})

    def _look(self, request: ApplyRequest, scope: Scope) -> dict[str, Found]:
        """Return the workflows that this is about; those that others have declared do not exist outside of a scope."""
        with self._registry.read() as reader:
            kept = {name: each for name, each in reader.declarations.all().items() if name in scope}
            return look_at(reader, names_of(request.declared, kept, request.source, prune=request.prune))

    def _apply(self, request: ApplyRequest, change: Change, is_broken_off: Callable[[], bool], name: str) -> Applied:
        """Bring one workflow to what is declared."""
        with self._registry.read() as reader:
            found = look_at(reader, [name])[name]
        plan = _planned(found, request, change)
        if plan.error is not None or is_broken_off():
            return plan
        made = replace(change, reason=change.reason or f"apply {request.source}", expected=None, plan="")
        try:
            if (wanted := request.declared.get(name)) is None:
                self._remove(found, made)
            else:
                self._bring_about(wanted, request, made, is_broken_off)
        except _StepFailed as failure:
            return replace(plan, error=failure.error)
        except WfmgmtError as error:
            return replace(plan, error=described_error(error))
        return plan

    def _remove(self, found: Found, change: Change) -> None:
        if found.target is not None:
            self._removal.unregister(found.name, change)
        with self._registry.write() as writer:
            writer.declarations.forget(found.name)

    def _bring_about(
        self, wanted: DeclaredWorkflow, request: ApplyRequest, change: Change, is_broken_off: Callable[[], bool]
    ) -> None:
        """Add, set, route, remove."""
        found = self._found(wanted.name)
        if found.kept is None:  # It is this source's from now on, however far this comes.
            self._keep(wanted, request, change)
        for version, declared in wanted.versions.items():
            if version not in found.versions:
                self._register(
                    RegistrationRequest(
                        url=declared.url, workflow_name=wanted.name, version=version, sha256=declared.sha256
                    ),
                    change,
                    is_broken_off,
                )
        found = replace(self._found(wanted.name), kept=found.kept)
        due = differences(found, wanted, prune=request.prune)
        for version in wanted.versions:
            self._scaling.declare(wanted.name, version, wanted.nodes, change)
        if any(difference.path == "traffic" for difference in due):
            self._route(found, wanted, change, is_broken_off)
        for version in found.versions:
            if request.prune and version not in wanted.versions:
                self._removal.unregister_version(wanted.name, version, change)
        self._keep(wanted, request, change)

    def _keep(self, wanted: DeclaredWorkflow, request: ApplyRequest, change: Change) -> None:
        with self._registry.write() as writer:
            writer.declarations.keep(wanted, source=request.source, actor=change.origin.actor)

    def _found(self, name: str) -> Found:
        with self._registry.read() as reader:
            return look_at(reader, [name])[name]

    def _register(self, request: RegistrationRequest, change: Change, is_broken_off: Callable[[], bool]) -> None:
        while True:
            try:
                self._follow(self._queue.accept(request, change).uid, is_broken_off)
            except TooManyRegistrations:
                _pause(is_broken_off)
            except WorkflowBusy as error:
                if not error.operation:
                    raise
                self._follow(error.operation, is_broken_off)
            else:
                return

    def _route(self, found: Found, wanted: DeclaredWorkflow, change: Change, is_broken_off: Callable[[], bool]) -> None:
        """Change the shares; mirror, key and guard stay."""
        if found.target is None or found.target.release is None:
            raise WorkflowNotFound(wanted.name)
        table = table_json(found.target.release.table)
        kept = {key: table[key] for key in ("mirror", "sticky", "guard") if table[key] is not None}
        routes = [{"version": version, "weight": weight} for version, weight in wanted.traffic.items()]
        release = ReleaseRequest(name=wanted.name, kind=ReleaseKind.TRAFFIC, given={**kept, "routes": routes})
        made = self._releases.make(release, change)
        if isinstance(made, Accepted):
            self._follow(made.uid, is_broken_off)

    def _follow(self, uid: str, is_broken_off: Callable[[], bool]) -> None:
        """Wait for the end of an operation."""
        while not (operation := self._operations.get(uid)).state.is_done:
            _pause(is_broken_off)
        if operation.error is not None:
            raise _StepFailed(operation.error)
        if operation.state is OperationState.CANCELLED:
            raise OperationCancelled

    def drift(self, scope: Scope = EVERYTHING) -> list[Drifted]:
        """Return what was changed by others since it was applied, of the workflows that exist for the client."""
        with self._registry.read() as reader:
            names = [name for name in reader.declarations.all() if name in scope]
            found = {name: drift(each) for name, each in look_at(reader, names).items()}
            last = {name: reader.last_change(name) for name, changes in found.items() if changes}
        return [
            Drifted(name, change, *(("", "") if (by := last[name]) is None else (by.at, by.actor)))
            for name, changes in found.items()
            for change in changes
        ]


def _planned(found: Found, request: ApplyRequest, change: Change) -> Applied:
    """Return what is to be done to one workflow, or why it cannot be."""
    wanted = request.declared.get(found.name)
    action = (
        ApplyAction.REMOVE if wanted is None else ApplyAction.CREATE if found.target is None else ApplyAction.UPDATE
    )
    try:
        change.check_scope(found.name)
        _check_source(found, request)
        changes = _removed(found) if wanted is None else differences(found, wanted, prune=request.prune)
    except WfmgmtError as error:
        return Applied(workflow=found.name, action=action, error=described_error(error))
    before = None if found.kept is None else found.kept.source
    if wanted is not None and before != request.source:
        changes = (FieldChange(path="managedBy", before=before, after=request.source), *changes)
    is_known = found.kept is not None and found.kept.declared == wanted
    if not changes and (is_known or wanted is None):
        action = ApplyAction.NONE
    return Applied(workflow=found.name, action=action, changes=changes)


def _removed(found: Found) -> tuple[FieldChange, ...]:
    return (FieldChange(path="workflow", before=found.name, after=None),)


def _check_source(found: Found, request: ApplyRequest) -> None:
    """Refuse a workflow that comes from elsewhere."""
    source = None if found.kept is None else found.kept.source
    is_there = found.target is not None or found.kept is not None
    if is_there and source != request.source and not request.adopt:
        raise NotManaged(found.name, source)


def _pause(is_broken_off: Callable[[], bool]) -> None:
    if is_broken_off():
        raise ShuttingDown("The server is stopping.")
    time.sleep(_POLL_S)  # Any web worker may carry the step out; its row says when it has ended.
