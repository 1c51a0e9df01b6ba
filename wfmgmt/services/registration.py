"""Registering a workflow: from the request to workers that are up and a row that says so."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from wfmgmt.archives.stores import StoreFolders
from wfmgmt.archives.urls import is_remote
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.names import check_version, check_workflow_name
from wfmgmt.domain.operations import NewOperation, OperationKind, OperationPhase
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.domain.rollouts import with_all_to
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.traffic import table_json
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import (
    InsufficientStorage,
    RuntimeUnavailable,
    ShuttingDown,
    TooManyRegistrations,
    VersionExists,
    WfmgmtError,
    WorkflowBusy,
    WorkflowExists,
)
from wfmgmt.errors.loading import (
    ModelNameTaken,
    ModelServerFailed,
    ModelServerTimedOut,
    ModelServerUnreachable,
    NodesFailedToLoad,
    NodesNotLoadable,
    TooManyWorkers,
)
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archives import Acquisition
from wfmgmt.services.changes import Change
from wfmgmt.services.enforcement import REACH_S, Enforcement
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.functions import check_found
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations, RunningOperation
from wfmgmt.services.preparation import Attempt, Preparation, Prepared, RegistrationRequest
from wfmgmt.services.removal import Removal

_log = logging.getLogger("wfmgmt.registration")

_LOAD_FAILURES = {
    Fault.MODEL: NodesFailedToLoad,
    Fault.FILE: NodesNotLoadable,
    Fault.ARCHIVE: NodesNotLoadable,
    Fault.NAME_TAKEN: ModelNameTaken,
    Fault.UNREACHABLE: ModelServerUnreachable,
    Fault.FAILED: ModelServerFailed,
    Fault.TIMED_OUT: ModelServerTimedOut,
    Fault.NO_ROOM: TooManyWorkers,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registration that succeeded.

    Attributes:
        name: Of the workflow.
        version: The version.
        is_named: Whether the client named the version.
        is_further: Whether the workflow was there before.
        is_default: Whether it has the largest share of the requests.
        revision: The workflow's revision.
        warnings: What in the spec has no effect.
    """

    name: str
    version: str = FIRST_VERSION
    is_named: bool = False
    is_further: bool = False
    is_default: bool = True
    revision: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def result(self) -> dict[str, Any]:
        """What an operation keeps of it, as plain JSON."""
        return {
            "version": self.version,
            "default": self.is_default,
            "revision": self.revision,
            "warnings": list(self.warnings),
        }


class Registration:
    """Registers workflows. Thread-safe; each call works in the caller's thread, for as long as the workers take.

    Args:
        registry: The registry.
        folders: The archive stores.
        runtime: Loads workflows.
        removal: Undoes registrations.
        failures: Records failed registrations.
        leases: Proof that a plan is still being made.
        operations: Records registrations while they are under way.
        preparation: Checks what can be checked without running code.
        enforcement: Brings releases into force.
        long_requests: How many registrations there may be at a time, and when they have to end.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        runtime: RuntimeClient,
        removal: Removal,
        failures: FailedChanges,
        leases: Leases,
        operations: Operations,
        preparation: Preparation,
        enforcement: Enforcement,
        long_requests: LongRequests,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._runtime = runtime
        self._removal = removal
        self._failures = failures
        self._leases = leases
        self._operations = operations
        self._preparation = preparation
        self._enforcement = enforcement
        self._long_requests = long_requests

    def register(self, request: RegistrationRequest, change: Change) -> Registered:
        """Register a version of a workflow: when this returns, all its workers are up and it survives any restart.

        A registration that fails leaves an audit event and nothing else.

        Raises:
            WfmgmtError: One of its leaves; the text says what was wrong where.
        """
        attempt = Attempt(name="", detail={})
        origin = change.origin
        try:
            if request.workflow_name is not None:
                attempt.name = check_workflow_name(request.workflow_name)
            if request.version is not None:
                attempt.detail["version"] = check_version(request.version)
            attempt.detail |= change.stated_reason
            new, conflict = _operation(request, change), _conflict(request)
            self._operations.refuse_second(new, conflict)
            self._preparation.check_early(request, self._folders, attempt, change)
            with self._slot(), self._operations.run(new, conflict) as running:
                attempt.tracker = running.tracker
                return self._register(request, change, attempt, running)
        except (TooManyRegistrations, ShuttingDown):
            raise  # It had not begun, or was recorded when it was undone.
        except WfmgmtError as error:
            if isinstance(error, WorkflowExists | VersionExists | WorkflowBusy) and not error.operation:
                error.operation = self._operations.under_way(attempt.name, request.version)
            if not attempt.is_recorded:
                self._failures.record(attempt.event(origin, error), error)
            raise
        except Exception as error:  # The trail records our own defects, too; the log has the details.
            self._failures.record(attempt.event(origin, error), error)
            raise

    def plan(self, request: RegistrationRequest, change: Change) -> Plan:
        """Check everything that `register` checks before it runs code, and return what it would do.

        Raises:
            WfmgmtError: What `register` would raise.
        """
        for name, check in ((request.workflow_name, check_workflow_name), (request.version, check_version)):
            if name is not None:
                check(name)
        with self._slot(), self._leases.take() as lease:
            attempt = Attempt(name="", detail={})
            acquisition = self._preparation.acquisition(self._folders, lease, attempt.tracker, is_dry=True)
            try:
                plan = self._preparation.plan(self._preparation.prepare(request, acquisition, attempt, change))
                change.check_plan(plan)
                return plan
            finally:
                acquisition.undo()

    def rehearse(self, request: RegistrationRequest, folders: StoreFolders) -> WorkflowSpec:
        """Check everything that `register` checks before it runs code, and change nothing; return what it would load.

        Args:
            request: What `register` would be asked.
            folders: The stores as they would be then; downloads are made into them, and are gone afterwards.

        Raises:
            WfmgmtError: What `register` would raise.
        """
        with self._leases.take() as lease:
            attempt = Attempt(name="", detail={})
            acquisition = self._preparation.acquisition(folders, lease, attempt.tracker, is_dry=True)
            try:
                return self._preparation.prepare(request, acquisition, attempt, None).spec
            finally:
                acquisition.undo()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._long_requests.is_stopping():
            raise ShuttingDown("The server is stopping.")
        with self._long_requests.registration_slot() as is_free:
            if not is_free:
                raise TooManyRegistrations(
                    "As many registrations as allowed are under way (WFMGMT_MAX_OPERATIONS); try again later."
                )
            yield

    def _register(
        self, request: RegistrationRequest, change: Change, attempt: Attempt, running: RunningOperation
    ) -> Registered:
        acquisition = self._preparation.acquisition(self._folders, running.lease, running.tracker)
        try:
            prepared = self._preparation.prepare(request, acquisition, attempt, change)
            if change.plan:
                plan = self._preparation.plan(prepared)
                change.check_plan(plan)
                change = replace(change, expected=frozenset({plan.revision}))
            new = self._claim(prepared, acquisition, running, change)
            target = new.target
        except BaseException:
            acquisition.undo()
            raise
        acquisition.keep()
        try:
            self._load(target)
            running.tracker.on_loaded()
            registered = self._finish(prepared, target, attempt, change, running)
        except WfmgmtError as error:
            attempt.is_recorded = True
            if self._removal.undo(target.uid, attempt.event(change.origin, error), error):
                acquisition.take_back()
            raise
        running.is_made = True
        self._open_for_clients(target, registered)
        return registered

    def _claim(
        self, prepared: Prepared, acquisition: Acquisition, running: RunningOperation, change: Change
    ) -> NewWorkflow:
        new = prepared.record(acquisition.publish, running.lease)
        running.tracker.on_claimed(new.target)
        with self._registry.write() as writer:
            change.check(writer, new.name)
            if prepared.request.version is None:
                writer.claim_name(new)
            elif not writer.claim_version(new):
                if writer.status(new.name) is WorkflowStatus.REGISTERING:
                    raise WorkflowBusy(new.name, "being registered")
                writer.claim_name(new)
            running.write(writer)
        return new

    def _load(self, target: LoadRequest) -> None:
        report = self._runtime.load(target, cancelled=self._long_requests.is_stopping)
        if report.is_out_of_space:
            raise InsufficientStorage(f"No space is left to unpack the archives of workflow {target.workflow}.")
        if report.failures:
            if report.fault is Fault.ARCHIVE:
                check_found(target, report.failures)
            raise _LOAD_FAILURES[report.fault](target.workflow, report.failures)

    def _finish(
        self, prepared: Prepared, target: LoadRequest, attempt: Attempt, change: Change, running: RunningOperation
    ) -> Registered:
        with self._registry.write() as writer:
            before = writer.release(target.workflow)
            attempt.is_further = before is not None
            if before is not None:
                change.check(writer, target.workflow)
            table = None
            if before is not None and prepared.request.set_default:
                table = with_all_to(before.table, target.version)
                attempt.detail |= {"before": table_json(before.table), "after": table_json(table)}
            if not writer.mark_ready(target.uid, actor=change.origin.actor, reason=change.reason, table=table):
                raise ShuttingDown(f"Workflow {target.workflow} was taken back by a reconciliation; try again.")
            writer.record(attempt.event(change.origin, None))
            registered = Registered(
                name=target.workflow,
                version=target.version,
                is_named=prepared.request.version is not None,
                is_further=attempt.is_further,
                is_default=table is not None or not attempt.is_further,
                revision=writer.revision(target.workflow) or 0,
                warnings=prepared.spec.warnings,
            )
            change.on_made(writer, registered)
            if registered.is_further and registered.is_default:  # It is done once requests go there.
                running.tracker.on_phase(OperationPhase.SWITCHING)
                running.write(writer, result=registered.result)
            else:
                running.succeed(writer, registered.result)
        return registered

    def _open_for_clients(self, target: LoadRequest, registered: Registered) -> None:
        """Have the runtime serve what is registered now; it would find out by itself a little later."""
        try:
            self._runtime.on_registered(target.uid)
        except RuntimeUnavailable as error:
            extra = {"workflow": target.workflow}
            _log.warning("the runtime could not be notified of the registration: %s", error, extra=extra)
            return
        if registered.is_further and registered.is_default:
            with self._registry.read() as reader:
                workflow = reader.target(target.workflow)
            if workflow is not None:
                self._enforcement.pursue(workflow, registered.revision, wait_s=REACH_S)


def _operation(request: RegistrationRequest, change: Change) -> NewOperation:
    """Return the operation of a registration.

    No two may be at work on one version of a workflow. Without a name in the request, the same local archive means the
    same name.
    """
    version = request.version or FIRST_VERSION
    if request.workflow_name is not None:
        key: str | None = f"workflow {request.workflow_name} {version}"
    else:
        key = None if is_remote(request.url) else f"archive {request.url} {version}"
    url = redacted_address(request.url)
    return NewOperation(
        uid=uuid.uuid4().hex,
        key=key,
        kind=OperationKind.REGISTER,
        workflow=request.workflow_name or "",
        version=version,
        url=url,
        request={**asdict(request), "url": url, **change.stated_reason},
        origin=change.origin,
    )


def _conflict(request: RegistrationRequest) -> WorkflowExists | WorkflowBusy:
    """Return what a client is answered while another one registers the same."""
    if request.workflow_name is None or request.version is not None:
        return WorkflowBusy(request.workflow_name or request.url, "being registered")
    return WorkflowExists(request.workflow_name)
