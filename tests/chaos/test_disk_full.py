"""The promise about full disks at every step: one more page of space at every attempt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.disk_full import assert_works, full_disk_case, step_through_space

PLACES = ["instance", "instance/database", "instance/workflow_store", "instance/model_store", "instance/run"]


@pytest.mark.parametrize("place", PLACES)
def test_registration_is_whole_or_undone_at_every_write(
    tmp_path: Path, place: str, report: Callable[[str], None]
) -> None:
    """Whichever write is the first that finds no space, the answer is 507 and nothing stays."""
    with full_disk_case(tmp_path, place) as case:
        assert_works(case)
        refused = step_through_space(case, tmp_path / place, case.register, case.unregister, step_bytes=4096)
        assert_works(case)
    report(f"{place}: {refused} registrations refused with 507, then one registered; nothing stayed of the others")
