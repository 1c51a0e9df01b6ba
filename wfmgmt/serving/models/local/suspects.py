"""Which handlers may have killed the forkserver: those that worked when it died, or shortly before."""

import time
from collections import deque

from wfmgmt.serving.models.local.channel import Channel

#: Nodes that are named, and how long before the forkserver's end they last worked.
MAX_NAMED, RECENT_S = 5, 10.0


class Suspects:
    """The workers of one forkserver, and those that have ended not long ago; as text, the nodes to suspect now."""

    def __init__(self) -> None:
        self._workers: dict[int, tuple[str, Channel]] = {}
        # Workers that have ended: when each last answered, and its node.
        self._ended: deque[tuple[float, str]] = deque(maxlen=MAX_NAMED)

    def add(self, pid: int, name: str, channel: Channel) -> None:
        """Add a worker with the name of its node."""
        self._workers[pid] = (name, channel)

    def remove(self, pid: int) -> None:
        """Remove a worker that has ended, if there is one with this process id."""
        if (found := self._workers.pop(pid, None)) is not None:
            name, channel = found
            self._ended.append((channel.answered_at, name))

    def __str__(self) -> str:
        busy = sorted({name for name, channel in self._workers.values() if channel.is_awaited})
        answered = [*self._ended, *((channel.answered_at, name) for name, channel in self._workers.values())]
        since = time.monotonic() - RECENT_S
        recent = dict.fromkeys(name for at, name in sorted(answered, reverse=True) if at >= since and name not in busy)
        return (
            f"handlers at work then: {', '.join(busy[:MAX_NAMED]) or 'none'}; "
            f"others at work in the {RECENT_S:g} s before: {', '.join(list(recent)[:MAX_NAMED]) or 'none'}"
        )
