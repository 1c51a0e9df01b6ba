"""Archives that clients send: bounded, hashed on the way, durable when they are whole, gone when they are not."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from wfmgmt.archives.durable import begin_writing, full_disk_reported, new_durable_file
from wfmgmt.archives.seen import looks_of
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.errors import FolderUnavailable
from wfmgmt.errors.uploads import StoreFull, TooManyUploads, UploadTooLarge

#: The disk is kept busy with pieces of this size, so that little is left to wait for in the end.
_BEGUN_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedFile:
    """An archive that has arrived whole, in a part of its store.

    Attributes:
        store: `workflow` or `model`.
        name: The name that it is to have there.
        part: Where it is.
        sha256: Digest of its bytes.
        size_bytes: How many it has.
        looks: What it looks like, under any name.
    """

    store: str
    name: str
    part: Path
    sha256: str
    size_bytes: int
    looks: str | None


class _Digest:
    """A SHA-256 that is computed by a thread, while the bytes are written and the next ones arrive."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="digest")
        try:
            self._updated: Future[object] = self._thread.submit(int)  # Starts it.
        except RuntimeError as error:
            raise TooManyUploads from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def update(self, piece: bytes) -> None:
        """Add some bytes once those before are added."""
        self._updated.result()
        self._updated = self._thread.submit(self._sha256.update, piece)

    def hexdigest(self) -> str:
        """Return the digest of all that was added."""
        self._updated.result()
        return self._sha256.hexdigest()


class Receiver:
    """Writes what clients send into parts of the stores. Thread-safe.

    Args:
        folders: The stores.
        max_bytes: Largest archive.
        max_store_bytes: What both stores together may take; 0 for any amount.
    """

    def __init__(self, folders: StoreFolders, *, max_bytes: int, max_store_bytes: int) -> None:
        self._folders = folders
        self._max_bytes = max_bytes
        self._max_store_bytes = max_store_bytes

    def receive(
        self, store: str, name: str, pieces: Iterable[bytes], *, owner: str, declared_bytes: int | None = None
    ) -> ReceivedFile:
        """Return an archive once it has arrived; there is nothing of it when this raises.

        Args:
            store: `workflow` or `model`.
            name: The name that it is to have there.
            pieces: Its bytes. None is taken before all is checked that the declared size allows to check.
            owner: Of the part, as for `ArchiveFolder.reserve`.
            declared_bytes: Its size, if that is known.

        Raises:
            UploadTooLarge: It is larger than the settings allow.
            InsufficientStorage: The stores, or the disk, have no room for it.
            FolderUnavailable: The store cannot be written.
            TooManyUploads: The system has no room for a thread.
        """
        folder = self._folders.named(store)
        if declared_bytes is not None and declared_bytes > self._max_bytes:
            raise UploadTooLarge(self._max_bytes)
        part = folder.reserve(owner)
        try:
            folder.check_room(declared_bytes or 0)
            with full_disk_reported(), new_durable_file(part) as file:
                if declared_bytes is not None:
                    os.truncate(file.fileno(), declared_bytes)  # So that others who begin meanwhile count it whole.
                self._check_store()
                size_bytes, sha256 = self._write(file, pieces, self._taken_bytes() if declared_bytes is None else 0)
                file.flush()
                self._check_store()
        except FileNotFoundError as error:
            raise FolderUnavailable("store") from error
        except OSError as error:
            raise FolderUnavailable("store", error) from error
        return ReceivedFile(
            store=store,
            name=name,
            part=part,
            sha256=sha256,
            size_bytes=size_bytes,
            looks=looks_of(part),
        )

    def _write(self, file: BinaryIO, pieces: Iterable[bytes], taken_bytes: int) -> tuple[int, str]:
        """Write what comes; return how much that was, and its digest."""
        size_bytes = begun_bytes = 0
        with _Digest() as digest:
            for piece in pieces:
                size_bytes += len(piece)
                if size_bytes > self._max_bytes:
                    raise UploadTooLarge(self._max_bytes)
                if self._max_store_bytes and taken_bytes + size_bytes > self._max_store_bytes:
                    raise StoreFull(self._max_store_bytes)
                digest.update(piece)
                file.write(piece)
                if size_bytes - begun_bytes > _BEGUN_BYTES:
                    begin_writing(file, begun_bytes, size_bytes)
                    begun_bytes = size_bytes
            return size_bytes, digest.hexdigest()

    def _check_store(self) -> None:
        if self._max_store_bytes and self._taken_bytes() > self._max_store_bytes:
            raise StoreFull(self._max_store_bytes)

    def _taken_bytes(self) -> int:
        """Return what both stores take, with what others are sending; nothing when there is no limit on that."""
        if not self._max_store_bytes:
            return 0
        return sum((self._folders.workflow.sizes() | self._folders.model.sizes()).values())
