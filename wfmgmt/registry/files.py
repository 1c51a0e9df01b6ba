"""Whether the files of an open SQLite database are still the ones that lie at its path.

A process goes on with files that were removed or replaced, and everything that it writes to them is lost with it.
"""

import os
from pathlib import Path

from wfmgmt.errors import RegistryUnavailable

#: Device and inode of a file; None when there is none.
FileIdentity = tuple[int, int] | None


def file_identity(path: str | Path) -> FileIdentity:
    """Return which file lies at a path."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked twice for each transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


class DatabaseFiles:
    """A SQLite database and its write-ahead log. Thread-safe.

    Args:
        path: Where the database lies.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._log = f"{path}-wal"
        self._pinned: FileIdentity = None

    def pin(self, identity: FileIdentity) -> None:
        """Have no other database than this one accepted, not by later connections either."""
        self._pinned = identity

    def opened(self) -> tuple[FileIdentity, FileIdentity]:
        """Return what a connection that was just opened has open."""
        return file_identity(self._path), file_identity(self._log)

    def log_bytes(self) -> int:
        """Return how long the write-ahead log is."""
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - as above
        except OSError:
            return 0

    def check(self, opened: tuple[FileIdentity, FileIdentity]) -> None:
        """Refuse to use a connection whose files are no longer those at the path.

        Raises:
            RegistryUnavailable: They were removed, renamed or replaced.
        """
        if self.opened() != opened or self._pinned not in (None, opened[0]):
            raise RegistryUnavailable(
                "The database cannot be used now: its file was removed or replaced while the service runs. "
                "Put it back, or restart the service."
            )
