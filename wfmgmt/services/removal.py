"""Taking workflows away: unregistering, undoing a registration that failed, finishing what a dead process left."""

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import RuntimeUnavailable, StoreUnavailable, WfmgmtError, WorkflowNotFound
from wfmgmt.services.archives import StoreFolders
from wfmgmt.services.leases import Leases
from wfmgmt.serving.client import RuntimeClient
from wfmgmt.store.records import Claim
from wfmgmt.store.store import Store

_log = logging.getLogger("wfmgmt.removal")

#: Failed registrations that are kept until they can be recorded; all of them are in the log.
UNRECORDED = 10_000
#: After a claim could not be finished, the wait before the next attempt doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 30.0
#: Who acts when nobody asked.
HOUSEKEEPING = Origin(actor="housekeeping")


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the work that dead processes left.

    Attributes:
        done: A sentence for each workflow that was finished or undone.
        failed: The same, with the reason, for each that has to be tried again.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A claim that could not be finished, and when that is tried again."""

    pause_s: float
    due_at: float

    @classmethod
    def after(cls, previous: "_Failure | None") -> "_Failure":
        pause_s = FIRST_RETRY_S if previous is None else min(2 * previous.pause_s, MAX_RETRY_S)
        return cls(pause_s=pause_s, due_at=time.monotonic() + pause_s)


class Removal:
    """The use cases. Thread-safe.

    Args:
        store: The registry.
        folders: The archive stores.
        runtime: Unloads workflows.
        leases: Proof that a change is still under way.
    """

    def __init__(self, *, store: Store, folders: StoreFolders, runtime: RuntimeClient, leases: Leases) -> None:
        self._store = store
        self._folders = folders
        self._runtime = runtime
        self._leases = leases
        self._unrecorded: deque[AuditEvent] = deque(maxlen=UNRECORDED)
        self._failures: dict[str, _Failure] = {}

    def unregister(self, name: str, origin: Origin) -> None:
        """Remove a workflow: when this returns, its workers are gone and the name is free.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
            RuntimeUnavailable: The runtime hangs. The workflow is no longer served; its removal will be finished.
            StoreUnavailable, InsufficientStorage: The database could not be written.
        """
        with self._leases.take() as lease:
            with self._store.write() as writer:
                uid = writer.uid(name)
                if uid is None or not writer.mark_unregistering(uid, lease):
                    raise WorkflowNotFound(name)
                claim = writer.claim(uid)
            if claim is not None:
                self._finish(claim, _unregistered(claim, origin), must_unload=True)

    def undo(self, uid: str, event: AuditEvent, error: WfmgmtError) -> None:
        """Take back a registration that failed with this error, recording why.

        When that fails too, the row stays with a dead lease, and housekeeping tries again until it succeeds. It is left
        to housekeeping at once when the database was the reason: the client has waited for it already.
        """
        if isinstance(error, StoreUnavailable):
            return
        try:
            with self._store.read() as reader:
                claim = reader.claim(uid)
            if claim is not None and claim.status is WorkflowStatus.REGISTERING:
                self._finish(claim, event)
        except WfmgmtError as failure:
            _log.warning("could not undo the registration yet: %s", failure, extra={"workflow": event.workflow})

    def record_failure(self, event: AuditEvent, error: WfmgmtError) -> None:
        """Record a registration that failed with this error and changed nothing.

        That is done later when the database was the reason: the client has waited for it already.
        """
        try:
            if not isinstance(error, StoreUnavailable):
                self._record(event)
                return
        except WfmgmtError as failure:
            error = failure
        _log.warning("a failed registration has to be recorded later: %s %s", event, error)
        self._unrecorded.append(event)

    def record_late(self) -> None:
        """Record the failures that could not be recorded when they happened. For one thread of a process.

        Raises:
            StoreUnavailable, InsufficientStorage: It still cannot be done.
        """
        while self._unrecorded:
            event = self._unrecorded.popleft()
            try:
                self._record(event)
            except WfmgmtError:
                self._unrecorded.appendleft(event)
                raise

    def _record(self, event: AuditEvent) -> None:
        with self._store.write() as writer:
            writer.record(event)

    def recover(self, origin: Origin = HOUSEKEEPING) -> "Recovery":
        """Finish or undo everything whose process died or gave up, each workflow on its own.

        What fails is logged, and left alone by later calls for a growing while; others do not wait for it.

        Raises:
            StoreUnavailable: The database cannot be read.
        """
        recovery = Recovery()
        abandoned = self._abandoned()
        self._failures = {uid: failure for uid, failure in self._failures.items() if uid in abandoned}
        for uid, claim in abandoned.items():
            failure = self._failures.get(uid)
            if failure is not None and time.monotonic() < failure.due_at:
                continue
            try:
                self._recover(claim, origin)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one claim, others must not wait for it
                self._failures[uid] = _Failure.after(failure)
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
        with self._store.read() as reader:
            claims = reader.claims()
        return {claim.uid: claim for claim in claims if not self._leases.is_alive(claim.lease)}

    def _recover(self, claim: Claim, origin: Origin) -> None:
        with self._leases.take() as lease:
            with self._store.write() as writer:
                taken = writer.take_over(claim.uid, old_lease=claim.lease, new_lease=lease)
            if taken:
                self._finish(claim, _reconciled(claim, origin))

    def sweep(self) -> list[str]:
        """Remove the files that dead processes left in the stores; return their names."""
        removed = []
        for store in ("workflow", "model"):
            removed += self._folders.named(store).sweep(self._leases.is_alive, partial(self._is_used, store))
        self._leases.sweep()
        return removed

    def _is_used(self, store: str, file: str, except_uid: str = "") -> bool:
        with self._store.read() as reader:
            return reader.is_file_used(store, file, except_uid=except_uid)

    def _finish(self, claim: Claim, event: AuditEvent, *, must_unload: bool = False) -> None:
        """Unload, remove downloads, delete the row and record it, in an order that can be repeated from any point."""
        try:
            self._runtime.unload(claim.uid)
        except RuntimeUnavailable:
            # One that is down runs nothing. One that hangs will unload what the database no longer has once it is
            # back; only who was promised that the workers are gone has to hear of it.
            if must_unload and not self._runtime.is_down():
                raise
        for store, file in claim.downloads:
            if not self._is_used(store, file, except_uid=claim.uid):
                self._folders.named(store).remove(file)
        with self._store.write() as writer:
            if writer.remove(claim.uid):
                writer.record(event)


def _unregistered(claim: Claim, origin: Origin) -> AuditEvent:
    return AuditEvent(
        origin=origin,
        action=AuditAction.UNREGISTER,
        workflow=claim.name,
        outcome=AuditOutcome.SUCCEEDED,
        detail={"archive_sha256": claim.archive_sha256},
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
