"""Time-outs that leave time to read what has arrived, also when this process, or the whole machine, stood still.

After a pause the timers fire first: what a worker or server sent meanwhile lies unread in a socket, and one that was
paused, too, had less time than it seems.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

#: Enough for the event loop to read what lies in the sockets.
_READ_S = 0.05


def grace_s(late_s: float) -> float:
    """Return for how long to go on waiting after a timer that fired this much too late."""
    return max(late_s, _READ_S)


@asynccontextmanager
async def timeout_at(deadline: float) -> AsyncIterator[None]:
    """Bound what is inside like `asyncio.timeout_at`, but look at what has arrived before giving up.

    Args:
        deadline: In the event loop's time.

    Raises:
        TimeoutError: It is not over a moment after the deadline.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        timer = loop.call_at(deadline, lambda: timeout.reschedule(loop.time() + grace_s(loop.time() - deadline)))
        try:
            yield
        finally:
            timer.cancel()


def timeout_after(seconds: float) -> AbstractAsyncContextManager[None]:
    """Bound what is inside by a time from now; see `timeout_at`."""
    return timeout_at(asyncio.get_running_loop().time() + seconds)
