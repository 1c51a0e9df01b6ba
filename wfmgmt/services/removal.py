"""Taking versions away: unregistering, undoing a registration that failed, finishing what a dead process left."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.backoff import Backoff
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import RoutingTable, WorkflowTarget
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import (
    RegistryUnavailable,
    RuntimeUnavailable,
    ShuttingDown,
    VersionInUse,
    VersionNotFound,
    WfmgmtError,
    WorkflowBusy,
    WorkflowNotFound,
)
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.records import Claim
from wfmgmt.registry.registry import Registry, timestamp, utc_now
from wfmgmt.services.changes import Change
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations
from wfmgmt.services.planning import removal_plan

_log = logging.getLogger("wfmgmt.removal")

#: After a claim could not be finished, the wait before the next attempt doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 30.0
#: How often it is looked whether a removal that others finish is finished.
WAIT_INTERVAL_S = 0.1
#: How long a client may take to repeat a removal whose outcome it did not get.
REPEAT_TIME = timedelta(minutes=10)
#: What the leases of recovered changes begin with: no client was answered that they are finished.
RECOVERY = "recovery-"
#: Origin of changes that no client asked for.
HOUSEKEEPING = Origin(actor="housekeeping")


@dataclass(frozen=True, slots=True)
class Recovery:
    """The outcome of finishing the work that dead processes left.

    Attributes:
        done: A sentence for each workflow that was finished or undone.
        failed: The same, with the reason, for each that has to be tried again.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unregistered:
    """A removal that is finished.

    Attributes:
        name: Of the workflow.
        revision: The workflow's revision; None when all of it is gone.
    """

    name: str
    revision: int | None = None


class Removal:
    """Unregisters workflows, undoes failed registrations and finishes interrupted work. Thread-safe.

    Args:
        registry: The registry.
        folders: The archive stores.
        kept: The archives of all registrations.
        runtime: Unloads workflows.
        leases: Proof that a change is still under way.
        long_requests: How many removals may wait for the runtime, and when they have to end.
        failures: Records failed registrations.
        operations: Ends those whose work is undone here.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        kept: KeptArchives,
        runtime: RuntimeClient,
        leases: Leases,
        long_requests: LongRequests,
        failures: FailedChanges,
        operations: Operations,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._kept = kept
        self._runtime = runtime
        self._leases = leases
        self._long_requests = long_requests
        self._failures = failures
        self._operations = operations
        self._backoffs: dict[str, Backoff] = {}
        self._clock = clock

    def unregister(self, name: str, change: Change) -> Unregistered:
        """Remove a workflow: when this returns, its workers are gone and the name is free.

        A removal that was begun and not finished is finished; one that housekeeping is finishing is waited for, and one
        that housekeeping has finished within the last `REPEAT_TIME` counts as this request's own.

        Raises:
            WorkflowNotFound: No ready workflow has the name, or another request removed it meanwhile.
            RuntimeUnavailable: The runtime hangs. The workflow is no longer served; its removal will be finished.
            ShuttingDown: The server stops meanwhile; the same holds.
            RegistryUnavailable, InsufficientStorage: The database could not be written.
        """
        with self._leases.take() as lease:
            claims = self._claim_all(name, lease, change)
            for claim in claims[:-1]:
                self._finish(claim, None, must_unload=True)
            if claims:
                return self._finish(claims[-1], _unregistered(claims, change), must_unload=True, change=change)
        self._unregister_again(name, change)
        return Unregistered(name=name)

    def plan(self, name: str, version: str | None, change: Change) -> Plan:
        """Return what `unregister`, or `unregister_version` if a version is given, would do.

        Raises:
            WfmgmtError: What that would raise.
        """
        with self._registry.read() as reader:
            return _check_change(reader, name, version, change)

    def _claim_all(self, name: str, lease: str, change: Change) -> list[Claim]:
        """Claim all versions of a ready workflow, its default one first; none of one that is not ready."""
        with self._registry.write() as writer:
            default = writer.uid(name)
            if default is None:
                return []
            _check_change(writer, name, None, change)
            uids = [default, *(key.uid for key in writer.keys(name) if key.uid != default)]
            claims = [writer.claim(uid) for uid in uids if writer.mark_unregistering(uid, lease)]
            if writer.status(name) is WorkflowStatus.REGISTERING:
                raise WorkflowBusy(name, "getting another version")
            return [claim for claim in claims if claim is not None]

    def _unregister_again(self, name: str, change: Change) -> None:
        """Finish what another request has begun, or wait until that is finished."""
        deadline = self._clock() + self._runtime.max_unload_s
        is_recovered = is_ours = False
        while (claim := self._unfinished_removal(name)) is not None:
            if not self._leases.is_alive(claim.lease):
                is_ours |= self._take_over(claim, change)
                continue  # There may be other versions; or another request was faster, and has the lease now.
            is_recovered = claim.lease.startswith(RECOVERY)
            with self._long_requests.change_slot() as may_wait:
                if not may_wait:
                    break
                self._wait_for_end(claim, deadline)
        if not is_ours and not is_recovered and not self._was_recovered(name):
            raise WorkflowNotFound(name)  # Of several requests that remove it one gets 200.

    def _was_recovered(self, name: str) -> bool:
        """Return whether housekeeping removed the workflow lately, for a client that did not hear of the end."""
        with self._registry.read() as reader:
            last = reader.last_change(name)
        if last is None or last.detail.get("found") != WorkflowStatus.UNREGISTERING:
            return False
        return last.at >= timestamp(utc_now() - REPEAT_TIME)

    def _wait_for_end(self, claim: Claim, deadline: float) -> None:
        while self._leases.is_alive(claim.lease):
            if self._long_requests.is_stopping():
                raise ShuttingDown("The server is stopping; the removal will be finished.")
            if self._clock() > deadline:
                raise RuntimeUnavailable(f"Workflow {claim.name} is still being unregistered; try again later.")
            time.sleep(WAIT_INTERVAL_S)

    def _unfinished_removal(self, name: str) -> Claim | None:
        with self._registry.read() as reader:
            if reader.status(name) is not WorkflowStatus.UNREGISTERING:
                return None
            return next((claim for claim in reader.claims() if claim.name == name), None)

    def _take_over(self, claim: Claim, change: Change) -> bool:
        """Finish an abandoned removal; return False when another one was faster."""
        with self._leases.take() as lease:
            with self._registry.write() as writer:
                is_ours = writer.take_over(claim.uid, old_lease=claim.lease, new_lease=lease)
            if is_ours:
                self._finish(claim, _unregistered([claim], change), must_unload=True, change=change)
        return is_ours

    def undo(self, uid: str, event: AuditEvent | None, error: WfmgmtError) -> bool:
        """Take back a registration that failed with this error, recording an event; return whether nothing is left.

        When that fails too, the row stays with a dead lease, and housekeeping tries again until it succeeds. It is left
        to housekeeping at once when the database was the reason: the client has waited for it already.
        """
        if isinstance(error, RegistryUnavailable):
            return False
        try:
            with self._registry.read() as reader:
                claim = reader.claim(uid)
            if claim is not None and claim.status is WorkflowStatus.REGISTERING:
                self._finish(claim, event if event is not None and self._failures.admits(event) else None)
                return True
        except WfmgmtError as failure:
            workflow = "" if event is None else event.workflow
            _log.warning("could not undo the registration yet: %s", failure, extra={"workflow": workflow})
        return False

    def finish_abandoned(self, is_in_the_way: Callable[[Claim], bool]) -> None:
        """Finish or undo now what is in the way of a registration and has nobody at work on it any more.

        Its process died, or the disk was full when it was to be undone; housekeeping may be pausing after that.

        Raises:
            WfmgmtError: It still cannot be done, and why.
        """
        for claim in self._abandoned().values():
            if is_in_the_way(claim):
                self._recover(claim, HOUSEKEEPING)

    def recover(self, origin: Origin = HOUSEKEEPING) -> "Recovery":
        """Finish or undo everything whose process died or abandoned it, each workflow on its own.

        What fails is logged, and left alone by later calls for a growing while; others do not wait for it.

        Raises:
            RegistryUnavailable: The database cannot be read.
        """
        recovery = Recovery()
        abandoned = self._abandoned()
        self._backoffs = {
            uid: self._backoffs.get(uid) or Backoff(FIRST_RETRY_S, MAX_RETRY_S, clock=self._clock) for uid in abandoned
        }
        for uid, claim in abandoned.items():
            if self._backoffs[uid].is_pausing:
                continue
            try:
                self._recover(claim, origin)
            except Exception as error:  # noqa: BLE001 - one claim that fails must not keep others from being recovered
                self._backoffs[uid].next_pause()
                recovery.failed.append(f"{_sentence(claim)}: {error}")
                foreseen = isinstance(error, WfmgmtError | OSError)
                _log.warning(
                    "could not %s yet: %s",
                    _sentence(claim),
                    error,
                    exc_info=None if foreseen else error,
                    extra={"workflow": claim.name},
                )
            else:
                recovery.done.append(_sentence(claim))
        return recovery

    def abandoned(self) -> list[str]:
        """Return what `recover` would do."""
        return [_sentence(claim) for claim in self._abandoned().values()]

    def _abandoned(self) -> dict[str, Claim]:
        with self._registry.read() as reader:
            claims = reader.claims()
        return {claim.uid: claim for claim in claims if not self._leases.is_alive(claim.lease)}

    def _recover(self, claim: Claim, origin: Origin) -> None:
        with self._leases.take(prefix=RECOVERY) as lease:
            with self._registry.write() as writer:
                taken = writer.take_over(claim.uid, old_lease=claim.lease, new_lease=lease)
            if taken:
                self._finish(claim, _reconciled(claim, origin), lease=lease)

    def sweep(self) -> list[str]:
        """Remove the files that dead processes left in the stores; return their names."""
        removed = []
        for store in ("workflow", "model"):
            removed += self._folders.named(store).sweep(self._leases.is_alive, partial(self._is_used, store))
        self._leases.sweep()
        return removed

    def _is_used(self, store: str, file: str, except_uid: str = "") -> bool:
        with self._registry.read() as reader:
            return reader.is_file_used(store, file, except_uid=except_uid)

    def unregister_version(self, name: str, version: str, change: Change) -> Unregistered:
        """Remove one version of a workflow, or the workflow when that is its only one, like `unregister`.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            VersionNotFound: It has no such version, or another request removes that.
            VersionInUse: The current release names the version, and there are others.
            PreconditionFailed: The workflow has another revision than expected.
        """
        with self._leases.take() as lease:
            with self._registry.write() as writer:
                plan = _check_change(writer, name, version, change)
                claim = None
                if plan.version is not None:
                    key = writer.key(name, version)
                    claim = writer.claim(key.uid) if key and writer.mark_unregistering(key.uid, lease) else None
            if claim is not None:
                event = replace(_unregistered([claim], change), action=AuditAction.UNREGISTER_VERSION)
                return self._finish(claim, event, must_unload=True, change=change)
        return self.unregister(name, change)

    def _finish(
        self,
        claim: Claim,
        event: AuditEvent | None,
        *,
        must_unload: bool = False,
        change: Change | None = None,
        lease: str | None = None,
    ) -> Unregistered:
        """Unload, remove downloads, delete the row and record it, in an order that can be repeated from any point."""
        try:
            self._runtime.unload(claim.uid, cancelled=lambda: must_unload and self._long_requests.is_stopping())
        except RuntimeUnavailable:
            # One that is down runs nothing. One that hangs will unload what the database no longer has once it is
            # back; only a client that was promised that the workers are gone waits for that.
            if must_unload and not self._runtime.is_down():
                self._unload_patiently(claim.uid)
        for store, file in claim.downloads:
            if not self._is_used(store, file, except_uid=claim.uid):
                self._folders.named(store).remove(file)
        if claim.status is WorkflowStatus.UNREGISTERING:
            self._kept.touch(claim.digests)  # They stay for a while from now on.
        with self._registry.write() as writer:
            actor = HOUSEKEEPING.actor if event is None else event.origin.actor
            if writer.remove(claim.uid, actor=actor) and event is not None:
                writer.record(event)
            if lease is not None:
                self._operations.end_undone(writer, lease)
            unregistered = Unregistered(name=claim.name, revision=writer.revision(claim.name))
            if change is not None:
                change.on_made(writer, unregistered)
        return unregistered

    def _unload_patiently(self, uid: str) -> None:
        """Unload once the runtime can be reached; it is started, or replaced if it hangs, meanwhile."""
        with self._long_requests.change_slot() as may_wait:
            self._runtime.unload(
                uid,
                wait_s=self._runtime.max_unload_s if may_wait else 0.0,
                cancelled=self._long_requests.is_stopping,
            )


def _check_change(reader: Reader, name: str, version: str | None, change: Change) -> Plan:
    """Return the plan of a removal, of a whole workflow unless one of several versions is named, after all checks."""
    target = reader.target(name)
    if target is None or target.release is None:
        raise WorkflowNotFound(name)
    table = target.release.table
    versions = list(target.versions)
    if version is not None and version not in versions:
        raise VersionNotFound(name, version)
    change.check(reader, name)
    if version is not None and len(target.statuses) > 1:
        _check_unused(target, table, version)
        versions = [version]
    plan = removal_plan(reader, target, table, versions)
    change.check_plan(plan)
    return plan


def _check_unused(target: WorkflowTarget, table: RoutingTable, version: str) -> None:
    """Refuse to remove a version that the current release names."""
    if weight := table.weights.get(version):
        raise VersionInUse(target.name, version, f"has {weight} % of the requests")
    if version in table.versions:
        raise VersionInUse(target.name, version, "gets copies of the requests")


def _unregistered(claims: Sequence[Claim], change: Change) -> AuditEvent:
    """Return the event of a removal of these versions, the default one first."""
    detail: dict[str, object] = {"archive_sha256": claims[0].archive_sha256, "version": claims[0].version}
    if len(claims) > 1:
        detail["versions"] = {claim.version: claim.archive_sha256 for claim in claims}
    return AuditEvent(
        origin=change.origin,
        action=AuditAction.UNREGISTER,
        workflow=claims[0].name,
        outcome=AuditOutcome.SUCCEEDED,
        detail=detail | change.stated_reason,
    )


def _reconciled(claim: Claim, origin: Origin) -> AuditEvent:
    return AuditEvent(
        origin=origin,
        action=AuditAction.RECONCILE,
        workflow=claim.name,
        outcome=AuditOutcome.SUCCEEDED,
        detail={"archive_sha256": claim.archive_sha256, "found": claim.status.value, "did": _sentence(claim)},
    )


def _sentence(claim: Claim) -> str:
    if claim.status is WorkflowStatus.REGISTERING:
        return f"undo the unfinished registration of {claim.name}"
    return f"finish the unfinished removal of {claim.name}"
