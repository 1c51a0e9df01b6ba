"""The runtime's side of the forkserver: starts it, starts it again when it died, and has it fork workers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.serving.models.local.forkserver_connection import ForkserverConnection
from wfmgmt.serving.models.local.forkserver_process import ForkFailed, ForkserverLost, PreloadFailed, WorkerEnvironment
from wfmgmt.serving.models.local.worker_process import WorkerProcess

__all__ = ["ForkFailed", "ForkserverClient", "WorkerEnvironment"]

# Each fork under way holds two descriptors in flight, of which the kernel allows only so many.
_FORKS_AT_ONCE = 32
#: How long a fork that was cancelled is waited for before its worker is terminated in the background.
_CANCEL_S = 1.0

_logger = logging.getLogger(__name__)


class ForkserverClient:
    """Forks workers from one small process, which is started on first use, and again when it has died.

    It belongs to one event loop.

    Args:
        environment: What workers inherit.
        answer_timeout_s: A forkserver that takes longer to answer is killed, with its workers, and started again.
        on_dropped: Called with workflow, node and how many lines of output were not logged.
    """

    def __init__(
        self,
        environment: WorkerEnvironment | None = None,
        *,
        answer_timeout_s: float = 120.0,
        on_dropped: Callable[[str, str, int], None] = lambda _workflow, _node, _lines: None,
    ) -> None:
        self._environment = environment or WorkerEnvironment()
        self._answer_timeout_s = answer_timeout_s
        self._on_dropped = on_dropped
        self._opening: asyncio.Task[ForkserverConnection] | None = None
        self._forking = asyncio.Semaphore(_FORKS_AT_ONCE)
        self._undoing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def preload(self) -> None:
        """Find out whether the settings let workers start, if there are any that matter.

        Raises:
            SettingsInvalid: A module that all workers share cannot be imported, or they may have too little memory.
        """
        if not self._environment.preload and self._environment.memory_bytes is None:
            return
        try:
            await (await self._connect()).wait_started()
        except PreloadFailed as exc:
            raise SettingsInvalid(str(exc)) from exc
        except ForkFailed as exc:
            _logger.warning("the forkserver did not start, and is started again when it is needed: %s", exc)

    async def fork(self, *, workflow: str, node: str) -> "WorkerProcess":
        """Start one worker, which waits for its first message. When this is cancelled, no worker stays behind.

        Args:
            workflow: Workflow that the worker's log lines name.
            node: Node that the worker's log lines name.

        Raises:
            ForkFailed: The system does not allow another process, or the forkserver does not start or answer.
        """
        async with self._forking:
            try:
                return await self._fork(workflow, node)
            except ForkserverLost:  # The next forkserver gets the same request.
                return await self._fork(workflow, node)

    async def _fork(self, workflow: str, node: str) -> "WorkerProcess":
        connection = await self._connect()
        forking = asyncio.create_task(
            connection.fork(
                workflow=workflow, node=node, answer_timeout_s=self._answer_timeout_s, on_dropped=self._on_dropped
            )
        )
        try:
            return await asyncio.shield(forking)
        except asyncio.CancelledError:
            undoing = asyncio.create_task(_undo(forking))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.wait({undoing}, timeout=_CANCEL_S)
            raise

    async def close(self) -> None:
        """End the forkserver and every worker that it still has. Idempotent."""
        self._closed = True
        if self._opening is not None:
            with contextlib.suppress(ForkFailed):
                await (await asyncio.shield(self._opening)).close()
        if self._undoing:
            await asyncio.wait(self._undoing)

    async def _connect(self) -> "ForkserverConnection":
        if self._closed:
            raise ForkFailed("the model server is stopping")
        if self._opening is None or (self._opening.done() and not _is_open(self._opening)):
            self._opening = asyncio.create_task(ForkserverConnection.open(self._environment))
        return await asyncio.shield(self._opening)


async def _undo(forking: "asyncio.Task[WorkerProcess]") -> None:
    """End the worker that comes out of a fork."""
    with contextlib.suppress(ForkFailed):
        await (await forking).stop(grace_s=0)


def _is_open(opening: "asyncio.Task[ForkserverConnection]") -> bool:
    return not opening.cancelled() and opening.exception() is None and not opening.result().is_lost
