"""The operating system that a process runs on."""

import sys

from wfmgmt.errors.commands import CannotStart


def require_linux() -> None:
    """Refuse other systems at once, before a part fails for what they lack: memory files, subreapers, /proc.

    Raises:
        CannotStart: This is not Linux.
    """
    if sys.platform != "linux":
        raise CannotStart(f"Linux is required, and this system is {sys.platform}")
