"""Locked files, by which an instance has one service, one runtime and one web worker that looks after them."""

import fcntl
import os
import time
from pathlib import Path

from wfmgmt.registry.files import file_identity


class LockFile:
    """A file that at most one process holds. The operating system lets go when that process ends, however it does.

    Args:
        path: The file; it holds the process id of its holder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait_s: float = 0) -> bool:
        """Take the lock; return whether that worked within the time."""
        deadline = time.monotonic() + wait_s
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
            except OSError:
                os.close(descriptor)
                raise
            else:
                os.truncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                self._descriptor = descriptor
                return True

    def release(self) -> None:
        """Let go; nothing happens when the lock is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_in_place(self) -> bool:
        """Return whether the file that is held still lies at its path, where others look for it."""
        if self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        return file_identity(self._path) == (held.st_dev, held.st_ino)

    def is_held(self) -> bool:
        """Return whether any process holds the lock."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            # A shared lock lets several processes ask at the same time without seeing each other as holders.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """Return the process id that holds the lock, None when no process does."""
        if not self.is_held():
            return None
        text = self._path.read_text(encoding="ascii")
        return int(text) if text.isdigit() else None
