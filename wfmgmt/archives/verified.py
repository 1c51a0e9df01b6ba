"""Files whose content is settled once: what is read later is what was hashed, whatever becomes of the file."""

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

from wfmgmt.errors import InvalidArchive

# A hash's state takes 250 bytes, so those of a file of 10 GiB take 10 MB.
_BLOCK_BYTES = 256 * 1024
_BUFFER_BYTES = 64 * 1024


class VerifiedFile(io.BufferedReader):
    """An open archive that hands out exactly the bytes that its digest stands for.

    `open_verified` makes it. One thread at a time may use it.

    Attributes:
        sha256: Digest of the content, in lower-case hexadecimal.
    """

    def __init__(self, content: "_SettledContent") -> None:
        super().__init__(content, _BUFFER_BYTES)
        self.sha256 = content.sha256


def open_verified(path: Path) -> VerifiedFile:
    """Open a file and hash all of it; each part that is read afterwards is compared with what was hashed.

    So nothing has to be copied, however large the file is: renaming another one to its place does not matter, since
    the descriptor stays, and bytes that were overwritten meanwhile are noticed before they are handed out. Reads raise
    `InvalidArchive` then, and when the disk fails.

    Raises:
        FileNotFoundError: There is no such file.
        InvalidArchive: It cannot be read, or is no regular file.
    """
    content = _SettledContent(_open_regular(path), path.name)
    try:
        content.settle()
        return VerifiedFile(content)
    except BaseException:
        content.close()
        raise


def _open_regular(path: Path) -> int:
    # A FIFO that was put in the file's place would block an opening that waits for its writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidArchive("it is not a regular file")
    return descriptor


class _SettledContent(io.RawIOBase):
    """The content of a file as it was when it was hashed.

    The state of the hash is kept from before each block: a block is the one that was hashed if it takes that state to
    the next one, so checking costs no second kind of digest.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self.name = name
        self._descriptor = descriptor
        self._position = 0
        self._block_number, self._block = -1, b""
        self._size = 0
        self._states = [hashlib.sha256()]

    def settle(self) -> None:
        """Hash all of the file.

        Raises:
            InvalidArchive: It cannot be read.
        """
        while block := self._read_block(self._size):
            state = self._states[-1].copy()
            state.update(block)
            self._states.append(state)
            self._size += len(block)
            if len(block) < _BLOCK_BYTES:
                break

    @property
    def sha256(self) -> str:
        """Digest of the content."""
        return self._states[-1].hexdigest()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the content as it was hashed."""
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
            part = self._verified_block(number)[start : start + len(wanted)]
            wanted[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _verified_block(self, number: int) -> bytes:
        if number != self._block_number:
            offset = number * _BLOCK_BYTES
            block = self._read_block(offset)[: self._size - offset]
            state = self._states[number].copy()
            state.update(block)
            if state.digest() != self._states[number + 1].digest():
                raise InvalidArchive("it was changed while it was read")
            self._block_number, self._block = number, block
        return self._block

    def _read_block(self, offset: int) -> bytes:
        """Return the block that begins there, shorter than a block only at the end of the file."""
        block = b""
        try:
            while chunk := os.pread(self._descriptor, _BLOCK_BYTES - len(block), offset + len(block)):
                block += chunk
                if len(block) == _BLOCK_BYTES:
                    break
        except OSError as error:
            raise _unreadable(error) from error
        return block


def _unreadable(error: OSError) -> InvalidArchive:
    return InvalidArchive(f"it cannot be read: {error.strerror}")
