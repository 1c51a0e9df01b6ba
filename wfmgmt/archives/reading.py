"""Reading untrusted zip archives.

All that an archive says about itself may be false: its table of contents is checked before anything is read, and
contents are read in chunks and counted instead of trusting the declared sizes.
"""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from wfmgmt.archives.zip_directory import Placed, open_checked
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.domain.names import quoted
from wfmgmt.errors import InvalidArchive

_CHUNK_BYTES = 64 * 1024
_RATIO_CHECKED_FROM_BYTES = 10 * MIB
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600

# What zipfile and the modules below it raise on bad input. OSError is not among these: a full or failing disk is not
# the archive's fault.
_FOREIGN_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # and NotImplementedError
    ValueError,  # and UnicodeDecodeError
    OverflowError,
)


def open_archive(source: Path | BinaryIO, limits: Limits) -> "ArchiveReader":
    """Open an archive after checking all of its table of contents.

    Args:
        source: Its path, or the file, open for reading; that stays open when the archive is closed.
        limits: What it is held to.

    Returns:
        A context manager that closes the archive.

    Raises:
        InvalidArchive: The file is not a zip archive, or one that must not be unpacked: it has too many members, names
            that lead out of a folder, links, duplicates, encrypted, overlapping or unreadable members.
        OSError: The file cannot be read.
    """
    with ExitStack() as resources:
        file = resources.enter_context(source.open("rb")) if isinstance(source, Path) else source
        with _foreign_errors_mapped("the table of contents"):
            archive, members = open_checked(file, limits.archive_entries)
        resources.enter_context(archive)
        return ArchiveReader(archive, file, members, limits=limits, resources=resources.pop_all())


def unpack_archive(content: BinaryIO, folder: Path | None, limits: Limits) -> None:
    """Unpack an archive into an empty folder, or only check it without one.

    Raises:
        InvalidArchive: As `open_archive` and `ArchiveReader.unpack` say.
        OSError: The file cannot be read, or the folder not be written to.
    """
    with open_archive(content, limits) as archive:
        archive.read_all(folder)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArchiveReader:
    """An open archive whose table of contents has been checked.

    `open_archive` makes it. One thread at a time may use it.
    """

    def __init__(
        self,
        archive: zipfile.ZipFile,
        file: BinaryIO,
        members: Sequence[Placed],
        *,
        limits: Limits,
        resources: ExitStack,
    ) -> None:
        """Take over an archive.

        Args:
            archive: The archive.
            file: What it is read from.
            members: Its members in the order of their bytes: the order in which a disk, and a digest, read them best.
            limits: What unpacking is held to.
            resources: What has to be closed in the end.
        """
        self._archive = archive
        self._file = file
        self._packed_bytes = file.seek(0, os.SEEK_END)
        self._members = {placed.member.filename: placed for placed in members}
        self._limits = limits
        self._resources = resources

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all files in the archive, in its order, without folders."""
        return tuple(member.filename for member in self._archive.infolist() if not member.is_dir())

    def size(self, name: str) -> int:
        """Return the size that a file declares; reading it fails when that is wrong."""
        return self._members[name].member.file_size

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            InvalidArchive: There is no such file, it is longer than `max_bytes`, or it is damaged.
        """
        placed = self._members.get(name)
        if placed is None or placed.member.is_dir():
            raise InvalidArchive(f"{quoted(name)} is missing")
        content = bytearray()
        for chunk in self._chunks(placed):
            content += chunk
            if len(content) > max_bytes:
                raise InvalidArchive(f"{quoted(name)} is longer than {max_bytes} bytes")
        return bytes(content)

    def read_all(self, folder: Path | None) -> None:
        """Unpack all members into an empty folder, or only check them."""
        if folder is None:
            self.check()
        else:
            self.unpack(folder)

    def check(self) -> None:
        """Read all members as `unpack` does, without keeping anything.

        Raises:
            InvalidArchive: A member is damaged, or more comes out than the limits allow.
        """
        unpacked_bytes = 0
        for placed in self._members.values():
            if not placed.member.is_dir():
                unpacked_bytes = self._copy(placed, lambda _: None, unpacked_bytes)

    def unpack(self, folder: Path) -> None:
        """Write all members to a folder, files with mode 0600 and folders with 0700.

        After an error the folder holds what was written until then, for the caller to remove.

        Args:
            folder: An existing, empty folder.

        Raises:
            InvalidArchive: A member is damaged, or more comes out than the limits allow.
            OSError: The folder cannot be written to, for one because the disk is full.
        """
        unpacked_bytes = 0
        for name, placed in self._members.items():
            *parents, last = name.removesuffix("/").split("/")
            parent = _make_folders(folder, parents)
            if placed.member.is_dir():
                _make_folders(parent, [last])
                continue
            with _create_file(parent / last) as file:
                unpacked_bytes = self._copy(placed, file.write, unpacked_bytes)

    def _copy(self, placed: Placed, write: Callable[[bytes], object], unpacked_bytes: int) -> int:
        """Write the content of a file, and return how much has come out of the archive with it.

        Raises:
            InvalidArchive: The file is damaged, or it is too much.
        """
        for chunk in self._chunks(placed):
            unpacked_bytes += len(chunk)
            self._check_unpacked(unpacked_bytes, placed.member.filename)
            write(chunk)
        return unpacked_bytes

    def _check_unpacked(self, unpacked_bytes: int, name: str) -> None:
        """Compare what has come out so far with the limits.

        Raises:
            InvalidArchive: It is too much, as such or for the size of the archive.
        """
        passed = f"{quoted(name)} passed the limit"
        most_bytes = self._limits.archive_unpacked_bytes
        if unpacked_bytes > most_bytes:
            raise InvalidArchive(f"it unpacks to more than {most_bytes} bytes, {passed} (WFMGMT_ARCHIVE_UNPACKED_MB)")
        ratio = self._limits.archive_ratio
        if unpacked_bytes > _RATIO_CHECKED_FROM_BYTES and unpacked_bytes > ratio * self._packed_bytes:
            raise InvalidArchive(f"it unpacks to more than {ratio} times its size, {passed} (WFMGMT_ARCHIVE_RATIO)")

    def _chunks(self, placed: Placed) -> Iterator[bytes]:
        """Yield the content of a file in pieces.

        Raises:
            InvalidArchive: The file is damaged.
        """
        member = placed.member
        with _foreign_errors_mapped(quoted(member.filename)):
            placed.check(self._file)
            read_bytes = 0
            with self._archive.open(member) as content:
                while chunk := content.read(_CHUNK_BYTES):
                    read_bytes += len(chunk)
                    yield chunk
            if read_bytes != member.file_size:
                raise EOFError(f"it ends after {read_bytes} of {member.file_size} bytes")


@contextmanager
def _foreign_errors_mapped(what: str) -> Iterator[None]:
    """Turn the errors of zipfile and the modules below it into ours.

    Args:
        what: The part of the archive that is being read.

    Raises:
        InvalidArchive: In place of those errors.
    """
    try:
        yield
    except _FOREIGN_ERRORS as exc:
        raise InvalidArchive(f"{what} is damaged: {str(exc) or type(exc).__name__}") from exc


def _make_folders(folder: Path, parts: Sequence[str]) -> Path:
    """Make folders one inside the other, as far as they do not exist, and return the innermost one."""
    for part in parts:
        folder /= part
        folder.mkdir(_FOLDER_MODE, exist_ok=True)
    return folder


def _create_file(path: Path) -> BinaryIO:
    """Open a file for writing that must not exist, not even as a link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb")
