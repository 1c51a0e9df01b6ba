"""Models and functions in worker processes of this machine."""

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wfmgmt import __version__
from wfmgmt.domain.faults import Fault, is_lack
from wfmgmt.serving.models.base import (
    Drift,
    Model,
    ModelNotLoaded,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    WorkerStatus,
)
from wfmgmt.serving.models.lifetimes import Lifetimes
from wfmgmt.serving.models.local.accelerators import Accelerators
from wfmgmt.serving.models.local.dispatching import NodeRules
from wfmgmt.serving.models.local.folders import ensure_folder, remove_folder
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient
from wfmgmt.serving.models.local.pool import PoolSettings, WorkerPool
from wfmgmt.serving.models.local.trees import ArchiveKind, BlockingWork, UnpackedTree, UnpackedTrees
from wfmgmt.serving.models.local.worker_start import Job

#: Folders below that of `LocalParts`.
UNPACKED, WORKING = "unpacked", "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParts:
    """What models and functions are run with alike.

    Attributes:
        forkserver: Where workers come from; it stays the caller's to close.
        folder: Archives are unpacked into new folders below `unpacked` in it, and each worker has a new folder of its
            own below `working`.
        on_change: Called with a name whenever its status may have changed.
        pool_settings: What holds for all workers.
        answer_bytes: Longest answer that a handler may give.
        accelerators: What workers share.
    """

    forkserver: ForkserverClient
    folder: Path
    on_change: Callable[[str], None]
    pool_settings: PoolSettings = field(default_factory=PoolSettings)
    answer_bytes: int = 6_553_500
    accelerators: Accelerators = field(default_factory=Accelerators)


class _Entry:
    """One model that is loaded.

    Attributes:
        model: What was asked for.
        tree: Its archive, from the beginning of the load.
        pool: Its workers, once the archive is unpacked.
        removals: Working folders that are being removed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.tree: UnpackedTree | None = None
        self.pool: WorkerPool | None = None
        self.removals: set[asyncio.Task[None]] = set()


class LocalModelServer:
    """A `ModelServer` that runs models, or the functions of workflows, in processes of this machine.

    An archive is unpacked once for all models whose names have the same part before the first `/`.

    Args:
        parts: What it works with; several servers may share them.
        kind: The archives that its models come from.
    """

    def __init__(self, parts: LocalParts, kind: ArchiveKind) -> None:
        self._parts = parts
        self._work = BlockingWork()
        self._trees = UnpackedTrees(kind, parts.folder.absolute() / UNPACKED, self._work)
        self._working = parts.folder.absolute() / WORKING
        self._lifetimes = Lifetimes(bring_up=self._bring_up, take_down=self._take_down, on_change=parts.on_change)

    async def load(self, model: Model) -> None:
        """Load a model; see `ModelServer.load`."""
        await self._lifetimes.load(model.name, model.node, _Entry(model))

    async def scale(self, name: str, workers: int) -> None:
        """Change the number of a model's workers; see `ModelServer.scale`."""
        entry = self._lifetimes.find_ready(name)
        if entry is None or entry.pool is None:
            raise ModelNotLoaded(name, "it is not loaded")
        await entry.pool.scale(workers)

    def infer(self, name: str, request: NodeRequest, *, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a model answer a request; see `ModelServer.infer`."""
        entry = self._lifetimes.find(name)
        if entry is None or entry.pool is None:
            answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
            answer.set_exception(NoWorker(f"{name} is not loaded."))
            return answer
        return entry.pool.dispatcher.submit(request, avoid)

    async def unload(self, name: str) -> None:
        """Take down what is loaded under a name; see `ModelServer.unload`."""
        await self._lifetimes.unload(name)

    def status(self, name: str) -> WorkerStatus:
        """Return the workers of a name; see `ModelServer.status`."""
        entry = self._lifetimes.find(name)
        if entry is None:
            return WorkerStatus(wanted=0, ready=0)
        if entry.pool is None:
            return WorkerStatus(wanted=entry.model.min_workers, ready=0)
        return entry.pool.status

    async def check(self, known: Collection[str], *, dry_run: bool) -> Sequence[Drift]:
        """Find nothing: nobody else can change what runs in our own processes."""
        del known, dry_run
        return ()

    async def close(self) -> None:
        """Unload everything; see `ModelServer.close`."""
        await self._lifetimes.close()
        self._work.close()

    async def _bring_up(self, entry: _Entry) -> None:
        model = entry.model
        entry.tree = self._trees.take(model.name.partition("/")[0], model.archive, model.archive_sha256)
        await entry.tree.ensure(model.node)
        job = Job(
            workflow=model.workflow,
            node=model.node,
            rules=NodeRules(
                batch_size=model.batch_size, max_batch_delay_ms=model.max_batch_delay_ms, timeout_ms=model.timeout_ms
            ),
            equip=functools.partial(self._equip, entry, entry.tree),
            max_workers=model.max_workers,
            startup_timeout_s=model.startup_timeout_s,
        )
        entry.pool = WorkerPool(
            forkserver=self._parts.forkserver,
            job=job,
            on_change=lambda: self._parts.on_change(model.name),
            settings=self._parts.pool_settings,
        )
        await entry.pool.scale(model.min_workers)

    @asynccontextmanager
    async def _equip(self, entry: _Entry, tree: UnpackedTree) -> AsyncIterator[Mapping[str, Any]]:
        """Give the message that makes a new worker load the model, as `worker` describes it."""
        node = entry.model.node
        await tree.ensure(node)
        try:
            await self._work.run(functools.partial(ensure_folder, self._working))
        except OSError as exc:
            fault = Fault.NO_ROOM if is_lack(exc.errno) else Fault.MODEL
            raise ModelNotLoaded(node, f"no working folder can be made: {exc.strerror}", fault) from exc
        folder = self._working / uuid.uuid4().hex
        with self._parts.accelerators.use() as gpu_id:
            try:
                yield self._describe_load(entry.model, tree, folder, gpu_id)
            finally:
                removal = asyncio.create_task(self._work.run(functools.partial(remove_folder, folder)))
                entry.removals.add(removal)
                removal.add_done_callback(entry.removals.discard)

    def _describe_load(self, model: Model, tree: UnpackedTree, folder: Path, gpu_id: int | None) -> Mapping[str, Any]:
        description = tree.description
        return {
            "op": "load",
            "tree": str(tree.folder),
            "directory": str(folder),
            "archive": model.archive.name,
            "handler": model.handler or (description.handler if description else ""),
            "model_name": f"{model.workflow}__{model.node}",
            "answer_bytes": self._parts.answer_bytes,
            "context": {
                "manifest": description.manifest if description else None,
                "system_properties": {
                    "model_dir": str(folder),
                    "gpu_id": gpu_id,
                    "batch_size": model.batch_size,
                    "server_name": "wfmgmt",
                    "server_version": __version__,
                    "limit_max_image_pixels": True,
                },
            },
        }

    async def _take_down(self, entry: _Entry) -> None:
        if entry.pool is not None:
            await entry.pool.stop()
        if entry.removals:
            await asyncio.wait(entry.removals)
        if entry.tree is not None:
            await self._trees.give_back(entry.tree)
