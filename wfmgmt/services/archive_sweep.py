"""Removing archives that no version uses."""

import time
from collections.abc import Callable

from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.registry.registry import Registry
from wfmgmt.services.leases import Leases
from wfmgmt.services.registration_queue import HOLDER_PREFIX


class ArchiveSweep:
    """Removes kept archives that no version has used for a while, and what processes that died have begun to keep.

    Args:
        registry: The registry.
        kept: The archives.
        leases: Whose work is under way: what a registration keeps is safe from its beginning until it is recorded.
        keep_s: How long archives stay that nothing uses.
        clock: Nanoseconds since the epoch.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        kept: KeptArchives,
        leases: Leases,
        keep_s: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._registry = registry
        self._kept = kept
        self._leases = leases
        self._keep_ns = keep_s * 1_000_000_000
        self._clock = clock

    def run(self) -> list[str]:
        """Remove what is not needed, and return the digests of the archives among it.

        The order is what makes it safe. A registration takes its lease, keeps its archives, is recorded, and only then
        gives the lease back. So one that is not recorded when that is looked up here began before, with a lease that
        is seen, or begins after; and what it keeps is younger than the older of both. The leases of processes keep
        nothing.
        """
        taken = [at for name, at in self._leases.taken().items() if not name.startswith(HOLDER_PREFIX)]
        before = min([self._clock() - self._keep_ns, *taken])
        with self._registry.read() as reader:
            used = reader.digests()
        return self._kept.sweep(self._is_alive, used, before)

    def _is_alive(self, owner: str) -> bool:
        return owner == RUNTIME or self._leases.is_alive(owner)
