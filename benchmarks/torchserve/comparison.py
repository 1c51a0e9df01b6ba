"""Figures of both servers side by side, and the table that shows them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.figures import shown

TORCHSERVE, WFMGMT = SERVERS = ("TorchServe 0.12.0", "wfmgmt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One thing, measured on both servers.

    Attributes:
        what: What was measured, and how.
        values: In `unit`, by the server's name; one that was not measured is not there.
        unit: Of the values.
        is_rate: Whether more is better; otherwise less is.
        at_least_times: The target, if it is how many times better wfmgmt has to be.
        at_most: The target, if it is an upper bound for wfmgmt alone.
    """

    what: str
    values: Mapping[str, float]
    unit: str
    is_rate: bool = False
    at_least_times: float | None = None
    at_most: float | None = None

    @property
    def times(self) -> float | None:
        """How many times better wfmgmt is; None when one of the values is missing or zero."""
        theirs, ours = self.values.get(TORCHSERVE), self.values.get(WFMGMT)
        if not theirs or not ours:
            return None
        return ours / theirs if self.is_rate else theirs / ours

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_least_times is not None:
            return f"≥ {shown(self.at_least_times)}x"
        return "none" if self.at_most is None else f"≤ {shown(self.at_most)} {self.unit}"

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without a target, or when nothing was measured that could meet it."""
        if self.at_most is not None and WFMGMT in self.values:
            return "met" if self.values[WFMGMT] <= self.at_most else "MISSED"
        if self.at_least_times is not None and self.times is not None:
            return "met" if self.times >= self.at_least_times else "MISSED"
        return ""

    def row(self) -> str:
        """Return its line of the table."""
        cells = [f"{shown(self.values[name])} {self.unit}" if name in self.values else "-" for name in SERVERS]
        times = f"{shown(self.times)}x" if self.times is not None else "-"
        return f"| {' | '.join((self.what, *cells, times, self.target, self.verdict))} |"


def table(comparisons: Iterable[Comparison]) -> str:
    """Return a Markdown table."""
    lines = [f"| figure | {' | '.join(SERVERS)} | ratio | target | |", "|---|---:|---:|---:|---:|---|"]
    return "\n".join([*lines, *(each.row() for each in comparisons)])
