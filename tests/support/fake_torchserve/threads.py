"""The few threads that serve all connections of a TorchServe, and stand still while one waits for workers."""

import asyncio
import itertools
from weakref import WeakKeyDictionary

from aiohttp import web

#: The real one has twice as many as the machine has cores.
_THREADS = 4


class Threads:
    """Takes each new connection, of either port, to the next thread."""

    def __init__(self) -> None:
        self._threads = itertools.cycle([asyncio.Lock() for _ in range(_THREADS)])
        self._of_connection: WeakKeyDictionary[asyncio.BaseTransport, asyncio.Lock] = WeakKeyDictionary()

    def of(self, request: web.Request) -> asyncio.Lock:
        """Return what a request has to hold while nobody else of its thread is to be served."""
        if request.transport is None:
            return asyncio.Lock()
        if request.transport not in self._of_connection:
            self._of_connection[request.transport] = next(self._threads)
        return self._of_connection[request.transport]
