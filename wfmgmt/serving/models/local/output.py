"""Output of handlers, on its way into the log."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any

from wfmgmt.serving.log_rate import LogRate
from wfmgmt.serving.models.local.worker_log import NO_REQUEST, RECORD

MAX_LINE_BYTES = 8 * 1024
MAX_LINES_PER_SECOND = 500
MAX_BYTES_PER_SECOND = 256 * 1024

_RECORD = RECORD.encode()
_TAG = r" ([0-9]{1,3}) ([A-Za-z0-9._:/+=@-]{1,128}) "

_logger = logging.getLogger("wfmgmt.handler")


class OutputLog(asyncio.Protocol):
    """Reads the log pipe of one worker and logs its lines: records with level and request, and what is printed.

    A line that is longer than `MAX_LINE_BYTES` is cut, and of more than `MAX_LINES_PER_SECOND` lines or
    `MAX_BYTES_PER_SECOND` bytes within a second the rest is only counted: a handler that floods its output is slowed
    down by nothing and fills no disk.

    Args:
        fields: What the lines belong to.
        mark: What the records of this worker begin with; None for a process that only prints.
        printed_level: The level of what is printed.
        on_dropped: Called with how many lines were not logged.
        clock: Monotonic seconds.

    Attributes:
        fields: What the lines belong to; more may be added while it becomes known.
        closed: Done once everything that was printed has been logged.
    """

    def __init__(
        self,
        *,
        fields: dict[str, Any],
        mark: str | None = None,
        printed_level: int = logging.INFO,
        on_dropped: Callable[[int], None] = lambda _lines: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fields = fields
        self._tag = None if mark is None else re.compile((RECORD + re.escape(mark) + _TAG).encode())
        self._printed_level = printed_level
        self._on_dropped = on_dropped
        self._line = bytearray()
        self._rate = LogRate(
            max_lines=MAX_LINES_PER_SECOND,
            max_bytes=MAX_BYTES_PER_SECOND,
            on_dropped=self._report_dropped,
            clock=clock,
        )

    def data_received(self, data: bytes) -> None:
        """Log the lines that are complete and keep the beginning of the next."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._append(end)
            self._log_line()
        self._append(rest)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Log what stands behind the last line break."""
        if self._line:
            self._log_line()
        self._rate.report()
        if not self.closed.done():
            self.closed.set_result(None)

    def log_failure(self, traceback: str) -> None:
        """Log the traceback of a handler that failed while it was loaded."""
        _logger.error("failed to load", extra={**self.fields, "traceback": traceback})

    def _append(self, part: bytes) -> None:
        """Add to the current line; a record ends a line that was printed without a line break, like a progress bar."""
        printed, *records = part.split(_RECORD)
        self._keep(printed)
        for record in records:
            if self._line:
                self._log_line()
            self._keep(_RECORD + record)

    def _keep(self, part: bytes) -> None:
        """Keep one byte more than is logged, to distinguish a cut line from one that just fits."""
        self._line += part[: MAX_LINE_BYTES + 1 - len(self._line)]

    def _log_line(self) -> None:
        line, level, fields = bytes(self._line[:MAX_LINE_BYTES]), self._printed_level, self.fields
        is_cut = len(self._line) > MAX_LINE_BYTES
        self._line.clear()
        if self._tag is not None and (tag := self._tag.match(line)) is not None:
            line, level = line[tag.end() :], int(tag[1])
            if (request_id := tag[2].decode()) != NO_REQUEST:
                fields = {**fields, "request_id": request_id}
        if _logger.isEnabledFor(level) and self._rate.admits(len(line)):
            text = line.decode(errors="backslashreplace")
            _logger.log(level, "%s%s", text, " … (cut)" if is_cut else "", extra=fields)

    def _report_dropped(self, lines: int) -> None:
        _logger.warning("%d more lines were printed and not logged", lines, extra=self.fields)
        self._on_dropped(lines)
