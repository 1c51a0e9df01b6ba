"""Leases: proof that somebody still works on a registration, which the operating system ends with the process."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wfmgmt.errors import InsufficientStorage


class Leases:
    """Locked files in one folder. A lease whose file is gone or not locked belongs to work that died or gave up.

    Args:
        folder: Where the files lie; shared by all processes of the deployment, on one host.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def take(self) -> Iterator[str]:
        """Give the name of a new lease, alive until the block ends or the process dies.

        Raises:
            InsufficientStorage: The disk has no room for one more file.
        """
        name = uuid.uuid4().hex
        unborn = self._folder / f".{name}"
        descriptor = _create(unborn)
        try:
            # Locked before it has its name, so that nobody can ever find it unlocked while it is alive.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unborn.rename(self._folder / name)
            yield name
        finally:
            (self._folder / name).unlink(missing_ok=True)
            unborn.unlink(missing_ok=True)
            os.close(descriptor)

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
        """Remove the files of dead leases."""
        for path in self._folder.iterdir():
            if not path.name.startswith(".") and not self.is_alive(path.name):
                path.unlink(missing_ok=True)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InsufficientStorage("No space is left for the lease of this change.") from error
        raise
