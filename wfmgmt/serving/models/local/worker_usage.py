"""What a worker process takes of this machine, read from what the kernel says about it."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage

_MAX_FILE_BYTES = 4096
#: Where `stat` of a process has the number of its threads, counted from what follows the name.
_THREADS_FIELD = 17


class _MemoryFile:
    """A worker's `smaps_rollup`, opened by itself; closed once no one can be reading it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)

    def pss_bytes(self) -> int | None:
        """Return the memory of the worker now, with its part of what it shares; None when it is gone."""
        with suppress(OSError):
            for line in os.pread(self._descriptor, _MAX_FILE_BYTES, 0).splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
        return None


def facts_of(pid: int, memory_descriptor: int | None) -> WorkerFacts:
    """Return the facts of a worker that was started just now.

    Args:
        pid: Its process id.
        memory_descriptor: Its `smaps_rollup`, which is closed with the facts; None when it could not be opened.
    """
    memory = None if memory_descriptor is None else _MemoryFile(memory_descriptor)
    return WorkerFacts(pid=pid, started_at=datetime.now(UTC), read_usage=partial(_read_usage, pid, memory))


def _read_usage(pid: int, memory: _MemoryFile | None) -> WorkerUsage:
    return WorkerUsage(pss_bytes=None if memory is None else memory.pss_bytes(), threads=_threads(pid))


def _threads(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[_THREADS_FIELD])
    except OSError:
        return None
