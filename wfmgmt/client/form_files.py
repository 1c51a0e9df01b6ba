"""Forms with files, which are read while they are sent."""

import io
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

#: In a name, what would end it.
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class FormBody:
    """The body of a form whose parts are files; requests asks it for its length.

    Args:
        files: Name of each part, and its file.
        boundary: What separates the parts.
        on_sent: Called with how many bytes were read, of how many.
        held: Closes the files.

    Raises:
        OSError: A file cannot be read.
    """

    def __init__(
        self, files: Sequence[tuple[str, Path]], boundary: str, on_sent: Callable[[int, int], None], held: ExitStack
    ) -> None:
        self._segments: list[BinaryIO] = []
        self._size_bytes = self._read_bytes = 0
        self._on_sent = on_sent
        for name, path in files:
            file = held.enter_context(path.open("rb"))
            disposition = f'form-data; name="{name}"; filename="{path.name.translate(_ESCAPED)}"'
            self._add_text(f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n")
            self._segments.append(file)
            self._size_bytes += os.fstat(file.fileno()).st_size
            self._add_text("\r\n")
        self._add_text(f"--{boundary}--\r\n")

    def _add_text(self, text: str) -> None:
        content = text.encode("utf-8", "surrogateescape")
        self._segments.append(io.BytesIO(content))
        self._size_bytes += len(content)

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes at most, none at the end."""
        while self._segments:
            if piece := self._segments[0].read(size):
                self._read_bytes += len(piece)
                self._on_sent(self._read_bytes, self._size_bytes)
                return piece
            del self._segments[0]
        return b""
