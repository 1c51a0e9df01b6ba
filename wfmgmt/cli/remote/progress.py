"""How far long work is, on standard error: one line that is redrawn on a terminal, a line for each change elsewhere."""

import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Self

from wfmgmt.client.operations import Operation, Progress
from wfmgmt.logs import escaped
from wfmgmt.settings import is_plain_terminal

#: What operations count, whose changes are few; anything else is shown now and then.
WORKERS = "workers"
_CLEAR_LINE = "\r\x1b[K"
_KIB, _MIB = 1024, 1024 * 1024
_BAR_CHARS = 20
#: How long a command may take before the first line, between two of them, and between two elsewhere of one phase.
_QUIET_S, _REDRAW_S, _LINES_S = 0.5, 0.2, 10.0
_USUAL_COLUMNS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far something is.

    Attributes:
        phase: What it is at.
        bytes: That are done.
        total_bytes: Of so many; None while that is not known.
        ready: Workers that are up.
        wanted: Of so many; 0 while there are none to come.
        unit: What `ready` and `wanted` count.
    """

    phase: str
    bytes: int = 0
    total_bytes: int | None = None
    ready: int = 0
    wanted: int = 0
    unit: str = WORKERS

    @property
    def counts(self) -> tuple[int, int]:
        """How many there are of how many."""
        return self.ready, self.wanted

    @property
    def text(self) -> str:
        """Bytes, then workers once there are some to come."""
        parts = []
        if self.bytes:
            parts.append(_of_total(self.bytes, self.total_bytes))
        if self.wanted:
            parts.append(f"{self.ready}/{self.wanted} {self.unit}")
        return " ".join(parts) or "-"

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1: of the workers once there are some to come, else of the bytes."""
        done, total = (self.ready, self.wanted) if self.wanted else (self.bytes, self.total_bytes)
        return min(1.0, done / total) if total else None


def _of_total(done: int, total: int | None) -> str:
    """Return bytes in the unit in which the larger number is a few digits: `3.0/6.0MiB`, `0.5/1.2KiB`."""
    unit, name = (_KIB, "KiB") if max(done, total or 0) < _MIB else (_MIB, "MiB")
    return f"{done / unit:.1f}/{'?' if total is None else f'{total / unit:.1f}'}{name}"


def step(phase: str, progress: Progress) -> Step:
    """Return how far an operation is."""
    nodes = progress.nodes.values()
    return Step(
        phase=phase,
        bytes=progress.bytes,
        total_bytes=progress.total_bytes,
        ready=sum(node.ready for node in nodes),
        wanted=sum(node.wanted for node in nodes),
    )


class ProgressLine:
    """The line of one command, from its begin to its end; nothing of it stays on a terminal.

    Args:
        what: What is waited for until something else is known.
    """

    def __init__(self, what: str) -> None:
        self._is_drawn = sys.stderr.isatty() and not is_plain_terminal()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._began = time.monotonic()
        self._step, self._first = Step(phase=what), (self._began, 0)
        self._printed_at, self._is_dirty = self._began, False

    def __enter__(self) -> Self:
        if self._is_drawn:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._is_drawn:
            self._thread.join()
        self.clear()

    def clear(self) -> None:
        """Leave nothing of the line, so that something else can be printed."""
        with self._lock:
            if self._is_dirty:
                print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
                self._is_dirty = False

    def show(self, value: object) -> None:
        """Show how far an operation is, or something else that has steps; nothing about other values."""
        if isinstance(value, Operation) and not value.done:
            value = step(value.phase or value.state, value.progress)
        if not isinstance(value, Step):
            return
        now = time.monotonic()
        with self._lock:
            before, self._step = self._step, value
            if before.phase != value.phase or value.bytes < before.bytes:
                self._first = (now, value.bytes)
        is_other = before.phase != value.phase or (value.unit == WORKERS and before.counts != value.counts)
        if not self._is_drawn and (is_other or (before != value and now - self._printed_at >= _LINES_S)):
            self._printed_at = now
            print(escaped(f"{value.phase}: {value.text}"), file=sys.stderr, flush=True)

    def _draw(self) -> None:
        pause_s = _QUIET_S
        while not self._done.wait(pause_s):
            pause_s = _REDRAW_S
            with self._lock:
                print(_CLEAR_LINE + self._line(), end="", file=sys.stderr, flush=True)
                self._is_dirty = True

    def _line(self) -> str:
        """Return the line as it fits the terminal now."""
        current, (since, first_bytes), now = self._step, self._first, time.monotonic()
        parts = [escaped(current.phase)]
        if (share := current.share) is not None:
            full = int(share * _BAR_CHARS)
            parts.append(f"[{'#' * full}{'-' * (_BAR_CHARS - full)}]")
        if current.bytes or current.wanted:
            parts.append(current.text)
        if current.bytes > first_bytes:
            parts.append(f"{(current.bytes - first_bytes) / _MIB / (now - since):.1f}MiB/s")
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
        return f"{' '.join(parts)} … {now - self._began:.0f} s"[: columns - 1]
