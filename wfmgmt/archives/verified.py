"""Files whose content is pinned while it is read: what is handed out is what the digest stands for."""

import fcntl
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

from wfmgmt.archives.progress import ByteCounter, ignore_bytes
from wfmgmt.errors import InvalidArchive

# A hash's state takes 250 bytes, so those of a file of 10 GiB take 10 MB.
_BLOCK_BYTES = 256 * 1024
_BUFFER_BYTES = 64 * 1024
#: Blocks kept in memory until it is their turn to be hashed: the largest table of contents that is read has 40.
_MAX_AHEAD = 64
#: The request of ioctl by which a file becomes a copy of another one that shares its blocks until one of them changes.
_FICLONE = 0x40049409


class VerifiedFile(io.BufferedReader):
    """An open archive that hands out exactly the bytes that its digest stands for.

    `open_verified` makes it. One thread at a time may use it.
    """

    def __init__(self, content: "_PinnedContent") -> None:
        super().__init__(content, _BUFFER_BYTES)
        self._content = content

    @property
    def sha256(self) -> str:
        """Digest of the content, in lower-case hexadecimal; what has not been read yet is read for it.

        Raises:
            InvalidArchive: The file is no longer what it was, or cannot be read.
        """
        return self._content.sha256()

    def stop_copying(self) -> None:
        """Copy nothing more, since the file is of no use; its digest can still be had."""
        self._content.stop_copying()


def open_verified(path: Path, copy: Path | None = None, *, on_bytes: ByteCounter = ignore_bytes) -> VerifiedFile:
    """Open a file whose bytes are hashed while they are read, each of them once if they are read in order.

    Nothing has to be copied, however large the file is: renaming another one to its place does not matter, since the
    descriptor stays, and bytes that were overwritten after they were read are noticed before they are handed out again.
    Reads raise `InvalidArchive` then, and when the disk fails.

    Args:
        path: The file.
        copy: Where nothing is yet; a file there has exactly the bytes of the digest once that is known. It is a reflink
            where the file system has those, else what is hashed is written to it, too.
        on_bytes: Called with what has been hashed.

    Raises:
        FileNotFoundError: There is no such file.
        InvalidArchive: It cannot be read, or is no regular file.
        OSError: The copy cannot be written; later reads raise it, too.
    """
    descriptor, size = _open_regular(path)
    content = _PinnedContent(descriptor, size, path.name, on_bytes)
    try:
        if copy is not None:
            content.copy_to(copy)
        content.hash_block(0)
        return VerifiedFile(content)
    except BaseException:
        content.close()
        raise


def _open_regular(path: Path) -> tuple[int, int]:
    """Return a descriptor of a file, and the file's size."""
    # A FIFO that was put in the file's place would block an opening that waits for its writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InvalidArchive("it is not a regular file")
    return descriptor, status.st_size


def _is_cloned(descriptor: int, copy: int) -> bool:
    """Make an empty file a reflink of another one; False where that cannot be done, for whatever reason."""
    try:
        fcntl.ioctl(copy, _FICLONE, descriptor)
    except OSError:
        return False
    return True


class _PinnedContent(io.RawIOBase):
    """The content of a file, each block of which stays what it was when it was read first.

    Blocks are hashed in their order. The state of the hash is kept from before each block: a block that is read again
    is the one that was hashed if it takes that state to the next one, so checking costs no second kind of digest. A
    block that is read before its turn, as those of the table of contents at the end of an archive are, stays in memory
    until it has been hashed; when there are too many of these, all that lies before the next one is hashed first.
    """

    def __init__(self, descriptor: int, size: int, name: str, on_bytes: ByteCounter) -> None:
        super().__init__()
        self.name = name
        self._copy: int | None = None
        self._descriptor = descriptor
        self._size = size
        self._position = 0
        self._block_number, self._block = -1, b""
        self._states = [hashlib.sha256()]
        self._ahead: dict[int, bytes] = {}
        self._on_bytes = on_bytes
        on_bytes(0, size)

    def copy_to(self, path: Path) -> None:
        """Copy the content to a new file, at once and for all further reading where the file system has reflinks.

        Raises:
            OSError: The file cannot be made.
        """
        copy = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _is_cloned(self._descriptor, copy):
            os.close(self._descriptor)
            self._descriptor, self._size = copy, os.fstat(copy).st_size
        else:
            self._copy = copy

    def stop_copying(self) -> None:
        """Write nothing more to the copy."""
        if self._copy is not None:
            os.close(self._copy)
            self._copy = None

    def sha256(self) -> str:
        """Return the digest of the content.

        Raises:
            InvalidArchive: As for `readinto`.
        """
        self.hash_block((self._size - 1) // _BLOCK_BYTES)
        return self._states[-1].hexdigest()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the content."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"there is no place {start + offset} in a file")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - Python 3.11 has no name for what the base class takes
        """Read up to the end of a block.

        Raises:
            InvalidArchive: The block is no longer what it was, or cannot be read.
        """
        number, start = divmod(self._position, _BLOCK_BYTES)
        if self._position >= self._size:
            return 0
        with memoryview(buffer) as wanted:
            part = self._pinned_block(number)[start : start + len(wanted)]
            wanted[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
            self.stop_copying()
        super().close()

    def hash_block(self, number: int) -> None:
        """Hash the blocks up to this one, which is the current one then.

        Raises:
            InvalidArchive: As for `readinto`.
        """
        while (turn := len(self._states) - 1) <= number:
            block = self._ahead.pop(turn, None)
            if block is None:
                block = self._read_block(turn)
            state = self._states[turn].copy()
            state.update(block)
            if self._copy is not None:
                _write(self._copy, block)
            self._states.append(state)
            self._block_number, self._block = turn, block
            self._on_bytes(min((turn + 1) * _BLOCK_BYTES, self._size), self._size)

    def _pinned_block(self, number: int) -> bytes:
        turn = len(self._states) - 1
        if number == self._block_number:
            return self._block
        if number < turn:
            self._block_number, self._block = number, self._read_again(number)
        elif number == turn or (number not in self._ahead and len(self._ahead) == _MAX_AHEAD):
            self.hash_block(number)
        else:
            if number not in self._ahead:
                self._ahead[number] = self._read_block(number)
            return self._ahead[number]
        return self._block

    def _read_again(self, number: int) -> bytes:
        block = self._read_block(number)
        state = self._states[number].copy()
        state.update(block)
        if state.digest() != self._states[number + 1].digest():
            raise _changed()
        return block

    def _read_block(self, number: int) -> bytes:
        """Return a block as it is on the disk, shorter than others only at the end of the file."""
        offset = number * _BLOCK_BYTES
        size = min(_BLOCK_BYTES, self._size - offset)
        block = b""
        try:
            # A file that cannot be read is noticed even when it claims to be empty.
            while chunk := os.pread(self._descriptor, max(size - len(block), 1), offset + len(block)):
                block += chunk
                if len(block) >= size:
                    return block[:size]
        except OSError as error:
            raise _unreadable(error) from error
        if len(block) < size:
            raise _changed()
        return block


def _changed() -> InvalidArchive:
    return InvalidArchive("it was changed while it was read")


def _unreadable(error: OSError) -> InvalidArchive:
    return InvalidArchive(f"it cannot be read: {error.strerror}")


def _write(descriptor: int, block: bytes) -> None:
    """Write all of a block: the system may write less of it at once."""
    left = memoryview(block)
    while left:
        left = left[os.write(descriptor, left) :]
