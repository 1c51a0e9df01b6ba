"""Unpacked archives: each is unpacked once for all workers that run from it, and again when its files were changed."""

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from wfmgmt.domain.faults import Fault, is_lack
from wfmgmt.errors import InvalidArchive, InvalidWorkflow
from wfmgmt.folders import Facts, difference
from wfmgmt.serving.models.base import Model, ModelNotLoaded
from wfmgmt.serving.models.kept import ArchivePart, KeptArchives

T = TypeVar("T")

_THREADS = 4

_logger = logging.getLogger(__name__)


class UnpackedArchive(Protocol):
    """An archive that has been unpacked: its handler and its manifest."""

    @property
    def handler(self) -> str:
        """The handler string of its manifest."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Its manifest, as plain JSON values."""


class BlockingWork:
    """Short work on files, done in threads that long work, such as unpacking, never occupies."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="folders")

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function that may be run twice; where the system allows no thread, it is run here."""
        try:
            running = self._executor.submit(function)
        except RuntimeError:
            return function()
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Take on no more threads."""
        self._executor.shutdown(wait=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveKind:
    """The differences between the archives of models and of workflows.

    Attributes:
        name: What messages call such an archive.
        unpack: Unpacks the content of an archive (first argument) into an empty folder (second); it blocks. Raises
            InvalidArchive, InvalidWorkflow or OSError.
        describe: Returns what an archive says about itself that was unpacked into a folder, if anything; it blocks.
    """

    name: str
    unpack: Callable[[BinaryIO, Path | None], object]
    describe: Callable[[Path], UnpackedArchive | None]


class UnpackedTree:
    """One archive and the read-only folder that it is unpacked in. For the event loop only.

    Attributes:
        folder: Where it is unpacked; the path stays the same when it is unpacked again. Made by `ensure`.
        description: What the archive says about itself; None before `ensure`.
        users: How many have taken it.

    Args:
        kind: How it is unpacked.
        sha256: Its digest.
        kept: Where it is kept.
        work: Where its files are checked.
    """

    def __init__(self, kind: ArchiveKind, sha256: str, kept: KeptArchives, work: BlockingWork) -> None:
        self.folder = Path()
        self.description: UnpackedArchive | None = None
        self.users = 0
        self._kind = kind
        self._sha256 = sha256
        self._kept = kept
        self._work = work
        self._recorded: Mapping[str, Facts] | None = None
        self._lock = asyncio.Lock()

    async def ensure(self, model: Model) -> None:
        """Return when the folder holds what the archive does: unpack it now if it does not.

        What the files looked like stays in memory while the tree is in use, where a handler cannot change it.

        Args:
            model: The model that needs it, whose file in the store is used when the bytes are not kept.

        Raises:
            ModelNotLoaded: The archive is missing, changed or damaged, or there is no room for it.
        """
        async with self._lock:
            changed = ""
            if self._recorded is None:
                if await self._work.run(self._find):
                    return
            else:
                found = await self._work.run(functools.partial(difference, self.folder, self._recorded))
                if found is None:
                    return
                _logger.warning("%s is unpacked again, since its files were changed: %s", model.archive.name, found)
                changed = f"its unpacked files were changed ({found}), and "
            try:
                await _run_to_the_end(functools.partial(self._unpack, model.archive))
            except _Unusable as exc:
                raise ModelNotLoaded(model.node, f"{changed}{exc}", exc.fault) from exc.__cause__
            except RuntimeError as exc:  # The system allows no thread.
                reason = f"{model.archive.name} cannot be unpacked now: {exc}"
                raise ModelNotLoaded(model.node, reason, Fault.NO_ROOM) from exc

    def _find(self) -> bool:
        """Take what is kept; return False when there is nothing, or nothing that is as it was made."""
        try:
            tree = self._kept.tree(self._sha256)
            if tree is not None:
                self.folder, self._recorded = tree.folder, tree.facts
                self.description = self._kind.describe(tree.folder)
        except OSError as exc:
            _logger.warning("the unpacked archive %s cannot be read: %s", self._sha256, exc.strerror)
            tree = None
        return tree is not None

    def _unpack(self, stored: Path) -> None:
        """Unpack the bytes that are kept, or else the file in the store; this blocks.

        Raises:
            _Unusable: Neither can be.
        """
        try:
            if self._recorded is not None:
                self._kept.forget_tree(self._sha256)
            kept = self._kept.file(self._sha256)
        except OSError as exc:
            raise _Unusable(f"what is kept of {stored.name} cannot be used: {exc.strerror}", Fault.MODEL) from exc
        if kept is not None:
            try:
                return self._unpack_file(kept, stored.name)
            except _Unusable as exc:
                _logger.warning("the bytes that are kept of %s cannot be used: %s", stored.name, exc)
        return self._unpack_file(stored, stored.name)

    def _unpack_file(self, file: Path, name: str) -> None:
        try:
            with self._kept.part() as part:
                self._fill(part, file, name)
        except (InvalidArchive, InvalidWorkflow) as exc:
            raise _Unusable(f"{name}: {exc}", _fault_of(exc)) from exc
        except OSError as exc:
            fault = Fault.NO_ROOM if is_lack(exc.errno) else Fault.MODEL
            raise _Unusable(f"{name} cannot be unpacked: {exc.strerror}", fault) from exc
        if not self._find():
            raise _Unusable(f"{name} cannot be unpacked: its files are changed all the time", Fault.MODEL)

    def _fill(self, part: ArchivePart, file: Path, name: str) -> None:
        """Unpack into a part and keep that, if it is the right archive.

        The digest is known, and compared, once all has been read; nothing uses the folder before.
        """
        try:
            archive = part.open(file)
        except FileNotFoundError as exc:
            raise _Unusable(f"{self._kind.name} not found at: {name}") from exc
        with archive as content:
            try:
                self._kind.unpack(content, part.tree)
            finally:
                self._check_digest(name, archive.sha256)
            part.keep()

    def _check_digest(self, name: str, found: str) -> None:
        """Refuse another archive than the one that was registered; that it is another explains all other faults.

        Raises:
            _Unusable: It is another.
        """
        if found != self._sha256:
            raise _Unusable(
                f"{name} is not the file that was registered (sha256 {self._sha256}, now {found}); "
                "register the workflow again"
            )


def _fault_of(error: Exception) -> Fault:
    """Return whose fault it is that an archive cannot be read: the host may lack what reading takes."""
    lacks = isinstance(error.__cause__, OSError) and is_lack(error.__cause__.errno)
    return Fault.NO_ROOM if lacks else Fault.FILE


class _Unusable(Exception):
    """An archive cannot be unpacked; the text says why. It never leaves this module."""

    def __init__(self, reason: str, fault: Fault = Fault.FILE) -> None:
        super().__init__(reason)
        self.fault = fault


class UnpackedTrees:
    """The trees in use, by digest: all workflows share them. For the event loop only.

    Args:
        kind: How archives are unpacked.
        kept: Where they are kept; what nobody uses any more is not for the runtime to remove.
        work: Where files are checked.
    """

    def __init__(self, kind: ArchiveKind, kept: KeptArchives, work: BlockingWork) -> None:
        self._kind = kind
        self._kept = kept
        self._work = work
        self._trees: dict[str, UnpackedTree] = {}

    def take(self, sha256: str) -> UnpackedTree:
        """Return the tree of the archive with this digest; `give_back` has to follow."""
        tree = self._trees.get(sha256)
        if tree is None:
            tree = self._trees[sha256] = UnpackedTree(self._kind, sha256, self._kept, self._work)
        tree.users += 1
        return tree

    def give_back(self, tree: UnpackedTree) -> None:
        """Release a tree."""
        tree.users -= 1
        if not tree.users:
            self._trees = {sha256: other for sha256, other in self._trees.items() if other is not tree}


async def _run_to_the_end(function: Callable[[], None]) -> None:
    """Run a blocking function in a thread, and wait for its end also when this is cancelled."""
    running = asyncio.create_task(asyncio.to_thread(function))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise
