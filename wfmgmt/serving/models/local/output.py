"""What handlers print, on its way into the log."""

import asyncio
import logging
import time
from collections.abc import Callable

MAX_LINE_BYTES = 8 * 1024
MAX_LINES_PER_SECOND = 500

_logger = logging.getLogger("wfmgmt.handler")


class OutputLog(asyncio.Protocol):
    """Reads the log pipe of one worker and logs its lines.

    A line that is longer than `MAX_LINE_BYTES` is cut, and of more than `MAX_LINES_PER_SECOND` lines within a second
    the rest is only counted: a handler that floods its output is slowed down by nothing and fills nobody's disk.

    Attributes:
        closed: Done once everything that was printed has been logged.
    """

    def __init__(self, *, workflow: str, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._extra = {"workflow": workflow, "node": node}
        self._clock = clock
        self._line = bytearray()
        self._second = clock()
        self._logged = 0
        self._dropped = 0

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

    def log_error(self, text: str) -> None:
        """Log something about the worker itself, such as the traceback of its failure."""
        _logger.error("%s", text, extra=self._extra)

    def _append(self, part: bytes) -> None:
        """Keep one byte more than is logged, to tell a cut line from one that just fits."""
        self._line += part[: MAX_LINE_BYTES + 1 - len(self._line)]

    def _log_line(self) -> None:
        now = self._clock()
        if now - self._second >= 1:
            self._report_dropped()
            self._second = now
            self._logged = 0
        if self._logged < MAX_LINES_PER_SECOND:
            self._logged += 1
            cut = " … (cut)" if len(self._line) > MAX_LINE_BYTES else ""
            text = self._line[:MAX_LINE_BYTES].decode(errors="backslashreplace")
            _logger.info("%s%s", text, cut, extra=self._extra)
        else:
            self._dropped += 1
        self._line.clear()

    def _report_dropped(self) -> None:
        if self._dropped:
            _logger.warning("%d more lines were printed and not logged", self._dropped, extra=self._extra)
            self._dropped = 0
