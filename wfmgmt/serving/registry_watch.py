"""A watch of the registry for changes, at next to no cost while there are none."""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.serving.registry_view import RegistryView

#: How often the whole registry is compared with what was read of it, without regard to the number of its last change.
COMPARE_INTERVAL_S = 60.0
#: Workflows that one look compares, so that predictions do not wait for long.
SLICE_ROWS = 5000
#: Workflows that one look reads; the next look follows at once.
TARGETS_PER_LOOK = 2000


@dataclass(slots=True, kw_only=True)
class Look:
    """The result of one look at the registry.

    Attributes:
        targets: What workflows that were made or changed are to be.
        removed: Uids of workflows that are gone.
        is_behind: Whether there are more that changed.
    """

    targets: list[WorkflowTarget] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    is_behind: bool = False


@dataclass(slots=True)
class _Comparison:
    """A comparison with the whole registry: which of the known uids it has not come to yet, and its next slice."""

    unseen: set[str]
    last: int = 0


class RegistryWatch:
    """Finds what changed in the registry since the last look: by numbered changes, and by comparing slices of it.

    Numbers cover all changes that the service makes. The comparison finds all others, such as rows that were made or
    removed by hand. For the event loop only, one look at a time.

    Args:
        registry: The registry.
        known: Gives uids whose removal matters beside those of workflows that were read; each had its row before it
            became known.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        registry: RegistryView,
        known: Callable[[], Collection[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._known = known
        self._clock = clock
        self._number = 0
        #: The change after which each workflow was read last.
        self._read: dict[str, int] = {}
        self._unread: set[str] = set()
        self._comparison: _Comparison | None = None
        self._compare_at = 0.0
        self._all_wanted, self._all_compared = 1, 0

    def compare_all(self) -> None:
        """Have the next look compare the whole registry, as the first one does, and read all of it again."""
        self._all_wanted += 1

    async def look(self) -> Look:
        """Return what is new since the last look that succeeded.

        Raises:
            WfmgmtError: The registry cannot be read.
        """
        wanted = self._all_wanted
        changes = await asyncio.to_thread(self._registry.changes, self._number)
        is_whole = changes.has_gap or wanted > self._all_compared
        comparison, compare_at = self._comparison, self._compare_at
        if is_whole or (comparison is None and self._clock() >= compare_at):
            comparison, compare_at = _Comparison({*self._read, *self._known()}), self._clock() + COMPARE_INTERVAL_S
        removed = set(changes.removed)
        self._unread.update(changes.workflows)
        if comparison is not None:
            comparison = await self._compare(comparison, removed, is_whole=is_whole)
        self._unread -= removed
        batch = list(itertools.islice(self._unread, TARGETS_PER_LOOK))
        targets = await asyncio.to_thread(self._registry.targets, batch) if batch else []
        # Only now, so that after a failure the next look begins where this one did.
        self._comparison, self._compare_at = comparison, compare_at
        self._number, self._all_compared = changes.number, wanted
        self._unread.difference_update(batch)
        removed.update(set(batch).difference(target.uid for target in targets))
        for uid in removed:
            self._read.pop(uid, None)
        self._read.update((target.uid, target.change) for target in targets)
        return Look(targets=targets, removed=removed, is_behind=bool(self._unread))

    async def _compare(self, comparison: _Comparison, removed: set[str], *, is_whole: bool) -> _Comparison | None:
        """Add a slice of a comparison, or all, to what is unread and removed; return what is left to compare."""
        while True:
            part = await asyncio.to_thread(self._registry.slice_after, comparison.last, limit=SLICE_ROWS)
            if is_whole:
                self._unread.update(part.changes)
            else:
                self._unread.update(uid for uid, change in part.changes.items() if self._read.get(uid) != change)
            comparison.unseen.difference_update(part.changes)
            if part.last is None:
                removed |= comparison.unseen
                return None
            comparison.last = part.last
            if not is_whole:
                return comparison
