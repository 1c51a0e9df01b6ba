"""The promise about operations in full: what was acknowledged ends, through 200 kills."""

from collections.abc import Callable
from pathlib import Path

from tests.support.operation_kills import kill_and_check, operation_campaign


def test_acknowledged_operations_end_through_any_kill(
    tmp_path: Path, rounds: int, seed: int, report: Callable[[str], None]
) -> None:
    """As succeeded, failed or cancelled, with the reason, and nothing else is left of them."""
    with operation_campaign(tmp_path, seed) as campaign:
        kill_and_check(campaign, rounds)
        report(f"no operation lost: {campaign.figures()}")
