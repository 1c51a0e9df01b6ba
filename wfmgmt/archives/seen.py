"""Files that were seen: which digest a file had that looked like another one."""

import contextlib
import re
import uuid
from collections.abc import Callable
from pathlib import Path

from wfmgmt.folders import read_file

_DIGEST_BYTES = 64
_DIGEST = re.compile(f"[0-9a-f]{{{_DIGEST_BYTES}}}")


def looks_of(file: Path) -> str | None:
    """Return what a file looks like, None when there is none that can be looked at.

    Linking and renaming it change nothing of that, writing to it does.
    """
    try:
        status = file.stat()
    except OSError:
        return None
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"


class SeenFiles:
    """Digests by what files look like, each in a file of its own. Thread-safe, and for any number of processes.

    A file can change without looking different: what rests on this has to be checked wherever that would do harm.

    Args:
        folder: Where they are; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def digest(self, looks: str | None) -> str | None:
        """Return which digest a file had that looked like this, None when none is known."""
        try:
            digest = (read_file(self._folder / str(looks), _DIGEST_BYTES) or b"").decode(errors="replace")
        except OSError:
            return None
        return digest if _DIGEST.fullmatch(digest) else None

    def remember(self, looks: str, sha256: str) -> bool:
        """Record which digest a file has that looks like this; return whether that is new, and could be recorded."""
        if self.digest(looks) == sha256:
            return False
        fresh = self._folder / f".{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            fresh.write_text(sha256, encoding="ascii")
            fresh.replace(self._folder / looks)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            return False
        return True

    def forget(self, looks: str) -> None:
        """Know nothing about files that look like this."""
        (self._folder / looks).unlink(missing_ok=True)

    def sweep(self, is_kept: Callable[[str], bool], before: int) -> None:
        """Forget what was recorded before a moment, in nanoseconds since the epoch, about digests that are not kept."""
        for file in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime_ns < before and not is_kept(self.digest(file.name) or ""):
                    file.unlink()
