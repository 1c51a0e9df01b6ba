"""Who may send requests to the inference address."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.runtime_parts import FakeRegistry
from tests.support.tokens import make_token
from wfmgmt.domain.access import Role
from wfmgmt.domain.tokens import new_token
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.errors.access import CredentialsRefused, Forbidden, TooManyFailedLogins
from wfmgmt.http.failed_logins import FailedLogins
from wfmgmt.serving.inference_tokens import READ_S, InferenceTokens

SECRET = new_token()
NOW = 1_800_000_000.0
SHOWN = [f"Bearer {SECRET}"]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def tokens_of(registry: FakeRegistry, clock: Clock | None = None, **settings: Any) -> InferenceTokens:
    """Return what decides, before its first look."""
    defaults = {"anonymous": None, "until_first_token": False, "has_open_predictions": False, "has_open_metrics": False}
    return InferenceTokens(registry, failed=FailedLogins(), clock=clock or Clock(), **{**defaults, **settings})


def test_token_counts_once_it_has_been_read() -> None:
    """Before that nothing is known of any, which is not the client's fault."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET, role=Role.PREDICT)]
    tokens = tokens_of(registry)
    with pytest.raises(RegistryUnavailable):
        tokens.caller(SHOWN, str)
    asyncio.run(tokens.look())
    caller = tokens.caller(SHOWN, str)
    assert (caller.actor, caller.role) == ("token:ci", Role.PREDICT)
    caller.check(Role.PREDICT)
    with pytest.raises(Forbidden, match=r"token:ci has the role predict, which is not enough; it takes view\."):
        caller.check(Role.VIEW)


def test_revoked_token_is_refused_after_the_next_look() -> None:
    """The registry's number of changes says that there is something to read."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET)]
    tokens = tokens_of(registry)
    asyncio.run(tokens.look())
    registry.accepted = []
    asyncio.run(tokens.look())
    tokens.caller(SHOWN, str)
    registry.change += 1
    asyncio.run(tokens.look())
    with pytest.raises(CredentialsRefused):
        tokens.caller(SHOWN, str)


def test_tokens_are_read_again_now_and_then() -> None:
    """Rows may be changed by hand, too."""
    registry, clock = FakeRegistry(), Clock()
    tokens = tokens_of(registry, clock)
    for moment in (0, 1, READ_S - 1, READ_S, READ_S + 1):
        clock.now = NOW + moment
        asyncio.run(tokens.look())
    assert registry.reads_of_tokens == 2


def test_token_expires_without_a_look() -> None:
    """By the clock."""
    registry, clock = FakeRegistry(), Clock()
    registry.accepted = [make_token("ci", SECRET, expires_at="2027-01-15T08:00:10.000000Z")]
    tokens = tokens_of(registry, clock)
    asyncio.run(tokens.look())
    tokens.caller(SHOWN, str)
    clock.now = NOW + 10
    with pytest.raises(CredentialsRefused):
        tokens.caller(SHOWN, str)


def test_token_may_be_shown_in_many_ways() -> None:
    """More than are remembered; each is refused once the token is revoked."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET)]
    tokens = tokens_of(registry)
    asyncio.run(tokens.look())
    shown = [[f"bearer {' ' * number}{SECRET}"] for number in range(1100)]
    assert all(tokens.caller(each, str).is_known for each in shown * 2)
    registry.accepted, registry.change = [], 1
    asyncio.run(tokens.look())
    for each in shown[0], shown[-1]:
        with pytest.raises(CredentialsRefused):
            tokens.caller(each, str)


def test_use_of_a_token_is_recorded_later() -> None:
    """Once for many requests, and the next time when the database cannot be written."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET, id=7)]
    tokens = tokens_of(registry)
    asyncio.run(tokens.look())
    for _ in range(3):
        tokens.caller(SHOWN, str)
    registry.problem = "locked"
    asyncio.run(tokens.record_uses())
    assert registry.used == []
    registry.problem = ""
    for _ in range(2):
        asyncio.run(tokens.record_uses())
    assert registry.used == [7]


def test_revoked_token_is_refused_while_uses_wait_to_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may hold the write lock for long."""
    registry, clock, is_begun, is_free = FakeRegistry(), Clock(), threading.Event(), threading.Event()
    registry.accepted = [make_token("ci", SECRET)]
    tokens = tokens_of(registry, clock)

    def wait_for_the_lock(_: Sequence[int]) -> None:
        is_begun.set()
        is_free.wait(60)

    monkeypatch.setattr(registry, "record_uses", wait_for_the_lock)

    async def revoke_meanwhile() -> None:
        await tokens.look()
        tokens.caller(SHOWN, str)
        recording = asyncio.create_task(tokens.record_uses())
        await asyncio.to_thread(is_begun.wait, 60)
        tokens.caller(SHOWN, str)
        registry.accepted, registry.change = [], 1
        clock.now += READ_S
        await tokens.look()
        with pytest.raises(CredentialsRefused):
            tokens.caller(SHOWN, str)
        assert not recording.done()
        is_free.set()
        await recording

    asyncio.run(revoke_meanwhile())


@pytest.mark.parametrize(
    "shown",
    [
        [SECRET],
        [f"Basic {SECRET}"],
        ["Bearer"],
        [""],
        [f"Bearer {SECRET}x"],
        [f"Bearer {SECRET.swapcase()}"],
        [*SHOWN, *SHOWN],
    ],
    ids=["bare", "basic", "nothing", "empty", "longer", "other case", "twice"],
)
def test_what_is_no_token_is_refused(shown: list[str]) -> None:
    """And held back after some."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET)]
    tokens = tokens_of(registry)
    asyncio.run(tokens.look())
    for _ in range(10):
        with pytest.raises(CredentialsRefused):
            tokens.caller(shown, lambda: "10.0.0.1")
    with pytest.raises(TooManyFailedLogins):
        tokens.caller(shown, lambda: "10.0.0.1")
    assert tokens.caller(SHOWN, lambda: "10.0.0.1").is_known


def test_everything_is_open_until_there_is_a_token() -> None:
    """And not before that is known."""
    registry = FakeRegistry()
    tokens = tokens_of(registry, until_first_token=True)
    assert not tokens.caller([], str).may(Role.VIEW)
    asyncio.run(tokens.look())
    assert tokens.caller([], str).may(Role.ADMIN)
    registry.accepted, registry.change = [make_token("ci")], 1
    asyncio.run(tokens.look())
    with pytest.raises(CredentialsRefused):
        tokens.caller([], str).check(Role.VIEW)


def test_known_tokens_stay_while_the_database_cannot_be_read() -> None:
    """Predictions go on without it."""
    registry = FakeRegistry()
    registry.accepted = [make_token("ci", SECRET)]
    tokens = tokens_of(registry)
    assert asyncio.run(tokens.try_to_look())
    registry.problem = "down"
    assert not asyncio.run(tokens.try_to_look())
    assert tokens.caller(SHOWN, str).is_known
