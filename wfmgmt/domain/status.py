"""The life of a registration: its statuses and the moves between them."""

from enum import StrEnum


class WorkflowStatus(StrEnum):
    """Where a workflow stands; one that is gone, or whose registration failed, has no row."""

    #: Claimed by a registration whose workers are still coming up.
    REGISTERING = "registering"
    #: Listed, described and served.
    READY = "ready"
    #: Claimed by a removal whose workers are still going down.
    UNREGISTERING = "unregistering"

    def predecessor(self) -> "WorkflowStatus":
        """Return the one status from which a workflow may move here.

        Raises:
            ValueError: No move leads here: a workflow starts in this status.
        """
        for source, target in LEGAL_MOVES:
            if target is self:
                return source
        raise ValueError(f"no workflow moves to {self.value}")


#: Every legal move. A row begins as `registering` and removed from `registering` or `unregistering`.
LEGAL_MOVES = (
    (WorkflowStatus.REGISTERING, WorkflowStatus.READY),
    (WorkflowStatus.READY, WorkflowStatus.UNREGISTERING),
)
