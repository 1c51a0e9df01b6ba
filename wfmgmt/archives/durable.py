"""Files and folders that survive a power cut, and what a full disk is called."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wfmgmt.errors import FolderUnavailable, InsufficientStorage

# EFBIG stands for a quota on the size of one file.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: How some file systems say that the names in a folder cannot be made durable.
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF})


@contextlib.contextmanager
def full_disk_reported() -> Iterator[None]:
    """Raise InsufficientStorage for the errors by which the system says that a disk or a quota is full."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise InsufficientStorage("No space is left for the archive.") from exc
        raise


@contextlib.contextmanager
def new_durable_file(path: Path, *, is_private: bool = False) -> Iterator[BinaryIO]:
    """Create a file, hand it out for writing and make it durable; on any error it is gone again.

    Who may read the folder may read the file, unless it is private: a store that TorchServe reads as another user stays
    of use to it.

    Raises:
        FolderUnavailable: There is no folder for it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as exc:
        raise FolderUnavailable("store") from exc
    try:
        if not is_private:
            os.fchmod(descriptor, 0o600 | path.parent.stat().st_mode & 0o044)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: until then, a power cut can undo a link, a renaming or a removal."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def begin_writing(file: BinaryIO, start: int, end: int) -> None:
    """Have the system begin to write to the disk what a part of a file has, without waiting for that."""
    file.flush()
    # It does so for pages that it is told to forget; those that are not written yet stay.
    os.posix_fadvise(file.fileno(), start, end - start, os.POSIX_FADV_DONTNEED)
