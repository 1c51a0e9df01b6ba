"""The loop that keeps model servers in step with what was loaded on them."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.base import Drift, DriftKind
from wfmgmt.serving.models.protocol import ModelServer
from wfmgmt.serving.registry_view import RegistryView
from wfmgmt.serving.waiting import wait_for_event

_log = logging.getLogger("wfmgmt.runtime")

#: Differences of model servers that are kept while they cannot be recorded; all of them are in the log.
MAX_UNRECORDED = 10_000


class DriftCheck:
    """Finds, repairs, counts and records how model servers differ from what they should hold. For the event loop only.

    Args:
        models: The model servers.
        registry: The registry.
        catalog: The workflows.
        measurements: Where to count differences.
        interval_s: How often to look; None for once, at the start.
    """

    def __init__(
        self,
        *,
        models: ModelServer,
        registry: RegistryView,
        catalog: Catalog,
        measurements: Measurements,
        interval_s: float | None,
    ) -> None:
        self._models = models
        self._registry = registry
        self._catalog = catalog
        self._measurements = measurements
        self._interval_s = interval_s
        self._checking = asyncio.Lock()
        self._standing: dict[tuple[str, str, str], Drift] = {}
        self._unrecorded: deque[Drift] = deque(maxlen=MAX_UNRECORDED)

    async def run(self) -> None:
        """Check again and again."""
        while True:
            self._models.check_wanted.clear()
            try:
                await self.check(dry_run=False)
            except WfmgmtError as error:
                _log.warning("the model servers could not be checked: %s", error)
            await wait_for_event(self._models.check_wanted, self._interval_s)

    async def check(self, *, dry_run: bool) -> Sequence[Drift]:
        """Check once, and return the differences.

        A difference that cannot be repaired is counted and recorded when it is found first, and recorded again when it
        is repaired or gone.

        Args:
            dry_run: Repair, count and record nothing.

        Raises:
            WfmgmtError: The registry cannot be read.
        """
        async with self._checking:
            drifts = await self._models.check(self._known, dry_run=dry_run)
            if not dry_run:
                self._record_new(drifts)
                await self._save_unrecorded()
        return drifts

    async def _known(self) -> set[str]:
        """Return what is registered or loaded: a registration that is under way may be in one of them only."""
        return {*await asyncio.to_thread(self._registry.uids), *self._catalog.uids}

    def _record_new(self, drifts: Sequence[Drift]) -> None:
        for drift in drifts:
            is_new = _identity(drift) not in self._standing
            if is_new:
                self._measurements.record_drift(drift)
            if is_new or drift.is_repaired:
                self._record(drift)
        unread = {drift.server for drift in drifts if drift.kind is DriftKind.UNKNOWN}
        unseen = {identity: drift for identity, drift in self._standing.items() if drift.server in unread}
        standing = unseen | {_identity(drift): drift for drift in drifts if not drift.is_repaired}
        for identity in self._standing.keys() - standing.keys() - set(map(_identity, drifts)):
            self._record(replace(self._standing[identity], did="it is gone", is_repaired=True))
        self._standing = standing

    def _record(self, drift: Drift) -> None:
        _log.warning("%s", drift, extra={"workflow": drift.workflow})
        self._unrecorded.append(drift)

    async def _save_unrecorded(self) -> None:
        drifts = list(self._unrecorded)
        if not drifts:
            return
        try:
            await asyncio.to_thread(self._registry.record, drifts)
            self._unrecorded.clear()
        except WfmgmtError as error:
            _log.warning("differences of model servers have to be recorded later: %s", error)


def _identity(drift: Drift) -> tuple[str, str, str]:
    return drift.server, drift.model, drift.kind.value
