"""The moves between states of operations."""

import pytest

from wfmgmt.domain.operations import LEGAL_MOVES, UNFINISHED, OperationState


@pytest.mark.parametrize("state", OperationState)
def test_final_states_have_no_successor(state: OperationState) -> None:
    """An operation that is done stays so, and all others go on."""
    assert state.is_done is (state not in LEGAL_MOVES) is (state not in UNFINISHED)


def test_states_name_where_they_come_from() -> None:
    """An UPDATE can name the states that a move is legal from."""
    assert OperationState.SUCCEEDED.predecessors() == (OperationState.QUEUED, OperationState.RUNNING)
    assert OperationState.CANCELLED.predecessors() == (OperationState.QUEUED, OperationState.RUNNING)
    assert OperationState.QUEUED.predecessors() == (OperationState.RUNNING,)
