"""Figures with their targets, and the table that shows them."""

import importlib.metadata
import os
import platform
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value.

    Attributes:
        what: What was measured, and how.
        value: In `unit`.
        unit: Of value and target.
        at_most: The target, if it is an upper bound.
        at_least: The target, if it is a lower bound.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        """The target in words; "none" for a value that is only informative."""
        if self.at_most is not None:
            return f"≤ {shown(self.at_most)} {self.unit}"
        return "none" if self.at_least is None else f"≥ {shown(self.at_least)} {self.unit}"

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.at_most is None and self.at_least is None:
            return ""
        is_met = (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )
        return "met" if is_met else "MISSED"


def shown(value: float) -> str:
    """Return a value with the digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - digits after that are noise


def table(figures: Iterable[Figure]) -> str:
    """Return a Markdown table."""
    lines = ["| figure | value | target | |", "|---|---:|---:|---|"]
    lines += [f"| {each.what} | {shown(each.value)} {each.unit} | {each.target} | {each.verdict} |" for each in figures]
    return "\n".join(lines)


def machine() -> str:
    """Return what the figures depend on: processor, cores, load and versions."""
    cpu_info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in _lines(cpu_info) if line.startswith("model name")]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("flask", "gunicorn", "sqlalchemy")]
    return (
        f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the start; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {', '.join(versions)}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
