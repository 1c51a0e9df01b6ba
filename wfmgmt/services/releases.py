"""Which version answers: default version, traffic, rollouts and rollbacks, each change one release."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.domain.operations import Operation, OperationError, OperationPhase
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import RoutingTable, WorkflowTarget
from wfmgmt.domain.traffic import release_json
from wfmgmt.errors import ReleaseNotFound, RuntimeUnavailable, ShuttingDown, WfmgmtError, WorkflowBusy
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.enforcement import Enforcement
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_records import Accepted, described_error, failure_of
from wfmgmt.services.operations import Operations
from wfmgmt.services.planning import lost_archives
from wfmgmt.services.release_requests import ReleaseRequest, look, new_operation
from wfmgmt.services.release_rules import Released, make_release
from wfmgmt.services.tracking import RunningOperation


class Releases:
    """Makes releases. Thread-safe.

    A release comes into force once the versions that it names are loaded, and changes nothing if one does not come up.
    One that has to load any is an operation. A dry run returns a plan.

    Args:
        registry: The registry.
        folders: The archive stores.
        kept: The archives that are kept by their digests.
        enforcement: Brings releases into force.
        operations: Records those that have to load something.
        failures: Records those of these that fail while nobody waits.
        long_requests: How many may wait for loads.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        kept: KeptArchives,
        enforcement: Enforcement,
        operations: Operations,
        failures: FailedChanges,
        long_requests: LongRequests,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._kept = kept
        self._enforcement = enforcement
        self._operations = operations
        self._failures = failures
        self._long_requests = long_requests

    def make(self, request: ReleaseRequest, change: Change, *, is_awaited: bool = True) -> Released | Accepted | Plan:
        """Make a release, at once if nothing has to be loaded for it.

        Args:
            request: Which one.
            change: Who asks.
            is_awaited: Whether the client waits for loads; if it does, and too many others do, it is made later, too.

        Raises:
            WfmgmtError: As `look`.
            WorkflowBusy: The same release is being made.
            VersionDoesNotLoad: A version that the release would name does not come up.
            RuntimeUnavailable: The runtime cannot be reached. Once the release is made, it comes into force later.
            OperationCancelled: Somebody has cancelled it.
        """
        with self._registry.read() as reader:
            target, wanted, plan = look(reader, request, change)
        if change.dry_run:
            return self._with_doubts(plan, target, wanted.table)
        if not self._enforcement.unloaded(target, wanted.table.versions):
            return self._switch(request, change, None)
        new, conflict = new_operation(request, wanted, change), WorkflowBusy(request.name, "getting this release")
        if is_awaited:
            with self._long_requests.change_slot() as is_free:
                if is_free:
                    with self._operations.run(new, conflict) as running:
                        return self._load_and_switch(request, change, running)
        accepted = Accepted(new.uid)
        self._operations.accept(new, conflict, lambda writer: change.on_made(writer, accepted))
        return accepted

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Make the release that an operation was accepted for; a failure is recorded, since nobody waits for it.

        Raises:
            ShuttingDown: The server stops; nothing was done, and nothing is recorded of it.
            WfmgmtError: As for `make`.
        """
        try:
            self._load_and_switch(ReleaseRequest.of_operation(operation), Change.of_operation(operation), running)
        except WfmgmtError as error:
            if not (running.is_made or isinstance(error, ShuttingDown)):
                self._failures.record(failure_of(operation, described_error(error)), error)
            raise

    def result(self, accepted: Accepted, wait_s: float) -> Accepted | Released | OperationError:
        """Return what came of a release, or what was accepted if that is not known after a time."""
        return self._operations.result(accepted, wait_s, self._released)

    def _released(self, operation: Operation, result: Mapping[str, Any]) -> Released:
        name, number = operation.workflow, result["release"]["number"]
        with self._registry.read() as reader:
            release = reader.release(name, number)
        if release is None:
            raise ReleaseNotFound(name, number)
        return Released(name=name, release=release, revision=result["revision"], is_changed=result["changed"])

    def _load_and_switch(self, request: ReleaseRequest, change: Change, running: RunningOperation) -> Released:
        with self._registry.read() as reader:
            target, wanted, _plan = look(reader, request, change)
        with running.breakable(self._long_requests.is_stopping) as is_broken_off:
            self._enforcement.load(
                target, wanted.table.versions, cancelled=is_broken_off, on_loading=running.tracker.on_claimed
            )
        running.tracker.on_loaded()
        return self._switch(request, change, running)

    def _switch(self, request: ReleaseRequest, change: Change, running: RunningOperation | None) -> Released:
        """Make a release whose versions are loaded; its rule is looked at again in the transaction that makes it."""
        with self._registry.write() as writer:
            if running is not None:
                running.check_wanted(writer)
            target, wanted, _plan = look(writer, request, change)
            released = make_release(
                writer,
                request.name,
                wanted.table,
                kind=request.kind,
                origin=change.origin,
                reason=change.reason,
                previous=wanted.previous,
                operation="" if running is None else running.uid,
            )
            change.on_made(writer, released)
            if running is not None:
                running.tracker.on_phase(OperationPhase.SWITCHING)
                running.write(writer, result=_result(released))
        if running is not None:
            running.is_made = True
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


def _result(released: Released) -> dict[str, Any]:
    """Return what an operation keeps of a release, as plain JSON."""
    return {
        "revision": released.revision,
        "release": release_json(released.release),
        "changed": released.is_changed,
    }
