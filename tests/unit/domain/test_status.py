"""The moves between statuses."""

import pytest

from wfmgmt.domain.status import LEGAL_MOVES, WorkflowStatus


def test_each_status_is_reached_in_one_way() -> None:
    """The table has no second way into a status, so an UPDATE can name the one it comes from."""
    targets = [target for _, target in LEGAL_MOVES]
    assert len(targets) == len(set(targets))
    assert WorkflowStatus.READY.predecessor() is WorkflowStatus.REGISTERING
    assert WorkflowStatus.UNREGISTERING.predecessor() is WorkflowStatus.READY


def test_nothing_moves_to_the_first_status() -> None:
    """A workflow starts as registering; moving there is a mistake in the program."""
    with pytest.raises(ValueError, match="no workflow moves to registering"):
        WorkflowStatus.REGISTERING.predecessor()
