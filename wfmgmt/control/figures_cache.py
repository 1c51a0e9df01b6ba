"""What the runtime measured last of each workflow that was asked about, so that it is asked once a second at most."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.messages import FiguresReport, VersionFigures
from wfmgmt.errors import RuntimeUnavailable

#: How old figures may be.
KEPT_S = 1.0
#: How long a client waits for them.
TIMEOUT_S = 2.0
#: Threads that may ask for something that is good to know, and how long another one waits to do so.
MAX_ASKING, ASKING_WAIT_S = 2, 0.1
#: Workflows whose figures are kept.
MAX_KEPT = 1024


class FiguresCache:
    """The last figures of workflows, the same object until the runtime was asked again. Thread-safe.

    Args:
        client: Calls the runtime.
        clock: Monotonic seconds.
    """

    def __init__(self, client: RuntimeClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, FiguresReport | None]] = OrderedDict()
        self._silent_until = -float("inf")
        self._asking = threading.BoundedSemaphore(MAX_ASKING)

    def figures(self, uid: str, version: str) -> VersionFigures | None:
        """Return the figures of a version of a workflow; None when the runtime does not give them.

        Args:
            uid: Identity of the workflow.
            version: A version that is loaded; it may have been loaded since the runtime was asked.
        """
        report = self.report(uid, version)
        return None if report is None else report.versions.get(version)

    def report(self, uid: str, version: str) -> FiguresReport | None:
        """Return the figures of all versions of a workflow, as `figures` does."""
        at, report = self._kept.get(uid, (-float("inf"), None))
        if self._clock() - at < KEPT_S and (report is None or _has_nodes(report, version)):
            return report
        if self._clock() < self._silent_until:
            return None
        if not self._asking.acquire(timeout=ASKING_WAIT_S):
            return report  # Older figures, or none yet: a runtime that hangs must not hold up each request.
        try:
            report = self._ask(uid)
        finally:
            self._asking.release()
        self._kept[uid] = (self._clock(), report)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return report

    def _ask(self, uid: str) -> FiguresReport | None:
        """Ask the runtime, unless it did not answer another thread meanwhile."""
        if self._clock() < self._silent_until:
            return None
        try:
            return self._client.figures(uid)
        except RuntimeUnavailable:
            self._silent_until = self._clock() + KEPT_S
            return None


def _has_nodes(report: FiguresReport, version: str) -> bool:
    """Return whether a version was loaded when the runtime was asked."""
    return version in report.versions and bool(report.versions[version].nodes)
