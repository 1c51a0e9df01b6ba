"""How many connections clients may keep open, and for how long without a request."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Protocol

#: Refused connections that wait for their 503; when there are more, the first ones are closed without it.
_MAX_REFUSED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The bounds on connections that are idle, slow or too many.

    Attributes:
        connections: Connections that are open at a time.
        head_timeout_s: How long the head of a request may take from its first byte on.
        idle_timeout_s: How long a connection may stay open without a request.
        write_timeout_s: How long a client may take nothing of what waits to be sent.
    """

    connections: int = 2000
    head_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 60.0


class Connection(Protocol):
    """A connection, as far as choosing the one to close needs it."""

    @property
    def idle_since(self) -> float | None:
        """Since when no request is under way, on a clock that all connections share; None while one is."""

    def end(self) -> None:
        """Close it at once."""


class Connections:
    """The open connections of one address. For the event loop only.

    Attributes:
        limits: The bounds on these connections.
        is_closing: Whether each connection ends with its next answer, whose header says so.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.is_closing = False
        self._all_gone = asyncio.Event()
        # Both in the order in which they came.
        self._open: dict[Connection, None] = {}
        self._refused: dict[Connection, None] = {}

    def add(self, connection: Connection) -> bool:
        """Take a new connection in; return whether it is to be served.

        When there are as many as may be, the one that has been idle for longest makes way.
        """
        if len(self._open) < self.limits.connections or self._end_an_idle_one():
            self._open[connection] = None
            return True
        self._refused[connection] = None
        if len(self._refused) > _MAX_REFUSED:
            first = next(iter(self._refused))
            self.remove(first)
            first.end()
        return False

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.pop(connection, None)
        self._refused.pop(connection, None)
        if self.is_closing and not self._open:
            self._all_gone.set()

    def _end_an_idle_one(self) -> bool:
        idle = {each: since for each in self._open if (since := each.idle_since) is not None}
        if not idle:
            return False
        connection = min(idle, key=idle.__getitem__)
        self.remove(connection)
        connection.end()
        return True

    async def close_after_answers(self, max_s: float) -> None:
        """Let clients go with the answers to their next requests; return when all are gone, or after a time."""
        self.is_closing = True
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), max_s)
