"""The bound on refused tokens from one address."""

import mmap

import pytest

from wfmgmt.domain.tokens import new_token
from wfmgmt.errors.access import TooManyFailedLogins
from wfmgmt.http.failed_logins import MAX_FAILED, FailedLogins, reason_of


def test_address_is_held_back_for_the_rest_of_the_minute() -> None:
    """From the eleventh on, whichever process counts; others are not."""
    now, memory = [600.0], mmap.mmap(-1, 4096 * 8)
    counters = [FailedLogins(memory, clock=lambda: now[0]) for _ in range(2)]
    for number in range(MAX_FAILED):
        counters[number % 2].record("10.0.0.1", "unknown")
    now[0] = 635.5
    for counter in counters:
        with pytest.raises(TooManyFailedLogins) as held_back:
            counter.record("10.0.0.1", "unknown")
        assert held_back.value.retry_after_s == 25
    counters[0].record("10.0.0.2", "unknown")
    now[0] = 660.0
    counters[0].record("10.0.0.1", "unknown")


def test_counts_do_not_outgrow_their_place() -> None:
    """However many come in a minute."""
    failed = FailedLogins(clock=lambda: 0.0)
    refusals = 0
    for _ in range(1000):
        try:
            failed.record("", "unknown")
        except TooManyFailedLogins:
            refusals += 1
    assert refusals == 1000 - MAX_FAILED


def test_refused_tokens_are_counted_and_make_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """By address and reason, those that are held back, too."""
    counted: list[str] = []
    failed = FailedLogins(on_refused=counted.append, clock=lambda: 0.0)
    for _ in range(MAX_FAILED):
        failed.record("10.0.0.1", reason_of("x"))
    with pytest.raises(TooManyFailedLogins):
        failed.record("10.0.0.1", reason_of(new_token()))
    assert counted == ["malformed"] * MAX_FAILED + ["unknown"]
    refused = "refused a request from 10.0.0.1: its token is"
    assert caplog.messages == [
        f"{refused} malformed",
        f"{refused} unknown ({MAX_FAILED - 1} more were refused since the last such line)",
    ]
