"""When a rollout takes its next step, and when its guard gives the share back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.releases import Guard, Mirror, Release, ReleaseKind, Route, RoutingTable, Step
from wfmgmt.domain.rollouts import (
    NextRelease,
    Outcome,
    RolloutAction,
    WindowFigures,
    acted,
    advanced,
    given_back,
    judge,
    next_release,
    paused,
    promoted,
    resumed,
    when_due,
    with_all_to,
)
from wfmgmt.errors import NoRollout

STEPS = (Step(weight=10, for_s=300), Step(weight=50, for_s=600), Step(weight=100))
MIRROR = Mirror(version="3.0", percent=5)
FINE = WindowFigures(requests=100, failures=0, p99_ms=10.0)


def table(weight: int = 10, *, guard: Guard | None = None, steps: tuple[Step, ...] = STEPS) -> RoutingTable:
    """Return a table whose candidate is 2.0 and whose incumbent is 1.0."""
    routes = (Route(version="2.0", weight=weight), Route(version="1.0", weight=100 - weight))
    return RoutingTable(routes=routes, mirror=MIRROR, sticky="x-user-id", guard=guard, steps=steps)


def release(of: RoutingTable) -> Release:
    """Return a release made at noon."""
    return Release(
        number=2, at="2026-01-31T12:00:00.000000Z", actor="a", reason="", kind=ReleaseKind.TRAFFIC, previous=1, table=of
    )


def figures(requests: int, failures: int = 0, p99_ms: float | None = 10.0) -> WindowFigures:
    """Return what a version did."""
    return WindowFigures(requests=requests, failures=failures, p99_ms=p99_ms)


@pytest.mark.parametrize(
    ("guard", "newer", "older", "expected"),
    [
        (Guard(max_error_rate=0.05), figures(49, 49), FINE, Outcome.INCONCLUSIVE),
        (Guard(max_error_rate=0.05), figures(0, 0, None), FINE, Outcome.INCONCLUSIVE),
        (Guard(max_error_rate=0.05), figures(50, 3), FINE, Outcome.TRIPPED),
        (Guard(max_error_rate=0.05), figures(100, 5), FINE, Outcome.PASSED),
        (Guard(max_error_rate=0.05), figures(100, 6), figures(0), Outcome.TRIPPED),
        (Guard(max_error_rate=0.05), figures(100, 5), figures(0), Outcome.PASSED),
        (Guard(max_error_rate=0), figures(100, 0), FINE, Outcome.PASSED),
        (Guard(max_error_rate=0), figures(100, 1), FINE, Outcome.TRIPPED),
        (Guard(max_error_rate_over=0.02), figures(100, 7), figures(100, 5), Outcome.PASSED),
        (Guard(max_error_rate_over=0.02), figures(100, 8), figures(100, 5), Outcome.TRIPPED),
        (Guard(max_error_rate_over=0.02), figures(100, 90), figures(49), Outcome.INCONCLUSIVE),
        (Guard(max_latency_ratio=2.0), figures(100, p99_ms=20.0), FINE, Outcome.PASSED),
        (Guard(max_latency_ratio=2.0), figures(100, p99_ms=20.1), FINE, Outcome.TRIPPED),
        (Guard(max_latency_ratio=2.0), figures(100, p99_ms=99.0), figures(49), Outcome.INCONCLUSIVE),
        (Guard(max_latency_ratio=2.0), figures(100, p99_ms=None), FINE, Outcome.INCONCLUSIVE),
        (Guard(max_latency_ratio=2.0), figures(100, p99_ms=99.0), figures(100, p99_ms=0.0), Outcome.INCONCLUSIVE),
        (Guard(max_error_rate=0.05, max_latency_ratio=2.0), figures(100, 20), figures(0), Outcome.TRIPPED),
        (Guard(max_error_rate=0.05, max_latency_ratio=2.0), figures(100, 0), figures(0), Outcome.INCONCLUSIVE),
        (Guard(min_requests=5, max_error_rate=0.05), figures(5, 1), figures(0), Outcome.TRIPPED),
        (None, figures(0), FINE, Outcome.INCONCLUSIVE),
        (None, figures(1, 1), figures(0), Outcome.PASSED),
    ],
    ids=[
        "too few",
        "none",
        "beyond the rate",
        "at the rate",
        "beyond the rate, idle incumbent",
        "at the rate, idle incumbent",
        "none may fail, none does",
        "none may fail, one does",
        "at the rate over the incumbent's",
        "beyond the rate over the incumbent's",
        "incumbent with too few for the rate",
        "at the ratio",
        "beyond the ratio",
        "incumbent with too few for the ratio",
        "no time of the candidate",
        "incumbent without measurable time",
        "absolute bound beside a relative one, exceeded",
        "absolute bound beside a relative one, kept",
        "fewer are enough",
        "no guard, no requests",
        "no guard, one request",
    ],
)
def test_guard_judges_by_its_bounds(
    guard: Guard | None, newer: WindowFigures, older: WindowFigures, expected: Outcome
) -> None:
    """A bound counts once there are enough requests; one that is relative needs them of the incumbent, too."""
    assert judge(table(guard=guard), newer, older).outcome is expected


@pytest.mark.parametrize(
    ("newer", "older", "reason"),
    [
        (figures(60, 12), FINE, "2.0: 20 % of its requests failed, maxErrorRate allows 5 %."),
        (
            figures(60, 12, 30.0),
            FINE,
            (
                "2.0: 20 % of its requests failed, maxErrorRate allows 5 %; "
                "its p99 is 30 ms, maxLatencyRatio allows 20 ms."
            ),
        ),
        (figures(7), FINE, "2.0 had 7 requests within 60 s, where it takes 50."),
        (
            figures(60),
            figures(7),
            "2.0 cannot be compared with 1.0, which had 7 requests within 60 s, where it takes 50.",
        ),
        (figures(60), FINE, "2.0 is within its bounds."),
    ],
    ids=["one bound", "two bounds", "too few", "incumbent with too few", "passed"],
)
def test_verdict_gives_its_reason(newer: WindowFigures, older: WindowFigures, reason: str) -> None:
    """The sentence goes into the release, so it names the version, what was seen and what is allowed."""
    guard = Guard(max_error_rate=0.05, max_latency_ratio=2.0)
    assert judge(table(guard=guard), newer, older).reason == reason


def test_verdict_has_the_figures_it_rests_on() -> None:
    """The audit shows them beside the bounds; what cannot be compared is null."""
    guard = Guard(window_s=30, max_error_rate=0.05, max_error_rate_over=0.02, max_latency_ratio=2.0)
    assert judge(table(guard=guard), figures(60, 12, 12.5), figures(3, 1, None)).figures == {
        "windowSeconds": 30,
        "candidate": {"version": "2.0", "requests": 60, "failures": 12, "p99Ms": 12.5},
        "incumbent": {"version": "1.0", "requests": 3, "failures": 1, "p99Ms": None},
        "bounds": {
            "maxErrorRate": {"seen": 0.2, "allowed": 0.05},
            "maxErrorRateOver": {"seen": 0.2, "allowed": None},
            "maxLatencyRatio": {"seen": 12.5, "allowed": None},
        },
    }


@given(requests=st.integers(50, 10_000), failures=st.integers(0, 10_000), rate=st.floats(0, 1))
def test_absolute_bound_trips_exactly_beyond_it(requests: int, failures: int, rate: float) -> None:
    """Whatever the incumbent does."""
    newer = figures(requests, min(failures, requests))
    expected = Outcome.TRIPPED if newer.error_rate > rate + 1e-9 else Outcome.PASSED
    assert judge(table(guard=Guard(max_error_rate=rate)), newer, figures(0)).outcome is expected


def test_steps_lead_to_the_whole() -> None:
    """Each step moves the share, the last one ends guard and steps; mirror and sticky header stay."""
    first = table(guard=Guard(max_error_rate=0.05))
    second = advanced(first)
    assert second == replace(
        first, routes=(Route(version="2.0", weight=50), Route(version="1.0", weight=50)), steps=STEPS[1:]
    )
    assert advanced(second) == RoutingTable(
        routes=(Route(version="2.0", weight=100),), mirror=MIRROR, sticky="x-user-id"
    )


def test_promoted_candidate_has_everything() -> None:
    """Nothing of the rollout is left."""
    assert promoted(paused(table(guard=Guard(max_error_rate=0.05)))) == RoutingTable(
        routes=(Route(version="2.0", weight=100),), mirror=MIRROR, sticky="x-user-id"
    )


def test_share_that_is_given_back_is_the_incumbents() -> None:
    """Nothing of the rollout is left."""
    assert given_back(paused(table(guard=Guard(max_error_rate=0.05)))) == RoutingTable(
        routes=(Route(version="1.0", weight=100),), mirror=MIRROR, sticky="x-user-id"
    )


def test_mirrored_version_that_gets_everything_is_no_mirror_any_more() -> None:
    """It would get copies of what it answers itself."""
    assert with_all_to(table(), "3.0") == RoutingTable(routes=(Route(version="3.0", weight=100),), sticky="x-user-id")


def test_step_is_due_after_its_seconds() -> None:
    """Time counts from the release, so it survives a restart."""
    assert when_due(release(table())) == datetime(2026, 1, 31, 12, 5, tzinfo=UTC)
    assert when_due(release(advanced(table()))) == datetime(2026, 1, 31, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "of",
    [paused(table()), promoted(table()), table(guard=Guard(max_error_rate=0.05), steps=()), RoutingTable()],
    ids=["paused", "ended", "guard alone", "no routes"],
)
def test_no_step_is_due_when_none_will_be_taken(of: RoutingTable) -> None:
    """There is no time to wait for."""
    assert when_due(release(of)) is None


NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
GUARDED = table(guard=Guard(max_error_rate=0.05))


@pytest.mark.parametrize(
    ("of", "newer", "seconds", "expected"),
    [
        (GUARDED, figures(100, 50), 0, NextRelease(ReleaseKind.GUARD, "guard", given_back(GUARDED))),
        (GUARDED, figures(100, 50), 301, NextRelease(ReleaseKind.GUARD, "guard", given_back(GUARDED))),
        (paused(GUARDED), figures(100, 50), 0, NextRelease(ReleaseKind.GUARD, "guard", given_back(GUARDED))),
        (GUARDED, figures(100), 299, None),
        (GUARDED, figures(100), 300, NextRelease(ReleaseKind.ROLLOUT, "rollout", advanced(GUARDED))),
        (GUARDED, figures(49), 9999, None),
        (paused(GUARDED), figures(100), 9999, None),
        (table(), figures(1), 300, NextRelease(ReleaseKind.ROLLOUT, "rollout", advanced(table()))),
        (table(), figures(0), 9999, None),
        (table(guard=GUARDED.guard, steps=()), figures(100), 9999, None),
    ],
    ids=[
        "tripped",
        "tripped when a step is due",
        "tripped while paused",
        "not due",
        "due",
        "due, too few requests",
        "due, paused",
        "due without a guard",
        "due without a guard, no requests",
        "guard alone",
    ],
)
def test_next_release_follows_from_verdict_and_time(
    of: RoutingTable, newer: WindowFigures, seconds: int, expected: NextRelease | None
) -> None:
    """A guard does not wait, a step waits for its time and for requests, and a pause holds steps alone."""
    now = NOON + timedelta(seconds=seconds)
    assert next_release(release(of), judge(of, newer, FINE), now) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (RolloutAction.PAUSE, paused(table())),
        (RolloutAction.RESUME, table()),
        (RolloutAction.PROMOTE, promoted(table())),
        (RolloutAction.ABORT, given_back(table())),
    ],
    ids=str,
)
def test_action_makes_its_table(action: RolloutAction, expected: RoutingTable) -> None:
    """Each of the four words of an operator does one thing."""
    assert acted("seq", table(), action) == expected


def test_resumed_rollout_is_the_one_that_was_paused() -> None:
    """A pause changes nothing else, and a second one nothing at all."""
    assert resumed(paused(table())) == table()
    assert paused(paused(table())) == paused(table())


@pytest.mark.parametrize(
    ("of", "actions"),
    [
        (RoutingTable.all_to("1.0"), tuple(RolloutAction)),
        (table(steps=()), tuple(RolloutAction)),
        (RoutingTable(), tuple(RolloutAction)),
        (table(guard=Guard(max_error_rate=0.05), steps=()), (RolloutAction.PAUSE, RolloutAction.RESUME)),
    ],
    ids=["one version", "two versions, unguarded", "no routes", "guard alone"],
)
def test_action_is_refused_without_a_rollout(of: RoutingTable, actions: tuple[RolloutAction, ...]) -> None:
    """The message names the workflow and what was asked for."""
    for action in actions:
        with pytest.raises(NoRollout, match=f"^Workflow seq has no rollout to {action}: "):
            acted("seq", of, action)


@pytest.mark.parametrize("action", [RolloutAction.PROMOTE, RolloutAction.ABORT], ids=str)
def test_guard_without_steps_can_be_ended_by_hand(action: RolloutAction) -> None:
    """A canary with a guard alone is promoted or aborted like one with steps."""
    guarded = table(guard=Guard(max_error_rate=0.05), steps=())
    assert acted("seq", guarded, action) == acted("seq", table(), action)
