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
import struct
from pathlib import Path

from prometheus_client import values

from wfmgmt.api.metrics import Samples, counted
from wfmgmt.deployment.locks import LockFile
from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")

#: The kinds of metrics that `wfmgmt.api.metrics` has; prometheus-client keeps a file of each for every process.
_KINDS = ("counter", "histogram")
#: What prometheus-client makes such a file large.
_FILE_BYTES = 1024 * 1024
#: How it begins one in which nothing is counted: how much is used, and padding.
_EMPTY = struct.pack("ii", 8, 0)


def empty_folder(settings: Settings) -> None:
    """Drop what the web workers of an earlier service counted."""
    shutil.rmtree(settings.metrics_folder, ignore_errors=True)
    settings.metrics_folder.mkdir(mode=0o700, parents=True)


class CounterFiles:
    """The files in which this process, which has counted nothing yet, counts from now on.

    Their space is taken at once: prometheus-client maps sparse files into memory, and when the disk is full, counting
    would end the process with SIGBUS.

    Args:
        settings: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.metrics_folder
        self._files: dict[Path, Samples] = {}
        try:
            self._slot = self._take_slot()
        except OSError as error:
            values.ValueClass = values.MutexValue
            _log.warning("the requests of this web worker are not counted: %s", error.strerror)
        else:
            # It asks for the name of its files at each change, and opens others when that is another one.
            values.ValueClass = values.MultiProcessValue(lambda: self._slot)  # type: ignore[no-untyped-call]  # it has no types

    def check(self) -> None:
        """Count in new files if one is gone or damaged, or has less in it than was there at the last check."""
        now = {file: counted(file) for file in self._files}
        lost = [file for file, before in self._files.items() if _is_less(now[file], before)]
        for file in lost:
            _log.warning("%s was damaged or removed; what it counted is lost", file.name)
            file.unlink(missing_ok=True)
        if lost:
            self._slot = self._take_slot()
        else:
            self._files = {file: samples or {} for file, samples in now.items()}

    def _take_slot(self) -> int:
        """Take the first slot that no living process has, until this one ends, and make its files fit for use."""
        self._folder.mkdir(mode=0o700, exist_ok=True)  # It may have been removed while the service ran.
        slot = next(slot for slot in itertools.count() if LockFile(self._folder / f"{slot}.lock").acquire())
        files = [self._folder / f"{kind}_{slot}.db" for kind in _KINDS]
        for file in files:
            _make_room(file)
            if not counted(file):  # Damaged, for all that can be seen.
                file.unlink()
                _make_room(file)
        self._files = {file: {} for file in files}
        return slot


def _is_less(samples: Samples | None, before: Samples) -> bool:
    return samples is None or any(samples.get(name, 0) < value for name, value in before.items())


def _make_room(file: Path) -> None:
    """Take the space of a file; a new one gets a beginning, so that one of zeros is a damaged one."""
    is_new = not file.exists()
    with file.open("ab") as opened:
        if is_new:
            opened.write(_EMPTY)
            opened.flush()
        os.posix_fallocate(opened.fileno(), 0, _FILE_BYTES)
