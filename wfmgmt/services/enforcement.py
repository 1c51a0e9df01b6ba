"""Having the runtime carry out what was written: loading versions before, bringing a revision into force after."""

import logging
from collections.abc import Callable

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.messages import ReachReport
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import NotInForce, RuntimeUnavailable, VersionDoesNotLoad
from wfmgmt.registry.registry import Registry
from wfmgmt.services.long_requests import LongRequests

_log = logging.getLogger("wfmgmt.enforcement")

#: How long a switch of versions that are loaded may take.
REACH_S = 30.0
#: How long a change may wait for the runtime without a slot of long requests.
MOMENT_S = 1.0


class Enforcement:
    """Brings changes of the registry into force. Thread-safe.

    Args:
        registry: The registry.
        runtime: Carries them out.
        long_requests: How many changes may wait for loads, and when they have to end.
    """

    def __init__(self, *, registry: Registry, runtime: RuntimeClient, long_requests: LongRequests) -> None:
        self._registry = registry
        self._runtime = runtime
        self._long_requests = long_requests

    def unloaded(self, target: WorkflowTarget, versions: tuple[str, ...]) -> list[str]:
        """Return the registrations of those versions that are not loaded.

        Raises:
            RuntimeUnavailable: The runtime cannot be reached.
        """
        uids = [target.versions[version] for version in versions]
        return [uid for uid in uids if not self._runtime.report(uid).state.is_loaded]

    def is_loaded(self, uid: str) -> bool:
        """Return whether a registration is loaded, as far as the runtime says."""
        try:
            return self._runtime.report(uid).state.is_loaded
        except RuntimeUnavailable:
            return False

    def load(
        self,
        target: WorkflowTarget,
        versions: tuple[str, ...],
        *,
        cancelled: Callable[[], bool],
        on_loading: Callable[[LoadRequest], None],
    ) -> None:
        """Load versions that are not; what is loaded stays so for a while, also without a share.

        Args:
            target: The workflow.
            versions: The versions.
            cancelled: Ends it.
            on_loading: Called with each one before.

        Raises:
            VersionDoesNotLoad: One of them does not come up.
            RuntimeUnavailable: The runtime cannot be reached, or does not finish.
            ShuttingDown: `cancelled` became true meanwhile.
        """
        try:
            missing = self.unloaded(target, versions)
        except RuntimeUnavailable:  # Loads wait for one that is being started.
            missing = [target.versions[version] for version in versions]
        with self._registry.read() as reader:
            requests = list(reader.load_requests(missing))
        for request in requests:
            on_loading(request)
            report = self._runtime.load(request, cancelled=cancelled)
            if report.failures:
                reasons = "; ".join(f"{node}: {reason}" for node, reason in report.failures.items())
                raise VersionDoesNotLoad(target.name, request.version, reasons)

    def reach(self, target: WorkflowTarget, revision: int) -> None:
        """Wait until a revision is in force.

        Raises:
            NotInForce: It is not in time; the runtime will get there by itself.
        """
        try:
            report = self._reach(target, revision, REACH_S)
        except RuntimeUnavailable as error:
            raise not_in_force(target, revision, str(error)) from error
        if not report.reached:
            raise not_in_force(target, revision, report.problem or "the runtime is not there yet.")

    def pursue(self, target: WorkflowTarget, revision: int, *, wait_s: float) -> ReachReport:
        """Have the runtime begin to bring a revision into force, and return how far it is after a while at most.

        Args:
            target: The workflow.
            revision: Which revision.
            wait_s: How long to wait; 0 for not at all.
        """
        try:
            return self._reach(target, revision, wait_s)
        except RuntimeUnavailable as error:
            _log.warning("revision %d is not in force yet: %s", revision, error, extra={"workflow": target.name})
            return ReachReport(revision=0, reached=False, problem=str(error))

    def _reach(self, target: WorkflowTarget, revision: int, wait_s: float) -> ReachReport:
        """Wait for a revision; for longer than a moment only with a slot, so that threads are left for others."""
        report = self._ask(target, revision, min(wait_s, MOMENT_S))
        if report.reached or wait_s <= MOMENT_S:
            return report
        with self._long_requests.change_slot() as may_wait:
            return self._ask(target, revision, wait_s - MOMENT_S) if may_wait else report

    def _ask(self, target: WorkflowTarget, revision: int, wait_s: float) -> ReachReport:
        return self._runtime.reach(target.uid, revision, wait_s, cancelled=self._long_requests.is_stopping)


def not_in_force(target: WorkflowTarget, revision: int, why: str) -> NotInForce:
    """Return the error about a revision that is written and not in force yet."""
    return NotInForce(
        f"Revision {revision} of workflow {target.name} is written, and will come into force by itself; not yet: {why}"
    )
