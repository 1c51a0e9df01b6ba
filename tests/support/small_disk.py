"""Small file systems that can be filled up: tmpfs in a mount namespace, which needs no privileges."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.support.service import CHECKOUT

FILLER = ".filler"
_SCRIPT = """
size=$0
for path; do mount -t tmpfs -o "size=$size" tmpfs "$path" || exit; done
echo mounted
exec cat
"""


class SmallDisks:
    """Disks that only processes started with `prefix` see at their paths.

    Args:
        paths: Where they are mounted; the folders are made.
        size: Of each, as mount(8) takes it, like `2m`.
    """

    def __init__(self, *paths: Path, size: str) -> None:
        if not all(shutil.which(command) for command in ("unshare", "nsenter")):
            pytest.skip("small disks need unshare and nsenter of util-linux")
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        self.paths = paths
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SCRIPT, size, *map(str, paths)]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "mounted":
            _, reason = self._holder.communicate()
            pytest.skip(f"small disks need user namespaces: {reason.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()  # Ends its input, and with it the process and the mounts.

    @property
    def prefix(self) -> list[str]:
        """Command that runs another one where the disks are mounted."""
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--mount", "--preserve-credentials", "--"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(CHECKOUT)]

    @property
    def root(self) -> Path:
        """The root folder of those who see the disks, for everybody else."""
        return Path(f"/proc/{self._holder.pid}/root")

    def outside(self, path: Path) -> Path:
        """Return where everybody else finds what lies on a disk."""
        return self.root / path.relative_to("/")

    def fill(self, disk: Path, *, leave_bytes: int = 0) -> None:
        """Take all space of a disk but this much; whole pages of 4096 bytes are left."""
        self.free(disk)
        space = os.statvfs(self.outside(disk))
        wanted = max(space.f_bavail * space.f_frsize - leave_bytes, 1)
        with (self.outside(disk) / FILLER).open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, wanted)

    def free(self, disk: Path) -> None:
        """Give the space back."""
        (self.outside(disk) / FILLER).unlink(missing_ok=True)

    def files(self) -> set[str]:
        """Return all files on the disks but the fillers."""
        found = (path for disk in self.paths for path in self.outside(disk).rglob("*"))
        return {str(path.relative_to(self.root)) for path in found if path.name != FILLER and not path.is_dir()}
