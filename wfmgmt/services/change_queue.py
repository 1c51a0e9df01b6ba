"""Changes of registered workflows that are carried out later: releases that have to load, and new worker counts."""

from collections.abc import Callable

from wfmgmt.domain.operations import Operation, OperationKind
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_queue import OperationQueue
from wfmgmt.services.operations import Operations
from wfmgmt.services.tracking import RunningOperation


class ChangeQueue(OperationQueue):
    """Carries out those of one kind in their order, so that one kind never waits for another. Thread-safe.

    Args:
        kind: The kind.
        work: Carries one out.
        operations: Records them.
        long_requests: When work under way has to end.
        size: Changes that this process carries out at a time.
    """

    def __init__(
        self,
        kind: OperationKind,
        work: Callable[[Operation, RunningOperation], None],
        *,
        operations: Operations,
        long_requests: LongRequests,
        size: int,
    ) -> None:
        super().__init__(operations=operations, long_requests=long_requests, size=size)
        self.kinds = (kind,)
        self._work_of = work

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Do the work."""
        self._work_of(operation, running)
