"""Archives in the stores: their two kinds, and the versions that use one."""

from enum import StrEnum
from typing import NamedTuple


class ArchiveKind(StrEnum):
    """What an archive holds, which says in which store it lies."""

    WORKFLOW = "workflow"
    MODEL = "model"

    @property
    def folder(self) -> str:
        """How paths of the API call its store."""
        return f"{self.value}s"

    @property
    def suffix(self) -> str:
        """What the names of such files end in."""
        return ".war" if self is ArchiveKind.WORKFLOW else ".mar"


class ArchiveUse(NamedTuple):
    """A version of a workflow that an archive belongs to, finished or not.

    Attributes:
        workflow: Name of the workflow.
        version: The version.
        node: Which node the archive is the model of; None for the archive of the workflow itself.
    """

    workflow: str
    version: str
    node: str | None

    def __str__(self) -> str:
        what = self.workflow or "a workflow that is being registered"
        return f"{what} {self.version}" + (f" (node {self.node})" if self.node is not None else "")
