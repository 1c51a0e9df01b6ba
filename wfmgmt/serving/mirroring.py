"""Copies of requests for a version that is only tried: no client waits for them, and what they cost is bounded."""

import asyncio
import logging
from dataclasses import replace

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import TrafficKind
from wfmgmt.errors import Saturated, WfmgmtError
from wfmgmt.serving.bodies import with_header
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.models.base import NodeRequest
from wfmgmt.serving.predictions import AdmissionControl, Prediction, PredictionLimits

#: Copies that one version may work on at a time.
MAX_COPIES = 64
#: Copies of all versions may hold this part of what requests may, and none of theirs: one that hangs takes no room.
_PART = 8
#: Header by which a handler can tell a copy, to leave out what must not happen twice.
MIRROR_HEADER = "x-wfmgmt-mirror"

_log = logging.getLogger("wfmgmt.runtime")


class Mirror:
    """Hands out copies of requests. For the event loop only.

    Args:
        limits: How much the runtime takes on.

    Attributes:
        admission: The bytes that are held for copies.
    """

    def __init__(self, limits: PredictionLimits) -> None:
        self.admission = AdmissionControl(replace(limits, in_flight_bytes=limits.in_flight_bytes // _PART))
        self._copies: set[asyncio.Task[None]] = set()

    def copy(self, request: NodeRequest, version: LoadedVersion) -> None:
        """Have a version answer a copy of a request; drop it when there are too many, or the version is not loaded."""
        if version.state is not LoadState.SERVING or len(version.copies) >= MAX_COPIES:
            version.traffic.dropped += 1
            return
        task = asyncio.create_task(self._answer(request, version))
        version.copies.add(task)
        self._copies.add(task)
        task.add_done_callback(lambda done: self._on_done(version, done))

    async def _answer(self, request: NodeRequest, version: LoadedVersion) -> None:
        with self.admission.admit() as permit:
            try:
                permit.reserve(request.size_bytes)
            except Saturated:
                version.traffic.dropped += 1
                return
            copied = request._replace(headers=with_header(request.headers, MIRROR_HEADER, "1"))
            try:
                await version.predict(Prediction(request=copied, permit=permit, kind=TrafficKind.MIRROR))
            except WfmgmtError as error:
                _log.debug("a copy failed: %s", error)  # It is counted; the log would grow with each of them.

    def _on_done(self, version: LoadedVersion, task: "asyncio.Task[None]") -> None:
        version.copies.discard(task)
        self._copies.discard(task)
        if task.cancelled():
            version.traffic.dropped += 1
        elif (error := task.exception()) is not None:
            _log.error("a copy broke off", exc_info=error)

    async def close(self) -> None:
        """End all copies."""
        for task in self._copies:
            task.cancel()
        if self._copies:
            await asyncio.wait(self._copies)
