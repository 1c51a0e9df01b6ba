"""How the log is written: one line of text or one JSON object per event, to standard error.

A thread writes it, so that a reader that stalls (a pager, Ctrl-S, a driver that blocks) delays nothing else, and no
error of the descriptor (a full disk, a closed pipe) reaches the code that logs.
"""

import contextlib
import json
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from weakref import WeakSet

from wfmgmt.domain.redaction import without_tokens

#: What a record belongs to: its own fields in JSON, and `[name=value …]` before the message in text.
EXTRA_FIELDS = ("request_id", "workflow", "version", "node", "attempt", "pid")
#: More fields in JSON, of records whose messages have these values, too.
MESSAGE_FIELDS = ("actor", "action", "client", "method", "path", "status", "ms", "bytes")
#: Bytes of the log that may wait to be written; what comes on top is dropped and counted.
MAX_WAITING_BYTES = 4 * 1024 * 1024
#: How long the end of a process waits for its last lines to be written.
FLUSH_S = 1.0
_INDENT = "    "
_STDERR = 2
#: What each waiting line costs beside its bytes.
_LINE_OVERHEAD_BYTES = 100


def escaped(text: str) -> str:
    r"""Return a text as one line that hides nothing: control and format characters become `\n`, `\x1b`, `\u202e`.

    Handlers and clients choose parts of what is logged, and must not be able to write lines of their own, colour or
    move what a terminal shows, or change the direction of the text around them.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode() for char in text
    )


def _values(record: logging.LogRecord, fields: Iterable[str]) -> dict[str, Any]:
    """Return those of the fields that a record has."""
    return {field: value for field in fields if (value := getattr(record, field, None)) not in (None, "")}


def _quoted(value: object) -> str:
    """Return a value that ends where the next one begins."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(char in text for char in ' "]') else text


class TextFormatter(logging.Formatter):
    """Write `time level logger [request_id=… workflow=…]: message`, and each line of a traceback indented."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(where)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with what the event belongs to, if anything, and its traceback."""
        values = [f"{field}={_quoted(value)}" for field, value in _values(record, EXTRA_FIELDS).items()]
        record.where = f" [{' '.join(values)}]" if values else ""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        lines = [escaped(without_tokens(self.formatMessage(record)))]
        traceback = without_tokens(traceback_text(self, record))
        lines += (_INDENT + escaped(line) for line in traceback.split("\n") if line)
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Write one JSON object a line, with fields for what the event belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line of printable characters."""
        fields: dict[str, Any] = {
            "time": TextFormatter().formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        fields |= _values(record, (*EXTRA_FIELDS, *MESSAGE_FIELDS))
        if traceback := traceback_text(self, record):
            fields["traceback"] = traceback
        text = without_tokens(json.dumps(fields, ensure_ascii=False))
        if text.isprintable():
            return text
        # Outside of strings JSON is printable, so each of these stands where an escape may stand.
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def traceback_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback that belongs to a record: of its exception, or one of another process as text."""
    if record.exc_info:
        return formatter.formatException(record.exc_info)
    return str(getattr(record, "traceback", ""))


class LogWriter:
    """Writes lines to a descriptor, in a thread that starts with the first line. `write` neither blocks nor raises.

    A fork has a copy without thread and waiting lines: its parent writes those.

    Args:
        descriptor: Where to write; it stays the caller's.
        notice: Returns the line that says how many lines were dropped, written once that works again.
        max_waiting_bytes: Bytes that may wait.

    Attributes:
        dropped_total: Lines that were dropped since the start of the process.
    """

    def __init__(
        self, descriptor: int, *, notice: Callable[[int], str], max_waiting_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._max_waiting_bytes = max_waiting_bytes
        self._is_torn = False
        self._reset()
        _WRITERS.add(self)

    def _reset(self) -> None:
        # A queue of this kind may be used in a signal handler, too.
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # One is changed by those who log, who hold the lock of their handler, the other by the thread.
        self._taken_bytes = self._given_bytes = 0
        self._overflowed = self._failed = self._reported = 0

    @property
    def dropped_total(self) -> int:
        """Lines that were dropped: those that found no room, and those that could not be written."""
        return self._overflowed + self._failed

    def write(self, line: str) -> None:
        """Have a line written soon."""
        data = line.encode(errors="backslashreplace") + b"\n"
        cost = len(data) + _LINE_OVERHEAD_BYTES
        if self._given_bytes - self._taken_bytes + cost > self._max_waiting_bytes:
            self._overflowed += 1
            return
        self._given_bytes += cost
        self._lines.put(data)
        self._ensure_started()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Return whether all that waits was written, or dropped, within the time."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._lines.put(done)
        return done.wait(timeout_s)

    def _ensure_started(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, args=(self._lines,), name="log", daemon=True)
            with contextlib.suppress(RuntimeError):  # The system allows no more threads now; the next line tries again.
                thread.start()
                self._thread = thread

    def _run(self, lines: "queue.SimpleQueue[bytes | threading.Event]") -> None:
        while True:
            line = lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            if self._put(line):
                self._report_dropped()
            else:
                self._failed += 1
            self._taken_bytes += len(line) + _LINE_OVERHEAD_BYTES

    def _report_dropped(self) -> None:
        dropped = self.dropped_total
        if dropped > self._reported and self._put(self._notice(dropped - self._reported).encode() + b"\n"):
            self._reported = dropped

    def _put(self, line: bytes) -> bool:
        """Write a line; return whether that worked. The rest of one that broke off is not tried again."""
        unwritten = memoryview(b"\n" + line if self._is_torn else line)
        while unwritten:
            try:
                unwritten = unwritten[os.write(self._descriptor, unwritten) :]
                self._is_torn = bool(unwritten)
            except BlockingIOError:  # Another process that has the same file made it so.
                select.select((), (self._descriptor,), ())
            except OSError:
                return False
        return True


_WRITERS: "WeakSet[LogWriter]" = WeakSet()


def _reset_writers() -> None:
    for writer in _WRITERS:
        writer._reset()  # noqa: SLF001 - it is this module's own class


os.register_at_fork(after_in_child=_reset_writers)


class StderrHandler(logging.Handler):
    """Writes records to standard error, or to another descriptor, by way of a `LogWriter`."""

    def __init__(self, descriptor: int = _STDERR) -> None:
        super().__init__()
        self.writer = LogWriter(descriptor, notice=self._dropped_notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record here, while what it refers to is as it was, and have it written."""
        try:
            line = self.format(record)
        except Exception as exc:  # noqa: BLE001 - logging runs in every part, and must fail none
            line = self._line(record.levelno, record.name, f"a record cannot be formatted: {exc!r}")
        self.writer.write(line)

    def flush(self) -> None:
        """Wait a moment for what was logged to be written."""
        self.writer.flush()

    def _dropped_notice(self, lines: int) -> str:
        return self._line(
            logging.WARNING,
            __name__,
            f"{lines} lines of the log were dropped: it was not read, or could not be written",
        )

    def _line(self, level: int, name: str, message: str) -> str:
        return self.format(logging.LogRecord(name, level, __file__, 0, message, None, None))


def dropped_lines() -> int:
    """Return how many lines of the log this process has dropped."""
    return sum(handler.writer.dropped_total for handler in logging.root.handlers if isinstance(handler, StderrHandler))


def write_error(text: str) -> None:
    """Write a line to standard error before the process ends; a reader that stalls delays that by a second at most."""
    writer = LogWriter(_STDERR, notice=lambda _: "")
    writer.write(text)
    writer.flush()


def open_standard_streams() -> None:
    """Give a process that was started without some of its standard streams empty ones.

    Otherwise the next files that are opened, be it the database, would have their numbers and get what is logged.
    """
    for descriptor in (0, 1, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free, which is this one.
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - os takes no keywords


def _is_error(record: logging.LogRecord) -> bool:
    """Return whether a line of the access log is about a request that was refused or failed."""
    return bool(_values(record, ("status",)).get("status", 0) >= HTTPStatus.BAD_REQUEST)


def logging_config(log_format: str, log_level: str, access_log: str = "off") -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, which gunicorn's messages reach, too."""
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    access = {
        "level": "CRITICAL" if access_log == "off" else "INFO",
        "filters": [_is_error] if access_log == "errors" else [],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"()": StderrHandler, "formatter": "line"}},
        "root": {"level": log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "alembic": {"level": "WARNING"},
            "aiohttp.access": {"level": "WARNING"},
            "wfmgmt.access": access,
        },
    }
