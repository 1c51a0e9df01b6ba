"""Leases: proof that somebody still works on a registration, which the operating system ends with the process."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wfmgmt.errors import FolderUnavailable, InsufficientStorage


class Leases:
    """Locked files in one folder. A lease whose file is gone or not locked belongs to work that died or gave up.

    Args:
        folder: Where the files lie; shared by all processes of the deployment, on one host.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def take(self, *, prefix: str = "") -> Iterator[str]:
        """Give the name of a new lease, alive until the block ends or the process dies.

        Args:
            prefix: What its name begins with, to tell whose it is.

        Raises:
            InsufficientStorage: The disk has no room for one more file.
        """
        name = f"{prefix}{uuid.uuid4().hex}"
        descriptor = self._bear(name)
        try:
            yield name
        finally:
            (self._folder / name).unlink(missing_ok=True)
            os.close(descriptor)

    def _bear(self, name: str) -> int:
        """Make and lock a lease's file; it has its name only once it is locked, so nobody can find it dead."""
        unborn = self._folder / f".{name}"
        while True:
            descriptor = _create(unborn)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                unborn.rename(self._folder / name)
            except FileNotFoundError:
                os.close(descriptor)  # A sweep came between creation and lock, and took it for a dead process's.
            else:
                return descriptor

    def is_alive(self, name: str) -> bool:
        """Return whether somebody holds the lease."""
        try:
            descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Remove the files of dead leases, also of those that their processes did not live to name."""
        for path in self._folder.iterdir():
            if not self.is_alive(path.name):
                path.unlink(missing_ok=True)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InsufficientStorage("No space is left for the lease of this change.") from error
        if error.errno == errno.ENOENT:
            raise FolderUnavailable("instance") from error
        raise
