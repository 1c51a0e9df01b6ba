"""Figures as commands print them."""

import pytest

from wfmgmt.cli.remote.text import milliseconds


@pytest.mark.parametrize(
    ("time_ms", "shown"),
    [
        (None, "-"),
        (0.0, "0ms"),
        (0.5744, "0.574ms"),
        (12.34, "12.3ms"),
        (999.4, "999ms"),
        (999.7, "1000ms"),
        (61_070.2, "61070ms"),
    ],
)
def test_times_have_no_exponents(time_ms: float | None, shown: str) -> None:
    """However long they are; a time that was not measured is a dash."""
    assert milliseconds(time_ms) == shown
