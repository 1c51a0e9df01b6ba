"""One running worker, as the runtime sees it: messages to and from it, and its end."""

import asyncio
import dataclasses
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage
from wfmgmt.serving.models.local import frames
from wfmgmt.serving.models.local.channel import Channel, Item
from wfmgmt.serving.models.local.log_pipe import LogPipe
from wfmgmt.serving.models.local.output import OutputLog

_KILL_S = 5.0
_LAST_WORDS_S = 0.5
# The message that a worker exited may come a moment after the end of its socket.
_EXIT_MESSAGE_S = 0.5

_logger = logging.getLogger(__name__)

#: How a worker ended whose forkserver died.
LOST = "was lost with the forkserver"


class WorkerExited(Exception):
    """A worker is gone; the text says how, as in `exited with code 3`. It never leaves the local model server."""

    @property
    def is_lost(self) -> bool:
        """Whether its forkserver died, which says nothing about the worker's own handler."""
        return str(self) == LOST


class WorkerProcess:
    """One running worker: messages to and from it, its end, and what has to be closed after it.

    Attributes:
        pid: Its process id, which is also the id of its process group.
        facts: What is shown of it.
        output: What it prints.
    """

    def __init__(
        self,
        *,
        facts: WorkerFacts,
        send_signal: Callable[[int, signal.Signals], None],
        exited: asyncio.Future[str],
        channel: Channel,
        pipe: LogPipe,
        output: OutputLog,
    ) -> None:
        self.pid = facts.pid
        self.facts = facts
        self.output = output
        self._send_signal = send_signal
        self._exited = exited
        self._channel = channel
        self._pipe = pipe
        self._equipment = AsyncExitStack()
        self._explaining: set[asyncio.Task[None]] = set()
        self._expecting: Callable[[Item], None] | None = None

    def own(self, equipment: AsyncExitStack) -> None:
        """Own what is to be released when the worker is gone."""
        self._equipment = equipment

    @property
    def is_usable(self) -> bool:
        """Whether it lives and has sent nothing unexpected, as far as is known."""
        return self.is_connected and not self._channel.has_unread

    @property
    def is_connected(self) -> bool:
        """Whether it lives, as far as is known."""
        return self._channel.is_open and not self._exited.done()

    def send(self, header: Mapping[str, Any], payload: Sequence[bytes | bytearray] = ()) -> None:
        """Send one message; when the worker is gone, what waits for the answer fails.

        Raises:
            InvalidFrame: The message is too long; nothing was sent.
        """
        self._channel.send(header, payload)

    async def receive(self) -> frames.Frame:
        """Wait for one message.

        Raises:
            WorkerExited: The worker is gone.
            InvalidFrame: It sent something that is no message, and cannot be trusted any more.
        """
        try:
            return await self._channel.receive()
        except EOFError:
            raise WorkerExited(await self._end()) from None

    def expect(self, callback: Callable[[Item], None]) -> None:
        """Have the next message, a `WorkerExited` or an `InvalidFrame` given to `callback`."""
        self._expecting = callback
        self._channel.expect(self._take)

    def _take(self, item: Item) -> None:
        callback, self._expecting = self._expecting, None
        if callback is None:
            return
        if isinstance(item, EOFError):
            explaining = asyncio.create_task(self._explain(callback))
            self._explaining.add(explaining)
            explaining.add_done_callback(self._explaining.discard)
        else:
            callback(item)

    async def _explain(self, callback: Callable[[Item], None]) -> None:
        callback(WorkerExited(await self._end()))

    async def _end(self) -> str:
        """Return how the worker went whose socket has ended; one that only closed its socket is killed."""
        if await self._is_gone_within(_EXIT_MESSAGE_S):
            return self._exited.result()
        self.kill(signal.SIGKILL)
        return "closed its connection"

    async def wait(self) -> str:
        """Wait until the worker is gone and return how it went: `exited with code 3`, `was killed by SIGSEGV`.

        Its socket ends first, and is the only sign while the forkserver does not answer.
        """
        # Awaiting a future itself would cancel it together with the caller.
        ends: set[asyncio.Future[Any]] = {self._exited, self._channel.ended}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return await self._end()

    def kill(self, signal_number: signal.Signals) -> None:
        """Send a signal to the worker's process group; nothing happens when the worker is gone."""
        if not self._exited.done():
            self._send_signal(self.pid, signal_number)

    async def stop(self, *, grace_s: float) -> None:
        """Terminate the worker and release what belonged to it.

        Args:
            grace_s: Time before it is killed; half of it after a message that asks it to stop, half after SIGTERM.
        """
        try:
            if not self._exited.done():
                self._channel.send({"op": "stop"})
            for signal_number in (signal.SIGTERM, signal.SIGKILL):
                if not await self._is_gone_within(grace_s / 2):
                    self.kill(signal_number)
            if not await self._is_gone_within(_KILL_S):
                _logger.error("worker %d does not end", self.pid)
            await asyncio.wait({self.output.closed}, timeout=_LAST_WORDS_S)
        finally:
            self.kill(signal.SIGKILL)
            self._pipe.close()
            self._channel.close()
            # What reads the worker's memory holds a descriptor.
            self.facts = dataclasses.replace(self.facts, read_usage=WorkerUsage)
            await self._equipment.aclose()

    async def _is_gone_within(self, seconds: float) -> bool:
        await asyncio.wait({self._exited}, timeout=seconds)
        return self._exited.done()
