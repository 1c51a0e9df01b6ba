"""The loop that judges candidates by their figures, and has the releases made that guards and steps call for."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from wfmgmt.control.messages import TrafficKind
from wfmgmt.domain.releases import Guard, Release
from wfmgmt.domain.rollouts import (
    NextRelease,
    Verdict,
    WindowFigures,
    candidate,
    incumbent,
    judge,
    next_release,
)
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.traffic import Totals, Traffic
from wfmgmt.serving.workflows import ServedWorkflow

_log = logging.getLogger("wfmgmt.runtime")

#: How often figures are judged.
LOOK_INTERVAL_S = 1.0
#: A window moves on by one of so many parts, if that is longer.
_PARTS = 60

#: Makes the release that has to follow one that was judged, unless that is not the current one any more; it blocks.
MakeRelease = Callable[[str, Release, NextRelease, Verdict], None]


class _Moment(NamedTuple):
    """What the two versions of a release had answered at a moment.

    Attributes:
        at: The moment, on the loop's clock.
        newer: What the candidate had answered.
        older: What the incumbent had.
    """

    at: float
    newer: Totals
    older: Totals


@dataclass(slots=True)
class _Watch:
    """The window of one release while it is in force.

    Attributes:
        release: Its number.
        newer: The requests that the candidate answers.
        older: Those that the incumbent does.
        moments: Moments of the window, the first one at its beginning.
    """

    release: int
    newer: Traffic
    older: Traffic
    moments: deque[_Moment] = field(default_factory=deque)

    def look(self, now: float, window_s: float) -> tuple[WindowFigures, WindowFigures]:
        """Return what both have answered in the window that ends now, or since the release came into force."""
        moments = self.moments
        if not moments or now - moments[-1].at >= window_s / _PARTS:
            moments.append(_Moment(now, self.newer.totals.copy(), self.older.totals.copy()))
        while len(moments) > 1 and moments[1].at <= now - window_s:
            moments.popleft()
        return _figures(self.newer, moments[0].newer), _figures(self.older, moments[0].older)


def _figures(traffic: Traffic, before: Totals) -> WindowFigures:
    totals = traffic.totals.since(before)
    return WindowFigures(requests=totals.requests, failures=totals.failures, p99_ms=totals.quantile_ms(0.99))


class RolloutLoop:
    """Watches the candidates of all releases in force that have a guard or steps. For the event loop only.

    Nothing of it is kept over a restart: when a step is due follows from the time of its release, and windows begin
    anew.

    Args:
        catalog: The workflows.
        make_release: Makes releases.
        clock: Returns the time, aware.
    """

    def __init__(
        self, catalog: Catalog, make_release: MakeRelease, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._catalog = catalog
        self._make_release = make_release
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            watched = list(self._catalog.watched)
            names = {workflow.name for workflow in watched}
            self._watches = {name: watch for name, watch in self._watches.items() if name in names}
            for workflow in watched:
                try:
                    await self._look(workflow)
                except WfmgmtError as error:
                    _log.warning("a release has to be made later: %s", error, extra={"workflow": workflow.name})

    async def _look(self, workflow: ServedWorkflow) -> None:
        release = workflow.release
        verdict = None if release is None else self._verdict(workflow, release)
        if release is None or verdict is None:
            return
        following = next_release(release, verdict, self._clock())
        if following is not None:
            await asyncio.to_thread(self._make_release, workflow.name, release, following, verdict)
            self._catalog.look_wanted.set()

    def _verdict(self, workflow: ServedWorkflow, release: Release) -> Verdict | None:
        """Return what follows from the figures of a release that is in force; None while a version is not loaded."""
        table = release.table
        newer, older = (workflow.versions.get(version) for version in (candidate(table), incumbent(table)))
        if newer is None or older is None:
            return None
        answered = newer.traffic.of(TrafficKind.SERVE), older.traffic.of(TrafficKind.SERVE)
        watch = self._watches.get(workflow.name)
        if watch is None or (watch.release, watch.newer, watch.older) != (release.number, *answered):
            # The release is new, or a version was loaded anew and counts from zero.
            watch = self._watches[workflow.name] = _Watch(release.number, *answered)
        now = asyncio.get_running_loop().time()
        return judge(table, *watch.look(now, (table.guard or Guard()).window_s))
