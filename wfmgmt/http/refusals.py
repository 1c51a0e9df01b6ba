"""A record of refused requests that a page which sends thousands cannot fill the log with."""

import logging
import threading
import time
from collections.abc import Callable

from wfmgmt.errors import CrossOriginRefused

#: One line in this time at most; it says how many requests there were since the line before.
LOG_INTERVAL_S = 10.0
_log = logging.getLogger("wfmgmt.guard")


class Refusals:
    """Counts every refused request and logs some. Thread-safe.

    Args:
        count: Counts one for the metrics, by the check that it did not pass.
        clock: Monotonic seconds.
    """

    def __init__(self, count: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._next_line = 0.0
        self._unlogged = 0

    def record(self, error: CrossOriginRefused, *, client: str, request_id: str) -> None:
        """Count a request, and log it unless another one was logged just now."""
        self._count(error.check)
        with self._lock:
            now, unlogged = self._clock(), self._unlogged
            if now < self._next_line:
                self._unlogged += 1
                return
            self._next_line, self._unlogged = now + LOG_INTERVAL_S, 0
        more = f" ({unlogged} more were refused since the last such line)" if unlogged else ""
        _log.warning(
            "refused a request from %s: %s%s", client or "a local client", error, more, extra={"request_id": request_id}
        )
