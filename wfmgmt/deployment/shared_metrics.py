"""The files in which web workers share their counters, and room for them on a disk that is full later.

prometheus-client names the files after processes, and keeps those of processes that ended, since counters must not go
backwards. Here they are named after slots: a web worker takes the first slot that no living one has, and counts on from
where the last one stopped, however that ended. So there are as many files as web workers at a time, and nothing has to
be merged while a web worker reads.
"""

import itertools
import logging
import os
import shutil
from pathlib import Path

from prometheus_client import values

from wfmgmt.deployment.locks import LockFile
from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")

#: The kinds of metrics that `wfmgmt.api.metrics` has; prometheus-client keeps a file of each for every process.
_KINDS = ("counter", "histogram")
#: What prometheus-client makes such a file large.
_FILE_BYTES = 1024 * 1024


def empty_folder(settings: Settings) -> None:
    """Drop what the web workers of an earlier service counted."""
    shutil.rmtree(settings.metrics_folder, ignore_errors=True)
    settings.metrics_folder.mkdir(mode=0o700, parents=True)


def reserve_files(settings: Settings) -> None:
    """Have this process, which has counted nothing yet, count in the files of a free slot, and take their space now.

    prometheus-client maps sparse files into memory. When the disk is full, counting would end the process with SIGBUS.
    """
    try:
        settings.metrics_folder.mkdir(mode=0o700, exist_ok=True)  # It may have been removed while the service ran.
        slot = _take_slot(settings.metrics_folder)
        for kind in _KINDS:
            with (settings.metrics_folder / f"{kind}_{slot}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
    except OSError as error:
        values.ValueClass = values.MutexValue
        _log.warning("the requests of this web worker are not counted: %s", error.strerror)
    else:
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # it has no types


def _take_slot(folder: Path) -> int:
    """Return the number of a slot that this process has until it ends."""
    for slot in itertools.count():
        if LockFile(folder / f"{slot}.lock").acquire():
            return slot
    raise AssertionError  # Numbers do not end.
