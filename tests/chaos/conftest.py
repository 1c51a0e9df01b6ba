"""How long the campaigns are, and where their figures go."""

import os
import sys
from collections.abc import Callable

import pytest


@pytest.fixture(name="rounds")
def _rounds() -> int:
    """Return the rounds of one campaign; `CHAOS_ROUNDS=20 make chaos` makes it short."""
    return int(os.environ.get("CHAOS_ROUNDS", "200"))


@pytest.fixture(name="seed")
def _seed() -> int:
    """Return the start of all that is random, to be repeated with `CHAOS_SEED`."""
    return int(os.environ.get("CHAOS_SEED", "1"))


@pytest.fixture(name="report")
def _report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return what shows a line of figures at once."""

    def report(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return report
