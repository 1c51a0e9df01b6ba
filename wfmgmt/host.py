"""The operating system that a process runs on, and what it gives."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from wfmgmt.errors.commands import CannotStart


def require_linux() -> None:
    """Refuse other systems at once, before a part fails for what they lack: memory files, subreapers, /proc.

    Raises:
        CannotStart: This is not Linux.
    """
    if sys.platform != "linux":
        raise CannotStart(f"Linux is required, and this system is {sys.platform}")


def available_cores(listing: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: those of its affinity, or fewer when a control group has a quota.

    A part of a core counts as one. The quotas of the groups around ours hold, too.

    Args:
        listing: Names the groups that this process is in.
        root: Where control groups are mounted, of version 1, 2 or both.
    """
    return min([len(os.sched_getaffinity(0)), *map(math.ceil, _quotas(listing, root))])


def _quotas(listing: Path, root: Path) -> Iterator[float]:
    """Yield the cores that each control group allows that has a quota.

    In a container the listing may have the path on the host, of which nothing is there but the root: our own group.
    """
    with contextlib.suppress(OSError):
        for line in listing.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            names = PurePosixPath(path).parts[1:]
            hierarchy = root / "cpu" if controllers else root
            for depth in range(len(names) + 1):
                yield from _quota(hierarchy.joinpath(*names[:depth]), is_unified=not controllers)


def _quota(group: Path, *, is_unified: bool) -> Iterator[float]:
    """Yield the quota of one control group, if there is one: there `max` or a negative number stands for none."""
    with contextlib.suppress(OSError, ValueError):
        if is_unified:
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = ((group / f"cpu.cfs_{each}_us").read_text(encoding="ascii") for each in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota) / int(period)
