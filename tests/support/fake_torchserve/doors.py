"""The listening side of one port, which can be shut and opened again."""

import asyncio
import socket

from aiohttp import web

_LOOPBACK = "127.0.0.1"
# A request that hangs on purpose is not worth waiting for.
_PATIENCE_S = 0.05
# One for the task that makes the transport, one for the callback that tells the protocol, and one to spare.
_ROUNDS_TO_ACCEPT = 3


class Doors:
    """One port of the loopback interface.

    Args:
        application: What is served there.
    """

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_PATIENCE_S)
        self._port = 0
        self._listening: socket.socket | None = None
        self._site: web.SockSite | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{_LOOPBACK}:{self._port}"

    async def open(self) -> None:
        """Listen, on the same port as before if there was one. Idempotent."""
        if self._runner.server is None:
            await self._runner.setup()
        if self._site is None:
            self._listening = socket.create_server((_LOOPBACK, self._port))
            self._port = self._listening.getsockname()[1]
            self._site = web.SockSite(self._runner, self._listening)
            await self._site.start()

    async def shut(self) -> None:
        """Drop every connection and refuse new ones. Idempotent."""
        await self._stop_listening()
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                connection.force_close()

    async def close(self) -> None:
        """Shut for good, and abandon what is under way."""
        await self._stop_listening()
        await self._runner.cleanup()

    async def _stop_listening(self) -> None:
        """Accept no more, and let accepted connections come up: asyncio would lose them when the server is closed."""
        if self._site is None or self._listening is None:
            return
        asyncio.get_running_loop().remove_reader(self._listening)
        for _ in range(_ROUNDS_TO_ACCEPT):
            await asyncio.sleep(0)
        await self._site.stop()
        self._site = self._listening = None
