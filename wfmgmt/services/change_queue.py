"""Changes of registered workflows that are carried out later: releases that have to load, and new worker counts."""

from wfmgmt.domain.operations import Operation, OperationKind
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_queue import OperationQueue
from wfmgmt.services.operations import Operations
from wfmgmt.services.releases import Releases
from wfmgmt.services.tracking import RunningOperation
from wfmgmt.services.worker_counts import WorkerCounts


class ChangeQueue(OperationQueue):
    """Carries them out in their order; registrations, which may hang in downloads, do not hold them up. Thread-safe.

    Args:
        releases: Makes releases.
        worker_counts: Follows worker counts.
        operations: Records them.
        long_requests: When work under way has to end.
        size: Changes that this process carries out at a time.
    """

    kinds = (OperationKind.SCALE, OperationKind.RELEASE)

    def __init__(
        self,
        *,
        releases: Releases,
        worker_counts: WorkerCounts,
        operations: Operations,
        long_requests: LongRequests,
        size: int,
    ) -> None:
        super().__init__(operations=operations, long_requests=long_requests, size=size)
        self._works = {OperationKind.SCALE: worker_counts.carry_out, OperationKind.RELEASE: releases.carry_out}

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Do what its kind says."""
        self._works[operation.kind](operation, running)
