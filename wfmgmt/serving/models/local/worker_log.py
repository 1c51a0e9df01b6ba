"""The log of a worker: what its handlers log carries its level over the pipe that also takes what they print.

A line that begins with `RECORD`, the worker's mark, a space, a level as `logging` numbers it, a space, the id of the
request that was answered then (`-` when there was none or more than one) and a space is one line of a log record; any
other line was printed. The mark is a secret of worker and runtime: a handler that prints what a client sent must not
have the client write records.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from typing import Any

RECORD = "\x1e"
#: Stands for the id of a request where there is not just one.
NO_REQUEST = "-"
_STDERR = 2
#: Levels have three digits at most.
_MAX_LEVEL = 999
_request_id = NO_REQUEST
_mark = ""


class _PipeHandler(logging.Handler):
    """Writes records with their levels."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - what `logging` itself does with a handler's wrong arguments
            self.handleError(record)
        else:
            write(record.levelno, text)


def configure(level: str, mark: str) -> None:
    """Log everything from a level on, as TorchServe's workers do from `info` on, with this mark.

    The root logger has a handler before any handler's code runs, so `logging.basicConfig` does nothing there, as in
    TorchServe, unless it is forced to.
    """
    global _mark  # noqa: PLW0603 - a process is one worker
    _mark = mark
    logging.basicConfig(handlers=[_PipeHandler()], format="%(message)s", level=level.upper(), force=True)


def begin(requests: Sequence[Sequence[Any]]) -> None:
    """Give lines the id of the request that is answered from now on, if it is one; each begins with its id."""
    global _request_id  # noqa: PLW0603 - a worker answers one batch at a time
    _request_id = requests[0][0] if len(requests) == 1 else NO_REQUEST


def end() -> None:
    """Give lines no id any more: what a handler's threads log later belongs to no request for certain."""
    global _request_id  # noqa: PLW0603 - likewise
    _request_id = NO_REQUEST


def write(level: int, text: str) -> None:
    """Write a text as lines of a level. The log may be closed: handlers can do so."""
    tag = f"{RECORD}{_mark} {min(max(level, 0), _MAX_LEVEL)} {_request_id} "
    lines = "".join(f"{tag}{line}\n" for line in text.splitlines() or [""])
    data = memoryview(lines.encode(errors="backslashreplace"))
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(_STDERR, data) :]
