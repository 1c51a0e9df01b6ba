"""How many tokens from which address were refused within the current minute, counted by all web workers together."""

import logging
import mmap
import struct
import time
import zlib
from collections.abc import Callable

from wfmgmt.domain.tokens import is_token
from wfmgmt.errors.access import TooManyFailedLogins
from wfmgmt.http.refusals import Refusals

_log = logging.getLogger("wfmgmt.logins")

#: Refused tokens within a minute, after which further ones of the same address are answered with the time to wait.
MAX_FAILED = 10
WINDOW_S = 60
_SLOTS = 4096
_ENTRY = struct.Struct("<II")

#: Inherited by all processes that are forked from this one: the web workers of one gunicorn.
SHARED = mmap.mmap(-1, _SLOTS * _ENTRY.size)


def reason_of(shown: str | None) -> str:
    """Return why a token is refused: `unknown`, as it is when it has expired or was revoked, too, or `malformed`."""
    return "unknown" if shown is not None and is_token(shown) else "malformed"


class FailedLogins:
    """Counts refused tokens by the minute. Thread-safe.

    Addresses share 4,096 counters, so the count of one may hold others back now and then; nobody who has a token is
    held back at all, since only refused ones are counted. It takes no lock: of counts at the same moment one may be
    lost.

    Args:
        memory: Where counts are; a new place unless given.
        on_refused: Counts one for the metrics, by the reason.
        clock: Seconds, which all processes that share the memory see alike.
    """

    def __init__(
        self,
        memory: mmap.mmap | None = None,
        *,
        on_refused: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _ENTRY.size) if memory is None else memory
        self._refusals = Refusals(_log, on_refused, clock=clock)
        self._clock = clock

    def record(self, address: str, reason: str) -> None:
        """Count one, and log it, unless many are: who sent it and why, and nothing of the token.

        Args:
            address: Where it came from.
            reason: As `reason_of` says.

        Raises:
            TooManyFailedLogins: There were as many as are allowed within this minute.
        """
        self._refusals.record(reason, f"its token is {reason}", client=address)
        now = int(self._clock())
        offset = zlib.crc32(address.encode()) % _SLOTS * _ENTRY.size
        window, count = _ENTRY.unpack_from(self._memory, offset)
        if window != now // WINDOW_S + 1:  # Never 0, which is what memory begins with.
            window, count = now // WINDOW_S + 1, 0
        _ENTRY.pack_into(self._memory, offset, window, min(count + 1, MAX_FAILED + 1))
        if count >= MAX_FAILED:
            raise TooManyFailedLogins(WINDOW_S - now % WINDOW_S)
