"""One model or function in worker processes of this machine."""

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wfmgmt import __version__
from wfmgmt.domain.faults import Fault, is_lack
from wfmgmt.domain.requirements import ModelRequirements
from wfmgmt.domain.threads import THREAD_VARIABLES, ThreadPolicy
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.folders import ensure_folder, remove_folder
from wfmgmt.serving.models.base import Model, ModelNotLoaded, NodeAnswer, NodeRequest, WorkerFacts, WorkerStatus
from wfmgmt.serving.models.kept import KeptArchives
from wfmgmt.serving.models.lifetimes import Lifetime, Lifetimes
from wfmgmt.serving.models.local.accelerators import Accelerators
from wfmgmt.serving.models.local.environments import Environments
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient
from wfmgmt.serving.models.local.interpreter import ModelInterpreter
from wfmgmt.serving.models.local.pool import PoolSettings, WorkerPool
from wfmgmt.serving.models.local.trees import BlockingWork, UnpackedTrees
from wfmgmt.serving.models.local.worker_start import Job

#: Folder below that of `LocalParts`.
WORKING = "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParts:
    """The parts that models and functions share.

    Attributes:
        forkserver: Where workers come from; it stays the caller's to close.
        folder: Each worker has a new folder of its own below `working` in it.
        kept: Where archives are unpacked.
        pool_settings: What holds for all workers.
        answer_bytes: Longest answer that a handler may give.
        accelerators: What workers share.
        threads: Decides how many threads the libraries in a worker use.
        model_requirements: What is done with the libraries that archives list.
        environments: Where they are installed; None when they are not. It stays the caller's to close.
    """

    forkserver: ForkserverClient
    folder: Path
    kept: KeptArchives
    pool_settings: PoolSettings = field(default_factory=PoolSettings)
    answer_bytes: int = 6_553_500
    accelerators: Accelerators = field(default_factory=Accelerators)
    threads: ThreadPolicy = field(default_factory=ThreadPolicy)
    model_requirements: ModelRequirements = "ignore"
    environments: Environments | None = None


class LocalModel(Lifetime):
    """A `LoadedModel` whose workers are processes of this machine.

    Args:
        model: What is loaded.
        lifetimes: The others of its server.
        on_change: Called whenever its status may have changed.
        parts: What it is run with.
        trees: Where its archive is unpacked.
        work: Where files are made and removed.
    """

    def __init__(
        self,
        model: Model,
        lifetimes: "Lifetimes[LocalModel]",
        *,
        on_change: Callable[[], None],
        parts: LocalParts,
        trees: UnpackedTrees,
        work: BlockingWork,
    ) -> None:
        super().__init__(model, lifetimes, on_change=on_change)
        self._parts = parts
        self._work = work
        self._trees = trees
        self._tree = trees.take(model.archive_sha256)
        self._folder_removals: set[asyncio.Task[None]] = set()
        self._interpreter = ModelInterpreter(
            model,
            self._tree,
            forkserver=parts.forkserver,
            environments=parts.environments,
            policy=parts.model_requirements,
            work=work,
        )
        job = Job(
            workflow=model.workflow,
            version=model.version,
            node=model.node,
            equip=self._equip,
            startup_timeout_s=model.startup_timeout_s,
            request_id=model.request_id,
            explain_import=self._interpreter.explain_import,
        )
        self._pool = WorkerPool(
            forkserver=self._interpreter,
            job=job,
            node_settings=model.settings,
            on_change=on_change,
            settings=parts.pool_settings,
        )

    @property
    def status(self) -> WorkerStatus:
        """Its workers; see `LoadedModel.status`."""
        return self._pool.status

    @property
    def workers(self) -> Sequence[WorkerFacts]:
        """Its workers that are up; see `LoadedModel.workers`."""
        return self._pool.workers

    @property
    def queued(self) -> int:
        """How many requests wait; see `LoadedModel.queued`."""
        return self._pool.dispatcher.queued

    @property
    def busy_s(self) -> float | None:
        """For how long all its workers have been busy; see `LoadedModel.busy_s`."""
        return self._pool.dispatcher.busy_s

    def infer(self, request: NodeRequest, *, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a worker answer a request; see `LoadedModel.infer`."""
        return self._pool.dispatcher.submit(request, avoid)

    async def scale(self, minimum: int, maximum: int) -> None:
        """Change the numbers of workers; see `LoadedModel.scale`."""
        await self._pool.scale(minimum, maximum)

    async def change(self, settings: NodeSettings) -> None:
        """Use other settings of batches; see `LoadedModel.change`."""
        if not self.is_ready:
            raise ModelNotLoaded(self.model.node, "it is not loaded")
        self.model = replace(self.model, settings=settings)
        self._pool.dispatcher.change(settings)

    async def _bring_up(self) -> None:
        await self._tree.ensure(self.model)
        await self._interpreter.ensure()
        await self._pool.scale(self.model.settings.min_workers, self.model.settings.max_workers)
        self._pool.job = replace(self._pool.job, request_id="")  # Later workers are not started for that request.

    async def _take_down(self) -> None:
        await self._pool.stop()
        if self._folder_removals:
            await asyncio.wait(self._folder_removals)
        await self._interpreter.release()
        self._trees.give_back(self._tree)

    @asynccontextmanager
    async def _equip(self) -> AsyncIterator[Mapping[str, Any]]:
        """Give the message that makes a new worker load the model, as `worker` describes it."""
        node = self.model.node
        await self._tree.ensure(self.model)
        await self._interpreter.ensure()
        working = self._parts.folder.absolute() / WORKING
        try:
            await self._work.run(functools.partial(ensure_folder, working))
        except OSError as exc:
            fault = Fault.NO_ROOM if is_lack(exc.errno) else Fault.MODEL
            raise ModelNotLoaded(node, f"no working folder can be made: {exc.strerror}", fault) from exc
        folder = working / uuid.uuid4().hex
        with self._parts.accelerators.use() as device:
            try:
                yield self._load_message(folder, device)
            finally:
                removal = asyncio.create_task(self._work.run(functools.partial(remove_folder, folder)))
                self._folder_removals.add(removal)
                removal.add_done_callback(self._folder_removals.discard)

    def _load_message(self, folder: Path, device: str | None) -> Mapping[str, Any]:
        model, description = self.model, self._tree.description
        threads = self._parts.threads.given(self._pool.max_workers, model.threads)
        environment = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        return {
            "op": "load",
            "title": f"worker {model.workflow}/{model.version}/{model.node}",
            "tree": str(self._tree.folder),
            "directory": str(folder),
            "archive": model.archive.name,
            "handler": model.handler or (description.handler if description else ""),
            "model_name": f"{model.workflow}__{model.node}",
            "answer_bytes": self._parts.answer_bytes,
            "threads": threads,
            "environment": environment,
            "context": {
                "manifest": description.manifest if description else None,
                "system_properties": {
                    "model_dir": str(folder),
                    "gpu_id": None if device is None else 0,  # It is the only one that the worker sees.
                    "batch_size": model.settings.batch_size,
                    "server_name": "wfmgmt",
                    "server_version": __version__,
                    "limit_max_image_pixels": True,
                },
            },
        }
