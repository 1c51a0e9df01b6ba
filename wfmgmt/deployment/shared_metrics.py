"""The files in which web workers share their counters, and room for them on a disk that is full later."""

import logging
import os
import shutil

from prometheus_client import values

from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")

#: The kinds of metrics that `wfmgmt.api.metrics` has; prometheus-client keeps a file of each for every process.
_KINDS = ("counter", "histogram")
#: What prometheus-client makes such a file large.
_FILE_BYTES = 1024 * 1024


def empty_folder(settings: Settings) -> None:
    """Drop what the web workers of an earlier deployment counted."""
    shutil.rmtree(settings.metrics_folder, ignore_errors=True)
    settings.metrics_folder.mkdir(mode=0o700, parents=True)


def reserve_files(settings: Settings) -> None:
    """Take the space of this process's files now.

    prometheus-client maps sparse files into memory. When the disk is full, counting would end the process with SIGBUS.
    """
    paths = [settings.metrics_folder / f"{kind}_{os.getpid()}.db" for kind in _KINDS]
    try:
        for path in paths:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
    except OSError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        values.ValueClass = values.MutexValue
        _log.warning("the requests of this web worker are not counted: %s", error.strerror)
