"""Values that a follower of the registry reads: changes since a revision, and slices of everything."""

from collections.abc import Mapping
from dataclasses import dataclass

from wfmgmt.domain.status import WorkflowStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes in the registry after a revision.

    Attributes:
        revision: The newest one, up to which this reports everything.
        statuses: Status of each registration that was made or changed, by uid.
        removed: Uids of registrations that were removed.
        has_gap: Whether removals in between are no longer known, or the registry is an older one; then the rest is
            empty, and only a comparison with everything helps.
    """

    revision: int
    statuses: Mapping[str, WorkflowStatus]
    removed: tuple[str, ...]
    has_gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySlice:
    """A part of all registrations.

    Attributes:
        statuses: Status of each registration of any status, by uid.
        last: Where the next slice begins; None when this is the last one.
    """

    statuses: Mapping[str, WorkflowStatus]
    last: int | None
