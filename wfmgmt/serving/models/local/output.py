"""Output of handlers, on its way into the log."""

import asyncio
import logging
import re
import time
from collections.abc import Callable

from wfmgmt.serving.models.local.worker_log import RECORD

MAX_LINE_BYTES = 8 * 1024
MAX_LINES_PER_SECOND = 500
MAX_BYTES_PER_SECOND = 256 * 1024
#: So long after the first line that is not logged, at the latest, the log says how many were not.
REPORT_S = 1.0

_RECORD = RECORD.encode()
_LEVEL = re.compile(re.escape(_RECORD) + rb"([0-9]{1,3}) ")

_logger = logging.getLogger("wfmgmt.handler")


class OutputLog(asyncio.Protocol):
    """Reads the log pipe of one worker and logs its lines: records with their level, what is printed as `info`.

    A line that is longer than `MAX_LINE_BYTES` is cut, and of more than `MAX_LINES_PER_SECOND` lines or
    `MAX_BYTES_PER_SECOND` bytes within a second the rest is only counted: a handler that floods its output is slowed
    down by nothing and fills no disk.

    Args:
        workflow: Workflow that the lines name.
        node: Node that the lines name.
        on_dropped: Called with how many lines were not logged.
        clock: Monotonic seconds.

    Attributes:
        closed: Done once everything that was printed has been logged.
    """

    def __init__(
        self,
        *,
        workflow: str,
        node: str,
        on_dropped: Callable[[int], None] = lambda _lines: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._extra = {"workflow": workflow, "node": node}
        self._on_dropped = on_dropped
        self._clock = clock
        self._line = bytearray()
        self._second = clock()
        self._logged = self._logged_bytes = 0
        self._dropped = 0
        self._reporting: asyncio.TimerHandle | None = None

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
        self._report_dropped()
        if not self.closed.done():
            self.closed.set_result(None)

    def log_failure(self, traceback: str) -> None:
        """Log the traceback of a handler that failed while it was loaded."""
        _logger.error("failed to load", extra={**self._extra, "traceback": traceback})

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
        line, level = bytes(self._line[:MAX_LINE_BYTES]), logging.INFO
        is_cut = len(self._line) > MAX_LINE_BYTES
        self._line.clear()
        if (tagged := _LEVEL.match(line)) is not None:
            line, level = line[tagged.end() :], int(tagged[1])
        if not _logger.isEnabledFor(level):
            return
        now = self._clock()
        if now - self._second >= 1:
            self._report_dropped()
            self._second = now
            self._logged = self._logged_bytes = 0
        if self._logged >= MAX_LINES_PER_SECOND or self._logged_bytes >= MAX_BYTES_PER_SECOND:
            self._dropped += 1
            if self._reporting is None:
                self._reporting = asyncio.get_running_loop().call_later(REPORT_S, self._report_dropped)
            return
        self._logged += 1
        self._logged_bytes += len(line)
        _logger.log(
            level, "%s%s", line.decode(errors="backslashreplace"), " … (cut)" if is_cut else "", extra=self._extra
        )

    def _report_dropped(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None
        if self._dropped:
            _logger.warning("%d more lines were printed and not logged", self._dropped, extra=self._extra)
            self._on_dropped(self._dropped)
            self._dropped = 0
