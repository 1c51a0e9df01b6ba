"""Limits of the host: open files, and a folder for temporary files."""

import os
import resource
import sys
import tempfile
from typing import NamedTuple

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.settings import Settings

#: Open files of a web worker besides those of its threads and clients.
_OWN_FILES = 32
#: Open files that a thread of a web worker may need at a time: database, control socket, download or upload, lease.
_FILES_PER_THREAD = 8
#: Connections of clients that a web worker accepts at most, and those beside one per thread that it has to have.
MAX_CONNECTIONS, SPARE_CONNECTIONS = 1000, 8


class WebLimits(NamedTuple):
    """What a web worker can take at a time.

    Attributes:
        connections: Of clients.
        uploads: Archives that clients send, each over one of the connections.
    """

    connections: int
    uploads: int


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def forbid_core_dumps() -> None:
    """Have no process of the service leave its memory, with tokens and passwords in it, in a file when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def web_limits(settings: Settings, file_limit: int) -> WebLimits:
    """Return what a web worker can take with so many open files: one upload in any case, all that are set if it can.

    Raises:
        SettingsInvalid: Not even a few more connections than it has threads.
    """
    connections = settings.web_threads + SPARE_CONNECTIONS
    needed = _OWN_FILES + _FILES_PER_THREAD * settings.web_threads + connections
    if file_limit < needed:
        raise SettingsInvalid(
            f"the limit of open files (ulimit -n) is {file_limit}; expected at least {needed} for "
            f"WFMGMT_WEB_THREADS={settings.web_threads}"
        )
    spare = file_limit - needed
    uploads = max(1, min(settings.max_uploads, spare // (_FILES_PER_THREAD + 1)))
    connections += max(0, spare - _FILES_PER_THREAD * uploads)
    return WebLimits(connections=min(MAX_CONNECTIONS, connections), uploads=uploads)


def ensure_temporary_folder(settings: Settings) -> None:
    """Have temporary files of this process and those that it starts in the instance if there is no other place."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = settings.run_folder / "tmp"
        folder.mkdir(mode=0o700, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)  # noqa: TID251 - programs look for it there
