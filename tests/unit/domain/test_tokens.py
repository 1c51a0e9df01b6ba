"""Tokens: their form, their digests and their times."""

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import make_token
from wfmgmt.domain.tokens import expiry, is_token, new_token, token_prefix, token_sha256

NOW = datetime(2026, 11, 27, tzinfo=UTC)
EXAMPLE = "wfm_0123456789ABCDEFGHIJabcdefghij4Us3aw"


def test_token_has_the_form_that_scanners_look_for() -> None:
    """A prefix, 30 characters and a checksum; each is another one."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch("wfm_[0-9A-Za-z]{36}", token) and is_token(token) for token in tokens)


def test_checksum_is_that_of_the_random_part() -> None:
    """CRC-32 in base 62; `0123456789ABCDEFGHIJabcdefghij` has 0xf59cf7ae there."""
    assert is_token(EXAMPLE)


@given(st.text(max_size=60))
def test_text_is_no_token(text: str) -> None:
    """Whatever it has in it."""
    assert not is_token(text)


@given(st.integers(4, 39), st.characters(codec="ascii"))
def test_token_with_another_character_is_none(place: int, character: str) -> None:
    """So what was mistyped is refused without a look into the database."""
    changed = EXAMPLE[:place] + character + EXAMPLE[place + 1 :]
    assert is_token(changed) == (changed == EXAMPLE)


def test_only_a_part_of_a_token_is_shown() -> None:
    """Its digest says nothing about the rest."""
    assert token_prefix(EXAMPLE) == "wfm_0123"
    assert re.fullmatch("[0-9a-f]{64}", token_sha256(EXAMPLE))


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000)], ids=str
)
def test_time_to_live_is_read(text: str, seconds: int) -> None:
    """With one of four units."""
    assert (expiry(text, NOW) - NOW).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "-1d", "1.5d", "1w", "1d2h", "9999999d", " 1d"])
def test_what_is_no_time_to_live_is_refused(text: str) -> None:
    """The message says what is expected."""
    with pytest.raises(ValueError, match="expected a time like 90d"):
        expiry(text, NOW)


def test_time_to_live_beyond_the_calendar_is_refused() -> None:
    """Dates end with the year 9999."""
    with pytest.raises(ValueError, match="after the year 9999"):
        expiry("999999d", datetime(9000, 1, 1, tzinfo=UTC))


def test_token_says_who_shows_it() -> None:
    """Under its name."""
    token = make_token("ci", expires_at="2026-11-27T00:00:00.000000Z")
    assert (token.caller.actor, token.caller.is_known) == ("token:ci", True)
    assert token.expires_at_s == NOW.timestamp()
    assert make_token("ci").expires_at_s == math.inf
