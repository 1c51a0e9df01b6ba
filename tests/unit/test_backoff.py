"""Growing pauses."""

import pytest

from wfmgmt.backoff import Backoff


@pytest.mark.parametrize(
    ("worked_s", "pauses_s"),
    [
        pytest.param([0] * 10, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30], id="doubles up to 30 s"),
        pytest.param([0, 0, 29.9, 0], [0.1, 0.2, 0.4, 0.8], id="goes on after a short life"),
        pytest.param([0, 0, 30, 0], [0.1, 0.2, 0.1, 0.2], id="starts again after 30 s"),
    ],
)
def test_pauses_double_until_something_worked_for_long(worked_s: list[float], pauses_s: list[float]) -> None:
    """Each failure makes the next pause longer, up to a bound; a long life before it begins anew."""
    backoff = Backoff(0.1, 30, steady_s=30)
    assert [backoff.next_pause(worked_s=each_s) for each_s in worked_s] == pytest.approx(pauses_s)


def test_first_pause_is_at_most_the_longest() -> None:
    """Also when the first one that was asked for is longer than the longest."""
    assert Backoff(3, 2).next_pause() == 2


def test_reset_begins_anew() -> None:
    """After a success the pause is over, and the next failure has the first pause again."""
    backoff = Backoff(1, 8)
    backoff.next_pause()
    backoff.next_pause()
    backoff.reset()
    assert not backoff.is_pausing
    assert backoff.next_pause() == 1


def test_pause_ends_by_the_clock() -> None:
    """It counts from the failure; before the first one there is none."""
    times = iter([0.0, 100.0, 100.9, 101.0])
    backoff = Backoff(1, 8, clock=lambda: next(times))
    before = backoff.is_pausing
    backoff.next_pause()
    assert (before, backoff.is_pausing, backoff.is_pausing) == (False, True, False)
