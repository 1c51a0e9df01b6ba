"""How many tokens from which address were refused within the current minute, counted by all web workers together."""

import mmap
import struct
import time
import zlib
from collections.abc import Callable

from wfmgmt.errors.access import TooManyFailedLogins

#: Refused tokens within a minute, after which further ones of the same address are not looked at.
MAX_FAILED = 10
WINDOW_S = 60
_SLOTS = 4096
_ENTRY = struct.Struct("<II")

#: Inherited by all processes that are forked from this one: the web workers of one gunicorn.
SHARED = mmap.mmap(-1, _SLOTS * _ENTRY.size)


class FailedLogins:
    """Counts refused tokens by the minute. Thread-safe.

    Addresses share 4,096 counters, so the count of one may hold others back now and then; nobody who has a token is
    held back at all, since only refused ones are counted. It takes no lock: of counts at the same moment one may be
    lost.

    Args:
        memory: Where counts are; a new place unless given.
        clock: Seconds, which all processes that share the memory see alike.
    """

    def __init__(self, memory: mmap.mmap | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _ENTRY.size) if memory is None else memory
        self._clock = clock

    def record(self, address: str) -> None:
        """Count one.

        Raises:
            TooManyFailedLogins: There were as many as are allowed within this minute.
        """
        now = int(self._clock())
        offset = zlib.crc32(address.encode()) % _SLOTS * _ENTRY.size
        window, count = _ENTRY.unpack_from(self._memory, offset)
        if window != now // WINDOW_S + 1:  # Never 0, which is what memory begins with.
            window, count = now // WINDOW_S + 1, 0
        _ENTRY.pack_into(self._memory, offset, window, min(count + 1, MAX_FAILED + 1))
        if count >= MAX_FAILED:
            raise TooManyFailedLogins(WINDOW_S - now % WINDOW_S)
