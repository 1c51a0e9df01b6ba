"""The bound on refused tokens from one address."""

import mmap

import pytest

from wfmgmt.errors.access import TooManyFailedLogins
from wfmgmt.http.failed_logins import MAX_FAILED, FailedLogins


def test_address_is_held_back_for_the_rest_of_the_minute() -> None:
    """From the eleventh on, whichever process counts; others are not."""
    now, memory = [600.0], mmap.mmap(-1, 4096 * 8)
    counters = [FailedLogins(memory, clock=lambda: now[0]) for _ in range(2)]
    for number in range(MAX_FAILED):
        counters[number % 2].record("10.0.0.1")
    now[0] = 635.5
    for counter in counters:
        with pytest.raises(TooManyFailedLogins) as held_back:
            counter.record("10.0.0.1")
        assert held_back.value.retry_after_s == 25
    counters[0].record("10.0.0.2")
    now[0] = 660.0
    counters[0].record("10.0.0.1")


def test_counts_do_not_outgrow_their_place() -> None:
    """However many come in a minute."""
    failed = FailedLogins(clock=lambda: 0.0)
    refusals = 0
    for _ in range(1000):
        try:
            failed.record("")
        except TooManyFailedLogins:
            refusals += 1
    assert refusals == 1000 - MAX_FAILED
