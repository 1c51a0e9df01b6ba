"""Limits of the host: open files, and a folder for temporary files."""

import os
import resource
import tempfile

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.settings import Settings

#: Open files of a web worker besides those of its threads and clients.
_OWN_FILES = 32
#: Open files that a thread of a web worker may need at a time: database, control socket, downloads, lease.
_FILES_PER_THREAD = 8
#: Connections of clients that a web worker accepts at most, and those beside one per thread that it has to have.
MAX_CONNECTIONS, SPARE_CONNECTIONS = 1000, 8


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def web_connections(settings: Settings, file_limit: int) -> int:
    """Return how many connections a web worker can accept with so many open files.

    Raises:
        SettingsInvalid: Not even a few more than it has threads.
    """
    if file_limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    own = _OWN_FILES + _FILES_PER_THREAD * settings.web_threads
    needed = own + settings.web_threads + SPARE_CONNECTIONS
    if file_limit < needed:
        raise SettingsInvalid(
            f"the limit of open files (ulimit -n) is {file_limit}; expected at least {needed} for "
            f"WFMGMT_WEB_THREADS={settings.web_threads}"
        )
    return min(MAX_CONNECTIONS, file_limit - own)


def ensure_temporary_folder(settings: Settings) -> None:
    """Have temporary files of this process and those that it starts in the instance if there is no other place."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folder = settings.run_folder / "tmp"
        folder.mkdir(mode=0o700, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)  # noqa: TID251 - programs look for it there
