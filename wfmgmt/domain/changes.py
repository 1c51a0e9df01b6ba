"""Values that a follower of the registry reads: changes since one that it has seen, and slices of everything."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The workflows that changed after a change of the registry.

    Attributes:
        number: The newest change, up to which this reports everything.
        workflows: Uids of those that were made or changed.
        removed: Uids of those that were removed.
        has_gap: Whether removals in between are no longer known, or the registry is an older one; then the rest is
            empty, and only a comparison with everything helps.
    """

    number: int
    workflows: tuple[str, ...]
    removed: tuple[str, ...]
    has_gap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySlice:
    """A part of all workflows.

    Attributes:
        changes: Number of the last change of each workflow, by its uid.
        last: Where the next slice begins; None when this is the last one.
    """

    changes: Mapping[str, int]
    last: int | None
