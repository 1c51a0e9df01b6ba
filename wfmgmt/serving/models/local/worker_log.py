"""The log of a worker: what its handlers log carries its level over the pipe that also takes what they print.

A line that begins with `RECORD`, a level as `logging` numbers it, and a space is one line of a log record; any other
line was printed.
"""

import contextlib
import logging
import os

RECORD = "\x1e"
_STDERR = 2


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


def write(level: int, text: str) -> None:
    """Write a text as lines of a level. The log may be closed: handlers can do so."""
    lines = "".join(f"{RECORD}{level} {line}\n" for line in text.splitlines() or [""])
    data = memoryview(lines.encode(errors="backslashreplace"))
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(_STDERR, data) :]
