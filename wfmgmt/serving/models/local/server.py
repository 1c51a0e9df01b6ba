"""Models and functions in worker processes of this machine."""

import asyncio
import logging
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

from wfmgmt import __version__
from wfmgmt.errors import InvalidArchive, InvalidWorkflow
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
from wfmgmt.serving.models.local.dispatching import NodeRules
from wfmgmt.serving.models.local.launcher import Forkserver
from wfmgmt.serving.models.local.pool import Job, PoolSettings, WorkerPool

_logger = logging.getLogger(__name__)


class ArchiveContent(Protocol):
    """An open archive that hands out exactly the bytes that its digest stands for, whatever becomes of the file.

    What is read from it raises InvalidArchive once the file is no longer what it was.
    """

    @property
    def sha256(self) -> str:
        """Digest of the content, in lower-case hexadecimal."""

    def __enter__(self) -> BinaryIO:
        """Return the content, to be read from any place in it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close the file."""


class UnpackedArchive(Protocol):
    """What an archive says about itself."""

    @property
    def handler(self) -> str:
        """The handler string of its manifest."""

    @property
    def manifest(self) -> dict[str, Any] | None:
        """Its manifest, as plain JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionGroup:
    """The function nodes of one workflow, which share their workers: each worker has all of them.

    Attributes:
        name: What it is known by; chosen by the caller, unique among all that is loaded.
        workflow: Name of the workflow.
        archive: The .war file.
        archive_sha256: Digest of that file when it was registered, in lower-case hexadecimal.
        handler: Name of the handler file in the archive.
        functions: The nodes, each also the name of its function; at least one.
        max_workers: Workers at most; there is one as long as nobody has to wait.
        timeout_ms: Longest run of one call, >= 1.
        startup_timeout_s: Time a worker has from its start until all functions are initialised.
    """

    name: str
    workflow: str
    archive: Path
    archive_sha256: str
    handler: str
    functions: tuple[str, ...]
    max_workers: int
    timeout_ms: int
    startup_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is to be loaded, and under which name.

    Attributes:
        name: What it is known by.
        node: The node that is blamed when it is not one handler's fault.
        archive: The file it comes from.
        archive_sha256: Digest that the file has to have.
        missing: Reason to give when there is no such file.
        workers: Workers to start.
        unpack: Unpacks the content of the archive into an empty folder and returns what workers do there; it blocks.
    """

    name: str
    node: str
    archive: Path
    archive_sha256: str
    missing: str
    workers: int
    unpack: Callable[[BinaryIO, Path], Job]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loading:
    """Where a load's archive is unpacked, and for which workflow.

    Attributes:
        folder: Where it is unpacked.
        archive: The file.
        workflow: Name of the workflow.
    """

    folder: Path
    archive: Path
    workflow: str


class _Entry:
    """One thing that is loaded.

    Attributes:
        order: What was asked for.
        folder: Where the archive is unpacked, for this load alone.
        pool: Its workers, once the archive is unpacked.
    """

    def __init__(self, order: _Order, folder: Path) -> None:
        self.order = order
        self.folder = folder
        self.pool: WorkerPool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalParts:
    """What models and functions are run with alike.

    Attributes:
        forkserver: Where workers come from; it stays the caller's to close.
        folder: Archives are unpacked into new folders below it, each for one load.
        open_archive: Opens an archive and hashes all of it; it blocks, and is run in threads. Raises FileNotFoundError
            or InvalidArchive.
        on_change: Called with a name whenever its status may have changed.
        pool_settings: What holds for all workers.
        answer_bytes: Longest answer that a handler may give.
        accelerators: How many accelerators workers take turns with.
    """

    forkserver: Forkserver
    folder: Path
    open_archive: Callable[[Path], ArchiveContent]
    on_change: Callable[[str], None]
    pool_settings: PoolSettings = field(default_factory=PoolSettings)
    answer_bytes: int = 6_553_500
    accelerators: int = 0


class _ArchiveLoader:
    """Unpacks archives and runs pools of workers on them, by name.

    Args:
        parts: What it works with.
    """

    def __init__(self, parts: LocalParts) -> None:
        self._parts = parts
        self._folder = parts.folder.absolute()
        self._gpu_ids: Iterator[int | None] = cycle(range(parts.accelerators) if parts.accelerators else (None,))
        self._lifetimes = Lifetimes(bring_up=self._bring_up, take_down=self._take_down, on_change=parts.on_change)

    async def unload(self, name: str) -> None:
        """Take down what is loaded under a name; see `ModelServer.unload`."""
        await self._lifetimes.unload(name)

    def status(self, name: str) -> WorkerStatus:
        """Return the workers of a name; see `ModelServer.status`."""
        entry = self._lifetimes.find(name)
        if entry is None:
            return WorkerStatus(wanted=0, ready=0)
        if entry.pool is None:
            return WorkerStatus(wanted=entry.order.workers, ready=0)
        return entry.pool.status

    def _ask(self, name: str, node: str | None, request: NodeRequest, avoid: int | None) -> asyncio.Future[NodeAnswer]:
        """Have a node of what is loaded under a name answer; its first node unless told."""
        entry = self._lifetimes.find(name)
        if entry is None or entry.pool is None:
            answer: asyncio.Future[NodeAnswer] = asyncio.get_running_loop().create_future()
            answer.set_exception(NoWorker(f"{node or name} is not loaded."))
            return answer
        return entry.pool.dispatcher.submit(node or entry.order.node, request, avoid)

    def _describe_load(
        self, order: "_Loading", handlers: Mapping[str, str], manifest: Mapping[str, Any] | None, batch_size: int
    ) -> dict[str, Any]:
        """Return the message that makes a worker load these handlers, by node, as `worker` describes it."""
        return {
            "op": "load",
            "directory": str(order.folder),
            "archive": order.archive.name,
            "entries": [
                {"node": node, "handler": handler, "model_name": f"{order.workflow}__{node}"}
                for node, handler in handlers.items()
            ],
            "answer_bytes": self._parts.answer_bytes,
            "context": {
                "manifest": manifest,
                "system_properties": {
                    "model_dir": str(order.folder),
                    "gpu_id": None,
                    "batch_size": batch_size,
                    "server_name": "wfmgmt",
                    "server_version": __version__,
                    "limit_max_image_pixels": True,
                },
            },
        }

    async def check(self, known: Collection[str], *, dry_run: bool) -> Sequence[Drift]:
        """Find nothing: nobody else can change what runs in our own processes."""
        del known, dry_run
        return ()

    async def close(self) -> None:
        """Unload everything; see `ModelServer.close`."""
        await self._lifetimes.close()

    async def _load(self, order: _Order) -> None:
        await self._lifetimes.load(order.name, order.node, _Entry(order, self._folder / uuid.uuid4().hex))

    async def _bring_up(self, entry: _Entry) -> None:
        order = entry.order
        job = await _run_to_the_end(lambda: self._prepare(order, entry.folder))
        entry.pool = WorkerPool(
            forkserver=self._parts.forkserver,
            job=job,
            on_change=lambda: self._parts.on_change(order.name),
            settings=self._parts.pool_settings,
        )
        await entry.pool.scale(order.workers)

    def _prepare(self, order: _Order, folder: Path) -> Job:
        """Check and unpack the archive; this blocks."""
        file_name = order.archive.name
        try:
            archive = self._parts.open_archive(order.archive)
        except FileNotFoundError as exc:
            raise ModelNotLoaded(order.node, order.missing) from exc
        except InvalidArchive as exc:
            raise ModelNotLoaded(order.node, f"{file_name}: {exc}") from exc
        with archive as content:
            if archive.sha256 != order.archive_sha256:
                raise ModelNotLoaded(
                    order.node,
                    f"{file_name} is not the file that was registered (sha256 {order.archive_sha256}, now "
                    f"{archive.sha256}); register the workflow again",
                )
            try:
                folder.mkdir(mode=0o700, parents=True)
                return order.unpack(content, folder)
            except (InvalidArchive, InvalidWorkflow) as exc:
                raise ModelNotLoaded(order.node, f"{file_name}: {exc}") from exc
            except OSError as exc:
                raise ModelNotLoaded(order.node, f"{file_name} cannot be unpacked: {exc.strerror}") from exc

    async def _take_down(self, entry: _Entry) -> None:
        if entry.pool is not None:
            await entry.pool.stop()
        await asyncio.to_thread(_remove_folder, entry.folder)


class LocalModelServer(_ArchiveLoader):
    """A `ModelServer` that runs models in processes of this machine.

    Args:
        parts: What it works with; `LocalFunctions` may share them.
        unpack: Unpacks the content of an archive (first argument) into an empty folder (second); it blocks, and is run
            in threads. Raises InvalidArchive, InvalidWorkflow or OSError.
    """

    def __init__(self, parts: LocalParts, *, unpack: Callable[[BinaryIO, Path], UnpackedArchive]) -> None:
        super().__init__(parts)
        self._unpack = unpack

    async def load(self, model: Model) -> None:
        """Load a model; see `ModelServer.load`."""
        await self._load(
            _Order(
                name=model.name,
                node=model.node,
                archive=model.archive,
                archive_sha256=model.archive_sha256,
                missing=f"Model not found at: {model.archive.name}",
                workers=model.min_workers,
                unpack=lambda content, folder: self._unpack_model(model, content, folder),
            )
        )

    async def scale(self, name: str, workers: int) -> None:
        """Change the number of a model's workers; see `ModelServer.scale`."""
        entry = self._lifetimes.find_ready(name)
        if entry is None or entry.pool is None:
            raise ModelNotLoaded(name, "it is not loaded")
        await entry.pool.scale(workers)

    def infer(self, name: str, request: NodeRequest, *, avoid: int | None = None) -> asyncio.Future[NodeAnswer]:
        """Have a model answer a request; see `ModelServer.infer`."""
        return self._ask(name, None, request, avoid)

    def _unpack_model(self, model: Model, content: BinaryIO, folder: Path) -> Job:
        unpacked = self._unpack(content, folder)
        order = _Loading(folder=folder, archive=model.archive, workflow=model.workflow)
        rules = NodeRules(
            batch_size=model.batch_size, max_batch_delay_ms=model.max_batch_delay_ms, timeout_ms=model.timeout_ms
        )
        return Job(
            workflow=model.workflow,
            nodes=(model.node,),
            rules={model.node: rules},
            load=self._describe_load(order, {model.node: unpacked.handler}, unpacked.manifest, model.batch_size),
            max_workers=model.max_workers,
            startup_timeout_s=model.startup_timeout_s,
            gpu_ids=self._gpu_ids,
        )


class LocalFunctions(_ArchiveLoader):
    """Runs the function nodes of workflows, in processes that have all functions of one workflow.

    `load`, `unload`, `status`, `infer` and `close` promise what those of `ModelServer` do. There is one worker at
    least, and more come while functions wait for each other, as for a model.

    Args:
        parts: What it works with.
        unpack: As for `LocalModelServer`, but returns nothing.
    """

    def __init__(self, parts: LocalParts, *, unpack: Callable[[BinaryIO, Path], None]) -> None:
        super().__init__(parts)
        self._unpack = unpack

    async def load(self, group: FunctionGroup) -> None:
        """Load the functions of a workflow; see `ModelServer.load`."""
        await self._load(
            _Order(
                name=group.name,
                node=group.functions[0],
                archive=group.archive,
                archive_sha256=group.archive_sha256,
                missing=f"Workflow archive not found at: {group.archive.name}",
                workers=1,
                unpack=lambda content, folder: self._unpack_functions(group, content, folder),
            )
        )

    def infer(
        self, name: str, function: str, request: NodeRequest, *, avoid: int | None = None
    ) -> asyncio.Future[NodeAnswer]:
        """Have a function answer a request; see `ModelServer.infer`."""
        return self._ask(name, function, request, avoid)

    def _unpack_functions(self, group: FunctionGroup, content: BinaryIO, folder: Path) -> Job:
        self._unpack(content, folder)
        order = _Loading(folder=folder, archive=group.archive, workflow=group.workflow)
        handlers = {function: f"{group.handler}:{function}" for function in group.functions}
        return Job(
            workflow=group.workflow,
            nodes=group.functions,
            rules={function: NodeRules(timeout_ms=group.timeout_ms) for function in group.functions},
            load=self._describe_load(order, handlers, None, 1),
            max_workers=group.max_workers,
            startup_timeout_s=group.startup_timeout_s,
            gpu_ids=self._gpu_ids,
        )


async def _run_to_the_end(function: Callable[[], Job]) -> Job:
    """Run a blocking function in a thread, and wait for its end also when this is cancelled."""
    running = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _logger.error("the unpacked archive in %s could not be removed", folder)
