"""Requests that may take minutes."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class LongRequests:
    """How many requests may hold their thread for minutes, and when all of them have to end. Thread-safe.

    Args:
        slots: Requests at a time, fewer than there are threads.
    """

    def __init__(self, slots: int) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._stop_at = math.inf

    def stop(self, *, after_s: float = 0.0) -> None:
        """Have requests under way end after a moment, and no new ones begin; safe in a signal handler."""
        self._stop_at = min(self._stop_at, time.monotonic() + after_s)

    def is_stopping(self) -> bool:
        """Return whether requests have to end now."""
        return time.monotonic() >= self._stop_at

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """Give a slot until the block ends, if one is free; the value is whether it was."""
        is_free = self._slots.acquire(blocking=False)
        try:
            yield is_free
        finally:
            if is_free:
                self._slots.release()
