"""Rollouts: how a candidate gets its share step by step, and when a guard takes it back.

The candidate of a release with a guard or steps is the newer of its two serving versions, the incumbent the older one.
The clock and the figures come from outside; nothing here acts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from wfmgmt.domain.releases import WHOLE, Guard, Release, ReleaseKind, Route, RoutingTable
from wfmgmt.errors import NoRollout

#: Who makes the releases that a guard and the steps call for.
GUARD_ACTOR = "guard"
ROLLOUT_ACTOR = "rollout"
#: Steps without a guard go by the clock, but a version that has answered nothing gets no larger share.
_WITHOUT_GUARD = Guard(min_requests=1)
#: What sums of floating-point numbers may be off by: 0.07 is not more than 0.05 and 0.02.
_ROUNDING = 1e-9
_LATENCY = "maxLatencyRatio"


class Outcome(StrEnum):
    """What a look at the figures has found."""

    #: Within all bounds: a step that is due may be taken.
    PASSED = "passed"
    #: Beyond a bound: the incumbent gets the share back.
    TRIPPED = "tripped"
    #: Too few requests to say: neither.
    INCONCLUSIVE = "inconclusive"


class RolloutAction(StrEnum):
    """What an operator can do with a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFigures:
    """What one version did in the window of a guard, copies of mirrored requests aside.

    Attributes:
        requests: Requests that it has answered, or failed to answer.
        failures: Those that failed by 5xx or time-out; a handler's own 4xx is no failure.
        p99_ms: 99th percentile of the time that they took; None when it is not known.
    """

    requests: int = 0
    failures: int = 0
    p99_ms: float | None = None

    @property
    def error_rate(self) -> float:
        """Part of its requests that failed; 0 when there were none."""
        return self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from the figures of a window.

    Attributes:
        outcome: Whether the candidate may go on.
        reason: Why, in a sentence for the release and the audit.
        figures: What it rests on, as JSON for the audit.
    """

    outcome: Outcome
    reason: str
    figures: Mapping[str, Any]


class NextRelease(NamedTuple):
    """A release that a guard or a step calls for.

    Attributes:
        kind: `guard` or `rollout`.
        actor: Who makes it.
        table: What it says.
    """

    kind: ReleaseKind
    actor: str
    table: RoutingTable


class _Bound(NamedTuple):
    """A bound of a guard beside what was seen; None for what the figures do not say."""

    key: str
    seen: float | None
    allowed: float | None

    @property
    def is_open(self) -> bool:
        return self.seen is None or self.allowed is None

    @property
    def excess(self) -> str | None:
        """How it is exceeded; None when it is not, or the figures do not say."""
        if self.seen is None or self.allowed is None or self.seen <= self.allowed + _ROUNDING:
            return None
        if self.key == _LATENCY:
            return f"its p99 is {self.seen:.4g} ms, {self.key} allows {self.allowed:.4g} ms"
        return f"{100 * self.seen:.3g} % of its requests failed, {self.key} allows {100 * self.allowed:.3g} %"


def candidate(table: RoutingTable) -> str:
    """Return the newer version of a table with a guard or steps."""
    return table.routes[0].version


def incumbent(table: RoutingTable) -> str:
    """Return the older version of a table with a guard or steps."""
    return table.routes[1].version


def judge(table: RoutingTable, newer: WindowFigures, older: WindowFigures) -> Verdict:
    """Return whether the candidate of a table with a guard or steps may go on.

    Args:
        table: What the current release says.
        newer: The candidate's figures of the last `guard.window_s` seconds.
        older: Those of the incumbent.
    """
    guard = table.guard or _WITHOUT_GUARD
    bounds = tuple(_bounds(guard, newer, older))
    outcome, reason = _conclusion(table, guard, bounds, newer, older)
    figures = {
        "windowSeconds": guard.window_s,
        "candidate": {"version": candidate(table), **_figures_json(newer)},
        "incumbent": {"version": incumbent(table), **_figures_json(older)},
        "bounds": {bound.key: {"seen": bound.seen, "allowed": bound.allowed} for bound in bounds},
    }
    return Verdict(outcome=outcome, reason=reason, figures=figures)


def _conclusion(
    table: RoutingTable, guard: Guard, bounds: Sequence[_Bound], newer: WindowFigures, older: WindowFigures
) -> tuple[Outcome, str]:
    if newer.requests < guard.min_requests:
        return Outcome.INCONCLUSIVE, f"{candidate(table)} {_too_few(newer, guard)}."
    if exceeded := [bound.excess for bound in bounds if bound.excess]:
        return Outcome.TRIPPED, f"{candidate(table)}: {'; '.join(exceeded)}."
    if any(bound.is_open for bound in bounds):
        return (
            Outcome.INCONCLUSIVE,
            f"{candidate(table)} cannot be compared with {incumbent(table)}, which {_too_few(older, guard)}.",
        )
    return Outcome.PASSED, f"{candidate(table)} is within its bounds."


def _bounds(guard: Guard, newer: WindowFigures, older: WindowFigures) -> Iterator[_Bound]:
    """Yield the bounds that are given; those relative to an incumbent with too few requests are open."""
    is_comparable = older.requests >= guard.min_requests
    if guard.max_error_rate is not None:
        yield _Bound("maxErrorRate", newer.error_rate, guard.max_error_rate)
    if guard.max_error_rate_over is not None:
        allowed = older.error_rate + guard.max_error_rate_over if is_comparable else None
        yield _Bound("maxErrorRateOver", newer.error_rate, allowed)
    if guard.max_latency_ratio is not None:
        # A p99 of 0 ms is none to multiply.
        limit = older.p99_ms * guard.max_latency_ratio if is_comparable and older.p99_ms else None
        yield _Bound(_LATENCY, newer.p99_ms, limit)


def _too_few(figures: WindowFigures, guard: Guard) -> str:
    return f"had {figures.requests} requests within {guard.window_s} s, where it takes {guard.min_requests}"


def _figures_json(figures: WindowFigures) -> dict[str, float | None]:
    return {"requests": figures.requests, "failures": figures.failures, "p99Ms": figures.p99_ms}


def when_due(release: Release) -> datetime | None:
    """Return when the next step of a release may be taken; None when none will be, or the rollout is paused.

    A release made to resume a rollout begins its step anew.
    """
    table = release.table
    if table.is_paused or not table.steps or table.steps[0].for_s is None:
        return None
    return datetime.fromisoformat(release.at) + timedelta(seconds=table.steps[0].for_s)


def next_release(release: Release, verdict: Verdict, now: datetime) -> NextRelease | None:
    """Return the release that has to follow a release with a guard or steps; None while it stays.

    Args:
        release: The current release.
        verdict: What its figures have led to.
        now: The time, aware.
    """
    if verdict.outcome is Outcome.TRIPPED:
        return NextRelease(kind=ReleaseKind.GUARD, actor=GUARD_ACTOR, table=given_back(release.table))
    due = when_due(release)
    if verdict.outcome is Outcome.PASSED and due is not None and due <= now:
        return NextRelease(kind=ReleaseKind.ROLLOUT, actor=ROLLOUT_ACTOR, table=advanced(release.table))
    return None


def advanced(table: RoutingTable) -> RoutingTable:
    """Return the table of the next step; the last one gives the candidate everything and ends the rollout."""
    steps = table.steps[1:]
    weight = steps[0].weight
    if weight == WHOLE:
        return promoted(table)
    routes = (Route(version=candidate(table), weight=weight), Route(version=incumbent(table), weight=WHOLE - weight))
    return replace(table, routes=routes, steps=steps)


def promoted(table: RoutingTable) -> RoutingTable:
    """Return the table that gives the candidate everything and ends the rollout."""
    return with_all_to(table, candidate(table))


def given_back(table: RoutingTable) -> RoutingTable:
    """Return the table that gives the incumbent everything and ends the rollout."""
    return with_all_to(table, incumbent(table))


def paused(table: RoutingTable) -> RoutingTable:
    """Return the table that takes no further step until it is resumed; a guard goes on."""
    return replace(table, is_paused=True)


def resumed(table: RoutingTable) -> RoutingTable:
    """Return the table whose steps go on."""
    return replace(table, is_paused=False)


def with_all_to(table: RoutingTable, version: str) -> RoutingTable:
    """Return the table that gives one version everything and has no rollout; mirror and sticky header stay.

    A mirror to that very version goes, for its copies would be of requests that it answers.
    """
    mirror = None if table.mirror is None or table.mirror.version == version else table.mirror
    return replace(RoutingTable.all_to(version), mirror=mirror, sticky=table.sticky)


_ACTIONS = {
    RolloutAction.PAUSE: paused,
    RolloutAction.RESUME: resumed,
    RolloutAction.PROMOTE: promoted,
    RolloutAction.ABORT: given_back,
}
_NEEDS_STEPS = (RolloutAction.PAUSE, RolloutAction.RESUME)


def acted(workflow: str, table: RoutingTable, action: RolloutAction) -> RoutingTable:
    """Return the table that an action of an operator makes; an equal one when there is nothing to change.

    Raises:
        NoRollout: The table has no guard and no steps, or no steps to pause or resume.
    """
    if not table.steps and (table.guard is None or action in _NEEDS_STEPS):
        raise NoRollout(workflow, action)
    return _ACTIONS[action](table)
