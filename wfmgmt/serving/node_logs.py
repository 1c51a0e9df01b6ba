"""The last lines of the log about each node, kept in memory for the API."""

import logging
from collections import deque
from collections.abc import Iterator

from wfmgmt.control.messages import LogLine, LogReport
from wfmgmt.logs import TextFormatter, traceback_text

MAX_LINES = 200
#: Bytes for one node, and for all; beyond these the nodes go of which nothing was logged for longest.
MAX_NODE_BYTES, MAX_BYTES = 48 * 1024, 64 * 1024 * 1024
#: Longest message, and end of its traceback, that are kept.
MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS = 1_000, 3_000
#: What each line costs beside its text.
LINE_BYTES = 100
#: What is kept of each of these levels is the last line at least.
_KEPT_LEVELS = frozenset({"warning", "error", "critical"})


class NodeLogs(logging.Handler):
    """Keeps the last records that name workflow, version and node, as they reach the log.

    Args:
        max_bytes: Bytes for all nodes.
    """

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._formatter = TextFormatter()
        #: By workflow, version and node; the one that got a line last is the last one.
        self._logs: dict[tuple[str, str, str], _NodeLog] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, if it is about a node."""
        fields = record.__dict__
        key = (fields.get("workflow") or "", fields.get("version") or "", fields.get("node") or "")
        if not all(key):
            return
        log = self._logs.pop(key) if key in self._logs else _NodeLog()
        self._logs[key] = log
        self._bytes -= log.size_bytes
        log.add(self._line(record))
        self._bytes += log.size_bytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._logs.pop(next(iter(self._logs))).size_bytes

    def _line(self, record: logging.LogRecord) -> str:
        text = record.getMessage()[:MAX_MESSAGE_CHARS]
        if traceback := traceback_text(self._formatter, record):
            text = f"{text}\n{traceback[-MAX_TRACEBACK_CHARS:]}"
        pid = record.__dict__.get("pid") or 0
        return f"{self._formatter.formatTime(record)} {pid} {record.levelno} {text}"

    def report(
        self, workflow: str, version: str, node: str | None, lines: int, *, per_node: int | None = None
    ) -> LogReport:
        """Return the last lines about a version, or about one node of it, in the order of their times.

        Args:
            workflow: The workflow.
            version: Its version.
            node: The only node; all of them unless given.
            lines: Lines at most.
            per_node: Lines of each node at most, and its last warning and error if those are none of them.
        """
        self.acquire()
        try:
            found = [
                line
                for (its_workflow, its_version, its_node), log in self._logs.items()
                if (its_workflow, its_version) == (workflow, version) and node in (None, its_node)
                for line in _newest(list(log.read(its_node)), per_node)
            ]
        finally:
            self.release()
        found.sort(key=lambda line: line.at)
        return LogReport(lines=tuple(found[-lines:] if lines else ()))


class _NodeLog:
    """The last lines about one node. Each is one text: its parts for themselves would take twice the memory."""

    __slots__ = ("_lines", "size_bytes")

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self.size_bytes = 0

    def add(self, line: str) -> None:
        """Add a line, in the place of others when there are too many."""
        self._lines.append(line)
        self.size_bytes += _bytes(line)
        while len(self._lines) > MAX_LINES or self.size_bytes > MAX_NODE_BYTES:
            self.size_bytes -= _bytes(self._lines.popleft())

    def read(self, node: str) -> Iterator[LogLine]:
        """Yield the lines."""
        for line in self._lines:
            at, pid, level, text = line.split(" ", 3)
            yield LogLine(
                at=at, node=node, pid=int(pid) or None, level=logging.getLevelName(int(level)).lower(), text=text
            )


def _newest(lines: list[LogLine], most: int | None) -> list[LogLine]:
    """Return the last lines, and before them the last warning and error; all lines unless there is a bound."""
    if most is None:
        return lines
    last = {line.level: line for line in lines if line.level in _KEPT_LEVELS}.values()
    return [line for line in lines[:-most] if any(line is each for each in last)] + lines[-most:]


def _bytes(line: str) -> int:
    """Return the bytes that a line takes, at most: a character takes four where one of them is beyond the others."""
    return LINE_BYTES + len(line) * (1 if line.isascii() else 4)
