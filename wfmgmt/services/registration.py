"""Registering a workflow: from the request to workers that are up and a row that says so."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from wfmgmt.archives.functions import check_found
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.names import check_version, check_workflow_name
from wfmgmt.domain.operations import NewOperation, OperationPhase
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.rollouts import with_all_to
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.traffic import table_json
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import (
    InsufficientStorage,
    RegistryUnavailable,
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
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations
from wfmgmt.services.preparation import Attempt, Preparation, Prepared, RegistrationRequest
from wfmgmt.services.registration_records import Registered, conflict_with, new_operation
from wfmgmt.services.removal import Removal
from wfmgmt.services.tracking import RunningOperation

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
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def register(self, request: RegistrationRequest, change: Change) -> Registered:
        """Register a version of a workflow: when this returns, all its workers are up and it survives any restart.

        A registration that fails leaves an audit event and nothing else.

        Raises:
            WfmgmtError: One of its leaves; the text says what was wrong where.
        """
        attempt = Attempt(name="", detail={})
        with self._audited(attempt, request, change):
            new, conflict = self._admit(attempt, request, change)
            with self._first_here(new, conflict), self._slot(), self._operations.run(new, conflict) as running:
                return self._register(request, change, attempt, running)

    @contextmanager
    def _first_here(self, new: NewOperation, conflict: WorkflowBusy) -> Iterator[None]:
        """Refuse a second registration in this process before it takes a slot: the first may not be recorded yet."""
        if new.key is None:
            yield
            return
        with self._lock:
            if new.key in self._under_way:
                raise conflict
            self._under_way.add(new.key)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(new.key)

    @contextmanager
    def admitted(self, request: RegistrationRequest, change: Change) -> Iterator[tuple[NewOperation, WorkflowBusy]]:
        """Check what `register` checks at once; give its operation, and what to raise when another one is in its way.

        A refusal, also one that the block raises, is recorded as that of `register`.
        """
        attempt = Attempt(name="", detail={})
        with self._audited(attempt, request, change):
            yield self._admit(attempt, request, change)

    def carry_out(self, running: RunningOperation, request: RegistrationRequest, change: Change) -> Registered:
        """Do the work of an operation that was accepted earlier, as `register` does.

        Raises:
            ShuttingDown: The server stops; nothing was done, and nothing is recorded of it.
            WfmgmtError: As for `register`.
        """
        attempt = Attempt(name="", detail={}, operation=running.uid)
        with self._audited(attempt, request, change):
            self._describe(attempt, request, change)
            return self._register(request, change, attempt, running)

    def _admit(
        self, attempt: Attempt, request: RegistrationRequest, change: Change
    ) -> tuple[NewOperation, WorkflowBusy]:
        self._describe(attempt, request, change)
        new, conflict = new_operation(request, change), conflict_with(request)
        abandoned = self._operations.refuse_second(new, conflict)
        if abandoned:
            self._removal.finish_abandoned(lambda claim: claim.lease == abandoned)
        self._preparation.check_early(request, request.folders(self._folders), attempt, change)
        return new, conflict

    def _describe(self, attempt: Attempt, request: RegistrationRequest, change: Change) -> None:
        """Record the facts that a request itself gives, which have to be possible."""
        if request.workflow_name is not None:
            attempt.name = check_workflow_name(request.workflow_name)
            change.check_scope(attempt.name)
        if request.version is not None:
            attempt.detail["version"] = check_version(request.version)
        attempt.detail |= change.stated_reason

    @contextmanager
    def _audited(self, attempt: Attempt, request: RegistrationRequest, change: Change) -> Iterator[None]:
        """Record the failure of a registration, unless it had not begun or was recorded when it was undone."""
        origin = change.origin
        try:
            yield
        except (TooManyRegistrations, ShuttingDown):
            raise
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
            acquisition = self._preparation.acquisition(
                request.folders(self._folders), lease, attempt.tracker, is_dry=True
            )
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
        attempt.tracker, attempt.operation = running.tracker, running.uid
        acquisition = self._preparation.acquisition(request.folders(self._folders), running.lease, running.tracker)
        try:
            with running.breakable(self._long_requests.is_stopping):
                prepared = self._preparation.prepare(request, acquisition, attempt, change)
            if change.plan:
                plan = self._preparation.plan(prepared)
                change.check_plan(plan)
                change = replace(change, expected=frozenset({plan.revision}))
            self._removal.finish_abandoned(lambda claim: claim.name == prepared.name)
            new = self._claim(prepared, acquisition, running, change)
            target = new.target
        except BaseException:
            acquisition.undo()
            raise
        acquisition.keep()
        try:
            with running.breakable(self._long_requests.is_stopping) as is_broken_off:
                self._load(replace(target, request_id=change.origin.request_id), is_broken_off)
            running.tracker.on_loaded()
            registered = self._finish(prepared, target, attempt, change, running)
        except WfmgmtError as error:
            attempt.is_recorded = True
            event = None if running.resumes_after(error) else attempt.event(change.origin, error)
            if self._removal.undo(target.uid, event, error):
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
            if prepared.request.version is None or not writer.claim_version(new):
                writer.claim_name(new)
            running.write(writer)
        return new

    def _load(self, target: LoadRequest, is_broken_off: Callable[[], bool]) -> None:
        report = self._runtime.load(target, cancelled=is_broken_off)
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
            running.check_wanted(writer)
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
            if registered.is_further and registered.is_default:
                with self._registry.read() as reader:
                    workflow = reader.target(target.workflow)
                if workflow is not None:
                    self._enforcement.pursue(workflow, registered.revision, wait_s=REACH_S)
        except (RuntimeUnavailable, RegistryUnavailable) as error:
            extra = {"workflow": target.workflow}
            _log.warning("the runtime could not be notified of the registration: %s", error, extra=extra)
