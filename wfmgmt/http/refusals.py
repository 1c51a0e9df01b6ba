"""A record of refused requests that a page which sends thousands cannot fill the log with."""

import logging
import threading
import time
from collections.abc import Callable

#: In this time each sender gets one line, and so many senders do; a line says how many requests got none before it.
LOG_INTERVAL_S, MAX_SENDERS = 10.0, 30


class Refusals:
    """Counts every refused request and logs some. Thread-safe.

    Args:
        log: Gets the lines.
        count: Counts one for the metrics, by the reason.
        clock: Monotonic seconds.
    """

    def __init__(
        self, log: logging.Logger, count: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._next_interval = 0.0
        self._logged: set[tuple[str, str]] = set()
        self._unlogged = 0

    def record(self, reason: str, text: str, *, client: str, request_id: str = "") -> None:
        """Count a request, and log it unless one like it, or too many others, were logged just now.

        Args:
            reason: What the metrics call the reason.
            text: The reason in words, with the sender's part of it shortened.
            client: Where it comes from; empty for a local client.
            request_id: Its id; empty when that is not known.
        """
        self._count(reason)
        sender = (client, text)
        with self._lock:
            now = self._clock()
            if now >= self._next_interval:
                self._next_interval = now + LOG_INTERVAL_S
                self._logged.clear()
            if sender in self._logged or len(self._logged) >= MAX_SENDERS:
                self._unlogged += 1
                return
            self._logged.add(sender)
            unlogged, self._unlogged = self._unlogged, 0
        more = f" ({unlogged} more were refused since the last such line)" if unlogged else ""
        self._log.warning(
            "refused a request from %s: %s%s", client or "a local client", text, more, extra={"request_id": request_id}
        )
