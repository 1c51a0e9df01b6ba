"""Models and functions in worker processes of this machine."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from wfmgmt.serving.models.base import Drift, Model
from wfmgmt.serving.models.lifetimes import Lifetimes
from wfmgmt.serving.models.local.model import LocalModel, LocalParts
from wfmgmt.serving.models.local.trees import ArchiveKind, BlockingWork, UnpackedTrees


class LocalModelServer:
    """A `ModelServer` that runs models, or the functions of workflows, in processes of this machine.

    An archive is unpacked once for all models that come from it.

    Args:
        parts: What it works with; several servers may share them.
        kind: The archives that its models come from.
    """

    def __init__(self, parts: LocalParts, kind: ArchiveKind) -> None:
        self.check_wanted = asyncio.Event()
        self._parts = parts
        self._work = BlockingWork()
        self._trees = UnpackedTrees(kind, parts.kept, self._work)
        self._lifetimes: Lifetimes[LocalModel] = Lifetimes()

    async def load(self, model: Model, *, on_change: Callable[[], None]) -> LocalModel:
        """Load a model; see `ModelServer.load`."""
        loaded = LocalModel(
            model, self._lifetimes, on_change=on_change, parts=self._parts, trees=self._trees, work=self._work
        )
        await loaded.load()
        return loaded

    async def check(self, known: Callable[[], Awaitable[Collection[str]]], *, dry_run: bool) -> Sequence[Drift]:
        """Find nothing: nothing else can change what runs in our own processes."""
        del known, dry_run
        return ()

    async def close(self) -> None:
        """Unload everything; see `ModelServer.close`."""
        await self._lifetimes.close()
        self._work.close()
