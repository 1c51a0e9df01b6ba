"""The registered archives as model servers use them; `wfmgmt.archives.kept` satisfies these Protocols."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from wfmgmt.folders import Facts


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


class ArchivePart(Protocol):
    """The place in which an archive is made that is to be kept."""

    @property
    def tree(self) -> Path | None:
        """An empty folder to unpack it into; None when it is not to be unpacked."""

    def open(self, source: Path) -> ArchiveContent:
        """Open the file that it is made from. Raises FileNotFoundError, InvalidArchive or OSError; it blocks."""

    def keep(self) -> object:
        """Keep what was read, which has to be open still. Raises InvalidArchive or OSError; it blocks."""


class Tree(Protocol):
    """An archive that is unpacked, in a folder that all share and nobody writes to."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    @property
    def facts(self) -> Mapping[str, Facts]:
        """What it looked like when it was made."""


class KeptArchives(Protocol):
    """The archives of all registrations by their digests. Thread-safe; other processes use them, too. All of it blocks.

    What it keeps survives restarts, and whatever becomes of the files in the stores.
    """

    def part(self, *, is_unpacked: bool = True) -> AbstractContextManager[ArchivePart]:
        """Give the place in which one is made, of which nothing stays unless it is kept. Raises OSError.

        Args:
            is_unpacked: Whether it is to be unpacked, and not only to be kept as it is.
        """

    def tree(self, sha256: str) -> Tree | None:
        """Return one that is unpacked; None when there is none that is as it was made. Raises OSError."""

    def forget_tree(self, sha256: str) -> None:
        """Have a tree, which is not what it should be, made again by the next part. Raises OSError."""

    def file(self, sha256: str) -> Path | None:
        """Return the file with the bytes of one, to be checked when they are read; None without one. Raises OSError."""
