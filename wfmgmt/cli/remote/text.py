"""What commands print for people: tables that fit the terminal, and lines without what a terminal would obey."""

import shutil
import sys
from collections.abc import Iterable, Sequence

from wfmgmt.client.traffic import Route
from wfmgmt.logs import escaped
from wfmgmt.settings import is_without_styles

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_GAP = "  "
#: From here on three digits would be written with an exponent.
_MAX_DIGITS_MS = 999.5


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows in columns; on a terminal the headings are bold, and lines end where the terminal does."""
    cells = [[escaped(str(cell)) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_GAP.join(map(str.ljust, row, widths)).rstrip() for row in cells]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]
        if not is_without_styles():
            lines[0] = f"{_BOLD}{lines[0]}{_PLAIN}"
    return "\n".join(lines)


def properties(**values: object) -> str:
    """Return names and values, one a line."""
    width = max(map(len, values)) + len(":")
    return "\n".join(f"{f'{name}:':<{width}} {escaped(str(value))}" for name, value in values.items())


def shares(routes: Iterable[Route]) -> str:
    """Return which version has which share, as it is typed, too."""
    return " ".join(f"{route.version}={route.weight}" for route in routes) or "-"


def milliseconds(time_ms: float | None) -> str:
    """Return a time with three digits, or whole milliseconds; a dash when there was nothing to be measured."""
    if time_ms is None:
        return "-"
    return f"{time_ms:.3g}ms" if time_ms < _MAX_DIGITS_MS else f"{time_ms:.0f}ms"
