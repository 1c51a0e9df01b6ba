"""A bound on what one source logs in a second."""

import asyncio
import time
from collections.abc import Callable

#: So long after the first line that is not logged, at the latest, the log says how many were not.
REPORT_S = 1.0


class LogRate:
    """Admits the first lines of each second, up to a number and a size, and counts the others. For the event loop only.

    Args:
        max_lines: Lines in one second.
        max_bytes: Bytes in one second; the line that reaches this is still admitted.
        on_dropped: Called with how many lines were not admitted, in the next second at the latest.
        clock: Monotonic seconds.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_dropped",
        "_lines",
        "_max_bytes",
        "_max_lines",
        "_on_dropped",
        "_second",
        "_timer",
    )

    def __init__(
        self,
        *,
        max_lines: int,
        max_bytes: int,
        on_dropped: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._on_dropped = on_dropped
        self._clock = clock
        self._second = clock()
        self._lines = self._bytes = self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None

    def admits(self, size_bytes: int) -> bool:
        """Return whether a line of this size may be logged now; if not, it has been counted."""
        now = self._clock()
        if now - self._second >= 1:
            self.report()
            self._second = now
            self._lines = self._bytes = 0
        if self._lines >= self._max_lines or self._bytes >= self._max_bytes:
            self._dropped += 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(REPORT_S, self.report)
            return False
        self._lines += 1
        self._bytes += size_bytes
        return True

    def report(self) -> None:
        """Report the lines that were not admitted and not reported yet, if any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._on_dropped(dropped)
