"""Requests that may take minutes."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class LongRequests:
    """How many requests may hold their thread for minutes, and when all of them have to end. Thread-safe.

    Args:
        registrations: Registrations at a time.
        changes: Other changes at a time, which registrations that hang do not hold up; with 0 they share the slots of
            registrations.
        waits: Requests at a time that only wait for what others do. All together are fewer than there are threads.
    """

    def __init__(self, registrations: int, changes: int = 0, *, waits: int = 0) -> None:
        self._registrations = threading.BoundedSemaphore(registrations)
        self._changes = threading.BoundedSemaphore(changes) if changes else self._registrations
        self._waits = threading.BoundedSemaphore(waits)
        self._stop_at = math.inf

    def stop(self, *, after_s: float = 0.0) -> None:
        """Have requests under way end after a moment, and no new ones begin; safe in a signal handler."""
        self._stop_at = min(self._stop_at, time.monotonic() + after_s)

    def is_stopping(self) -> bool:
        """Return whether requests have to end now."""
        return time.monotonic() >= self._stop_at

    def registration_slot(self) -> AbstractContextManager[bool]:
        """Give a registration a slot until the block ends, if one is free; the value is whether it was."""
        return _slot(self._registrations)

    def change_slot(self) -> AbstractContextManager[bool]:
        """Give a slot to any other change, likewise."""
        return _slot(self._changes)

    def wait_slot(self) -> AbstractContextManager[bool]:
        """Give a slot to a request that only waits, likewise."""
        return _slot(self._waits)


@contextmanager
def _slot(slots: threading.Semaphore) -> Iterator[bool]:
    is_free = slots.acquire(blocking=False)
    try:
        yield is_free
    finally:
        if is_free:
            slots.release()
