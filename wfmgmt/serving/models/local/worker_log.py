"""The log of a worker: what its handlers log carries its level over the pipe that also takes what they print.

A line that begins with `RECORD`, a level as `logging` numbers it, a space, the id of the request that was answered then
(`-` when there was none or more than one) and a space is one line of a log record; any other line was printed.
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
_request_id = NO_REQUEST


class _PipeHandler(logging.Handler):
    """Writes records with their levels."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - what `logging` itself does with a handler's wrong arguments
            self.handleError(record)
        else:
            write(record.levelno, text)


def configure(level: str) -> None:
    """Log everything from a level on, as TorchServe's workers do from `info` on.

    The root logger has a handler before any handler's code runs, so `logging.basicConfig` does nothing there, as in
    TorchServe, unless it is forced to.
    """
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
    lines = "".join(f"{RECORD}{level} {_request_id} {line}\n" for line in text.splitlines() or [""])
    data = memoryview(lines.encode(errors="backslashreplace"))
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(_STDERR, data) :]
