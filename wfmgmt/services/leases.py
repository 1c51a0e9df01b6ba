"""Leases: proof that a process still works on a registration; the operating system ends it with the process."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wfmgmt.errors import FolderUnavailable, InsufficientStorage

#: How the system says that the folder around all of this is gone, replaced or closed.
_LOST = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS})


class Leases:
    """Locked files in one folder. A lease whose file is gone or not locked belongs to work that died or was abandoned.

    Args:
        folder: Where the files lie; shared by all processes of the service, on one host.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def take(self, *, prefix: str = "") -> Iterator[str]:
        """Give the name of a new lease, alive until the block ends or the process dies.

        Args:
            prefix: Beginning of its name, which says whose it is.

        Raises:
            InsufficientStorage: The disk has no room for one more file.
            FolderUnavailable: There is no place for it.
        """
        name = f"{prefix}{uuid.uuid4().hex}"
        descriptor = self._make_locked(name)
        try:
            yield name
        finally:
            with suppress(OSError):  # The work is done; what cannot be removed now is dead all the same.
                (self._folder / name).unlink()
            os.close(descriptor)

    def _make_locked(self, name: str) -> int:
        """Make and lock a lease's file; it has its name only once it is locked, so it never looks abandoned."""
        hidden = self._folder / f".{name}"
        while True:
            descriptor = self._create(hidden)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                hidden.rename(self._folder / name)
            except FileNotFoundError:
                os.close(descriptor)  # A sweep came between creation and lock, and took it for a dead process's.
            except OSError as error:
                os.close(descriptor)
                raise FolderUnavailable("instance", error) from error
            else:
                return descriptor

    def is_alive(self, name: str) -> bool:
        """Return whether a process holds the lease.

        Raises:
            FolderUnavailable: That cannot be found out.
        """
        try:
            descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except (NotADirectoryError, PermissionError) as error:
            raise FolderUnavailable("instance", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def taken(self) -> dict[str, int]:
        """Return all living leases, each with the moment at which it was taken, in nanoseconds since the epoch."""
        found = {}
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    taken_at = path.stat().st_mtime_ns
                    if self.is_alive(path.name):
                        found[path.name] = taken_at
        return found

    def sweep(self) -> None:
        """Remove the files of dead leases, also of those that their processes did not live to name."""
        try:
            paths = list(self._folder.iterdir())
        except FileNotFoundError:
            return  # The next lease makes the folder again.
        for path in paths:
            if not self.is_alive(path.name):
                path.unlink(missing_ok=True)

    def _create(self, path: Path) -> int:
        try:
            try:
                return _open_new(path)
            except FileNotFoundError:  # Something that removes what is empty and old took the folder.
                self._folder.mkdir(mode=0o700, exist_ok=True)
                return _open_new(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InsufficientStorage("No space is left for the lease of this change.") from error
            if error.errno in _LOST:
                raise FolderUnavailable("instance", error) from error
            raise


def _open_new(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
