"""The part of the registry that the runtime uses, as a Protocol."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.serving.models.base import Drift


class RegistryView(Protocol):
    """What the runtime reads from the registry, and records in it. Blocking; called in a thread, one call at a time."""

    def uids(self) -> set[str]:
        """Return the registration of every version, finished or not.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def changes(self, since: int) -> Changes:
        """Return which workflows changed after a change of the registry.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return some of all workflows: those that follow the slice that ended with `last`, the first after 0.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def targets(self, uids: Sequence[str]) -> list[WorkflowTarget]:
        """Return what each of these workflows is to be; those that are gone are left out.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def load_requests(self, uids: list[str]) -> Iterable[LoadRequest]:
        """Return what is needed to load these versions; those that are not ready are left out.

        Raises:
            WfmgmtError: The database cannot be read.
        """

    def record(self, drifts: Sequence[Drift]) -> None:
        """Write down how model servers differed from what they should hold.

        Raises:
            WfmgmtError: The database cannot be written.
        """
