"""A watch of the registry for changes, at next to no cost while there are none."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.serving.registry_view import RegistryView

#: How often the whole registry is compared with what is loaded, without regard to revisions.
COMPARE_INTERVAL_S = 60.0
#: Registrations that one look compares, so that predictions do not wait for long.
SLICE_ROWS = 5000


@dataclass(slots=True, kw_only=True)
class Look:
    """The result of one look at the registry.

    Attributes:
        statuses: Status of each registration that was made or changed, or was compared, by uid.
        removed: Uids of registrations that are gone.
    """

    statuses: dict[str, WorkflowStatus]
    removed: set[str]


@dataclass(slots=True)
class _Comparison:
    """A comparison with the whole registry: which of the known uids it has not come to yet, and its next slice."""

    unseen: set[str]
    last: int = 0


class RegistryWatch:
    """Finds what changed in the registry since the last look: by revisions, and by comparing slices of everything.

    Revisions cover all changes that the service makes. The comparison finds all others, such as those made by hand in
    the database. For the event loop only, one look at a time.

    Args:
        registry: The registry.
        known: Gives the uids whose removal matters; each had its row before it became known.
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
        self._revision = 0
        self._comparison: _Comparison | None = None
        self._compare_at = 0.0
        self._all_wanted, self._all_compared = 1, 0

    def compare_all(self) -> None:
        """Have the next look compare the whole registry, as the first one does."""
        self._all_wanted += 1

    async def look(self) -> Look:
        """Return what is new since the last look that succeeded.

        Raises:
            WfmgmtError: The registry cannot be read.
        """
        wanted = self._all_wanted
        changes = await asyncio.to_thread(self._registry.changes, self._revision)
        is_whole = changes.has_gap or wanted > self._all_compared
        comparison, compare_at = self._comparison, self._compare_at
        if is_whole or (comparison is None and self._clock() >= compare_at):
            comparison, compare_at = _Comparison(set(self._known())), self._clock() + COMPARE_INTERVAL_S
        look = Look(statuses=dict(changes.statuses), removed=set(changes.removed))
        if comparison is not None:
            comparison = await self._compare(comparison, look, is_whole=is_whole)
        for uid in look.removed:
            look.statuses.pop(uid, None)
        # Only now, so that after a failure the next look begins where this one did.
        self._comparison, self._compare_at = comparison, compare_at
        self._revision, self._all_compared = changes.revision, wanted
        return look

    async def _compare(self, comparison: _Comparison, look: Look, *, is_whole: bool) -> _Comparison | None:
        """Add one slice of a comparison to a look, or all of them; return what is left to compare."""
        while True:
            part = await asyncio.to_thread(self._registry.slice_after, comparison.last, limit=SLICE_ROWS)
            look.statuses.update(part.statuses)
            comparison.unseen.difference_update(part.statuses)
            if part.last is None:
                look.removed |= comparison.unseen
                return None
            comparison.last = part.last
            if not is_whole:
                return comparison
