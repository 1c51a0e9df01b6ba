"""Changes that failed, on their way into the audit trail, some of them late and some only counted."""

import logging
from collections import deque

from wfmgmt.domain.audit import AuditEvent
from wfmgmt.errors import RegistryUnavailable, WfmgmtError
from wfmgmt.registry.registry import Registry
from wfmgmt.services.failure_budget import FailureBudget

_log = logging.getLogger("wfmgmt.failed_changes")

#: Failed changes that are kept until they can be recorded; all of them are in the log.
UNRECORDED = 10_000


class FailedChanges:
    """Records changes that were refused or failed. Thread-safe.

    Args:
        registry: Has the audit trail.
        budget: Bounds the events of clients.
    """

    def __init__(self, *, registry: Registry, budget: FailureBudget) -> None:
        self._registry = registry
        self._budget = budget
        self._unrecorded: deque[AuditEvent] = deque(maxlen=UNRECORDED)

    def admits(self, event: AuditEvent) -> bool:
        """Return whether a failure gets an event of its own; if not, it has been counted."""
        return self._budget.admits(event)

    def record(self, event: AuditEvent, error: Exception) -> None:
        """Record a request that failed with this error and changed nothing, unless too many failed lately.

        That is done later when the database was the reason: the client has waited for it already.
        """
        if not self._budget.admits(event):
            return
        try:
            if not isinstance(error, RegistryUnavailable):
                self._record(event)
                return
        except WfmgmtError as failure:
            error = failure
        _log.warning(
            "a failed %s of %s (%s) has to be recorded later: %s",
            event.action,
            f"workflow {event.workflow}" if event.workflow else "a workflow without a name",
            event.detail["error"]["type"],
            error,
            extra={"request_id": event.origin.request_id, "workflow": event.workflow},
        )
        self._unrecorded.append(event)

    def record_late(self, *, at_end: bool = False) -> None:
        """Record the failures that could not be recorded when they happened, and those that were only counted.

        For one thread of a process.

        Args:
            at_end: Whether this is the last time, so that what was counted in the minute under way is recorded, too.

        Raises:
            RegistryUnavailable, InsufficientStorage: It still cannot be done.
        """
        self._unrecorded.extend(self._budget.summaries(at_end=at_end))
        while self._unrecorded:
            event = self._unrecorded.popleft()
            try:
                self._record(event)
            except WfmgmtError:
                self._unrecorded.appendleft(event)
                raise

    def _record(self, event: AuditEvent) -> None:
        with self._registry.write() as writer:
            writer.record(event)
