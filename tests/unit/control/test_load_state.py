"""The states of a workflow in the runtime, and the events that move it."""

import itertools

import pytest

from wfmgmt.control.load_state import LoadEvent, LoadState

#: What each event makes of the states, in their order; a dash where it cannot happen.
TABLE = """
state      CAME_UP  FAILED   REGISTERED  RETRIED    LEFT     GONE
LOADING    LOADED   FAILED   RESTORING   -          LEAVING  -
LOADED     -        -        SERVING     -          LEAVING  -
FAILED     -        -        DOWN        -          LEAVING  -
RESTORING  SERVING  DOWN     RESTORING   -          LEAVING  -
SERVING    -        -        SERVING     -          LEAVING  -
DOWN       SERVING  DOWN     DOWN        RESTORING  LEAVING  -
LEAVING    LEAVING  LEAVING  LEAVING     -          LEAVING  ABSENT
ABSENT     -        -        -           -          ABSENT   ABSENT
"""
(_, *EVENTS), *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(state, event, target) for state, *targets in ROWS for event, target in zip(EVENTS, targets, strict=True)]


@pytest.mark.parametrize(("state", "event", "target"), CASES)
def test_event_moves_a_workflow_as_the_table_says(state: str, event: str, target: str) -> None:
    """A move that the table does not have raises, and names state and event."""
    before, happened = LoadState[state], LoadEvent[event]
    if target == "-":
        with pytest.raises(ValueError, match=f"a workflow that is {before.value} cannot have {happened.value}"):
            before.after(happened)
    else:
        assert before.after(happened) is LoadState[target]


def test_table_is_complete() -> None:
    """No state and no event is missing in it."""
    assert {(state, event) for state, event, _ in CASES} == set(
        itertools.product(LoadState.__members__, LoadEvent.__members__)
    )


def test_clients_know_only_of_what_is_registered() -> None:
    """What loads for a registration is not shown, nor what is being taken down."""
    assert {state for state in LoadState if state.is_registered} == {
        LoadState.RESTORING,
        LoadState.SERVING,
        LoadState.DOWN,
    }


def test_registration_waits_until_a_load_is_over() -> None:
    """A workflow that is being taken down is waited for until it is gone."""
    assert {state for state in LoadState if not state.is_final} == {
        LoadState.LOADING,
        LoadState.RESTORING,
        LoadState.LEAVING,
    }
