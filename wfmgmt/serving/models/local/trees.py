"""Unpacked archives: each is unpacked once for all workers that run from it, and again when its files were changed."""

import asyncio
import functools
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, TypeVar

from wfmgmt.domain.faults import Fault, is_lack
from wfmgmt.errors import InvalidArchive, InvalidWorkflow
from wfmgmt.serving.models.base import ModelNotLoaded
from wfmgmt.serving.models.local.folders import Facts, difference, ensure_folder, record, remove_folder, seal

T = TypeVar("T")

_THREADS = 4

_logger = logging.getLogger(__name__)


class ArchiveContent(Protocol):
    """An open archive that hands out exactly the bytes that its digest stands for, even when the file changes.

    What is read from it raises InvalidArchive once the file is no longer what it was.
    """

    @property
    def sha256(self) -> str:
        """Digest of the content, in lower-case hexadecimal; asked for last, it costs no second reading."""

    def __enter__(self) -> BinaryIO:
        """Return the content, to be read from any place in it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close the file."""


class UnpackedArchive(Protocol):
    """An archive that has been unpacked: its handler and its manifest."""

    @property
    def handler(self) -> str:
        """The handler string of its manifest."""

    @property
    def manifest(self) -> dict[str, Any] | None:
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
        open_archive: Opens an archive, which is hashed while it is read; it blocks. Raises FileNotFoundError or
            InvalidArchive.
        unpack: Unpacks the content of an archive (first argument) into an empty folder (second) and returns what it
            says about itself, if anything; it blocks. Raises InvalidArchive, InvalidWorkflow or OSError.
    """

    name: str
    open_archive: Callable[[Path], ArchiveContent]
    unpack: Callable[[BinaryIO, Path], UnpackedArchive | None]


class UnpackedTree:
    """One archive and the read-only folder that it is unpacked in. For the event loop only.

    Attributes:
        folder: Where it is unpacked; the path stays the same when it is unpacked again.
        description: What the archive says about itself; None before it is unpacked.
        archives: The file of each user, the newest last; all of them have the same content.

    Args:
        kind: How it is unpacked.
        archive: The file of the first user.
        sha256: Digest that the file has to have.
        folder: Where it is to be unpacked; files on the way there lie beside it.
        work: Where the files are checked.
    """

    def __init__(self, kind: ArchiveKind, archive: Path, sha256: str, folder: Path, work: BlockingWork) -> None:
        self.folder = folder
        self.description: UnpackedArchive | None = None
        self.archives = [archive]
        self._kind = kind
        self._sha256 = sha256
        self._work = work
        self._recorded: Mapping[str, Facts] | None = None
        self._lock = asyncio.Lock()

    async def ensure(self, node: str) -> None:
        """Return when the folder holds what the archive does: unpack it now if it does not.

        Args:
            node: Node that is named when that cannot be done.

        Raises:
            ModelNotLoaded: The archive is missing, changed or damaged, or there is no room for it.
        """
        async with self._lock:
            changed = ""
            if self._recorded is not None:
                found = await self._work.run(functools.partial(difference, self.folder, self._recorded))
                if found is None:
                    return
                name = self.archives[-1].name
                _logger.warning("%s is unpacked again, since its files were changed: %s", name, found)
                changed = f"its unpacked files were changed ({found}), and "
            try:
                await _run_to_the_end(self._unpack)
            except _Unusable as exc:
                raise ModelNotLoaded(node, f"{changed}{exc}", exc.fault) from exc.__cause__
            except RuntimeError as exc:  # The system allows no thread.
                reason = f"{self.archives[-1].name} cannot be unpacked now: {exc}"
                raise ModelNotLoaded(node, reason, Fault.NO_ROOM) from exc

    async def remove(self) -> None:
        """Remove the folder."""
        async with self._lock:
            await self._work.run(functools.partial(remove_folder, self.folder))

    def _unpack(self) -> None:
        """Unpack the first file that can be and put it where the folder is to be; this blocks.

        Raises:
            _Unusable: None can be.
        """
        oldest, *newer = dict.fromkeys(self.archives)
        for archive in reversed(newer):
            try:
                return self._unpack_file(archive)
            except _Unusable as exc:
                _logger.warning("%s", exc)
        return self._unpack_file(oldest)

    def _unpack_file(self, file: Path) -> None:
        file_name = file.name
        try:
            archive = self._kind.open_archive(file)
        except FileNotFoundError as exc:
            raise _Unusable(f"{self._kind.name} not found at: {file_name}") from exc
        except InvalidArchive as exc:
            raise _Unusable(f"{file_name}: {exc}", _fault_of(exc)) from exc
        with archive as content:
            try:
                self._recorded = self._put_in_place(file_name, archive, content)
            except (InvalidArchive, InvalidWorkflow) as exc:
                raise _Unusable(f"{file_name}: {exc}", _fault_of(exc)) from exc
            except OSError as exc:
                fault = Fault.NO_ROOM if is_lack(exc.errno) else Fault.MODEL
                raise _Unusable(f"{file_name} cannot be unpacked: {exc.strerror}", fault) from exc

    def _put_in_place(self, file_name: str, archive: ArchiveContent, content: BinaryIO) -> Mapping[str, Facts]:
        """Unpack beside the folder, then let that take its name; return what it holds.

        The digest is known, and compared, once all has been read; nothing uses the folder before.
        """
        fresh, aside = (self.folder.with_name(uuid.uuid4().hex) for _ in range(2))
        try:
            ensure_folder(fresh.parent)
            fresh.mkdir(mode=0o700)
            try:
                description = self._kind.unpack(content, fresh)
            finally:
                self._check_digest(file_name, archive.sha256)
            seal(fresh)
            recorded = record(fresh)
            if os.path.lexists(self.folder):
                self.folder.rename(aside)
            fresh.rename(self.folder)
            self.description = description
        finally:
            remove_folder(fresh)
            remove_folder(aside)
        return recorded

    def _check_digest(self, file_name: str, found: str) -> None:
        """Refuse another archive than the one that was registered; that it is another explains all other faults.

        Raises:
            _Unusable: It is another.
        """
        if found != self._sha256:
            raise _Unusable(
                f"{file_name} is not the file that was registered (sha256 {self._sha256}, now {found}); "
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
    """The trees in use, each with the number of its users. For the event loop only.

    Args:
        kind: How archives are unpacked.
        folder: Where; each gets a folder of its own below it.
        work: Where files are checked and removed.
    """

    def __init__(self, kind: ArchiveKind, folder: Path, work: BlockingWork) -> None:
        self._kind = kind
        self._folder = folder
        self._work = work
        self._trees: dict[tuple[str, str], UnpackedTree] = {}

    def take(self, owner: str, archive: Path, sha256: str) -> UnpackedTree:
        """Return the tree that an owner has of all archives with this content; `give_back` has to follow."""
        tree = self._trees.get((owner, sha256))
        if tree is None:
            folder = self._folder / uuid.uuid4().hex
            tree = self._trees[owner, sha256] = UnpackedTree(self._kind, archive, sha256, folder, self._work)
        else:
            tree.archives.append(archive)
        return tree

    async def give_back(self, tree: UnpackedTree, archive: Path) -> None:
        """Release a tree; it is removed when its last user has released it."""
        tree.archives.remove(archive)
        if not tree.archives:
            self._trees = {key: other for key, other in self._trees.items() if other is not tree}
            await tree.remove()


async def _run_to_the_end(function: Callable[[], None]) -> None:
    """Run a blocking function in a thread, and wait for its end also when this is cancelled."""
    running = asyncio.create_task(asyncio.to_thread(function))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise
