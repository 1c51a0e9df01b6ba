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


class WorkflowState(StrEnum):
    """How a workflow is, as a list of workflows shows it: what the registry says, and what the runtime reports."""

    READY = "ready"
    #: It is registered, and workers of its default version are coming up.
    LOADING = "loading"
    #: It is registered, and its default version did not come up.
    FAILED = "failed"
    #: A version of it is being registered.
    REGISTERING = "registering"
    #: A version of it is being unregistered.
    UNREGISTERING = "unregistering"


#: Every legal move. A row begins as `registering` and removed from `registering` or `unregistering`.
LEGAL_MOVES = (
    (WorkflowStatus.REGISTERING, WorkflowStatus.READY),
    (WorkflowStatus.READY, WorkflowStatus.UNREGISTERING),
)
