"""Releases: whole routing tables, each of which says which versions of a workflow get which share of its requests."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from wfmgmt.domain.status import WorkflowStatus

#: The shares of a routing table, in percent, add up to this.
WHOLE = 100
MAX_ROUTES = 5
FIRST_VERSION = "1.0"


class ReleaseKind(StrEnum):
    """The kind of change that made a release."""

    REGISTER = "register"
    SET_DEFAULT = "set-default"
    TRAFFIC = "traffic"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    GUARD = "guard"
    UNREGISTER = "unregister"


class RouteKind(StrEnum):
    """What a version gets of the requests: a share to answer, or copies whose answers nobody waits for."""

    SERVE = "serve"
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The share of one version.

    Attributes:
        version: The version.
        weight: Percent of the requests, 1 to 100.
    """

    version: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A version that gets copies of requests.

    Attributes:
        version: The version.
        percent: Percent of the requests that are copied, 1 to 100.
    """

    version: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The bounds within which the candidate of a release keeps its share; a bound that is None is not looked at.

    Attributes:
        window_s: Seconds over which failures are counted, >= 1.
        min_requests: Requests to the candidate in a window without which nothing is concluded, >= 1.
        max_error_rate: Largest part of the candidate's requests that may fail, 0 to 1.
        max_error_rate_over: By how much that part may be larger than the incumbent's, 0 to 1.
        max_latency_ratio: By how much the candidate's p99 may be larger than the incumbent's, as a factor > 0.
    """

    window_s: int = 60
    min_requests: int = 50
    max_error_rate: float | None = None
    max_error_rate_over: float | None = None
    max_latency_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a rollout.

    Attributes:
        weight: The candidate's share during it, 1 to 100.
        for_s: Seconds that it lasts; None for the last one, which ends the rollout.
    """

    weight: int
    for_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """What one release says.

    Attributes:
        routes: Versions with a share, the newest first; their weights add up to 100. Empty once a workflow is gone.
        mirror: Which version gets copies.
        sticky: Header, in lower case, whose value decides which version a request gets.
        guard: When the candidate loses its share.
        steps: The rest of a rollout; the first one is under way.
        is_paused: Whether that rollout is paused.
    """

    routes: tuple[Route, ...] = ()
    mirror: Mirror | None = None
    sticky: str | None = None
    guard: Guard | None = None
    steps: tuple[Step, ...] = ()
    is_paused: bool = False

    @classmethod
    def all_to(cls, version: str) -> Self:
        """Return the table that sends everything to one version."""
        return cls(routes=(Route(version=version, weight=WHOLE),))

    @classmethod
    def from_policy(cls, routes: Iterable[Route], mirror: Mirror | None, policy: str) -> Self:
        """Return the table of which `policy` gave everything but the routes and the mirror."""
        given = json.loads(policy)
        return cls(
            routes=tuple(routes),
            mirror=mirror,
            sticky=given.get("sticky"),
            guard=None if given.get("guard") is None else Guard(**given["guard"]),
            steps=tuple(Step(**step) for step in given.get("steps", ())),
            is_paused=given.get("is_paused", False),
        )

    def policy(self) -> str:
        """Return, as JSON, what is neither route nor mirror; an empty object when there is nothing."""
        policy: dict[str, Any] = {}
        if self.sticky is not None:
            policy["sticky"] = self.sticky
        if self.guard is not None:
            policy["guard"] = _given(self.guard)
        if self.steps:
            policy["steps"] = [_given(step) for step in self.steps]
        if self.is_paused:
            policy["is_paused"] = True
        return json.dumps(policy, sort_keys=True, separators=(",", ":"))

    @property
    def weights(self) -> dict[str, int]:
        """The share of each version that has one."""
        return {route.version: route.weight for route in self.routes}

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions that it names, those with a share first."""
        mirrored = () if self.mirror is None else (self.mirror.version,)
        return (*self.weights, *mirrored)

    @property
    def default(self) -> str | None:
        """The version with the largest share, of equal ones the oldest; None in a table without routes."""
        return max(reversed(self.routes), key=lambda route: route.weight).version if self.routes else None


def _given(value: Guard | Step) -> dict[str, float]:
    return {name: getattr(value, name) for name in value.__slots__ if getattr(value, name) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A routing table that was in force, or is.

    Attributes:
        number: Its number within the workflow, from 1.
        at: When it was made, as the database has times.
        actor: Who made it; `guard` and `rollout` are the runtime's own.
        reason: Why, in the words of its maker; empty when not given.
        kind: What made it.
        previous: Number of the release before it; for a rollback, of the one before that which it repeats.
        table: What it says.
    """

    number: int
    at: str
    actor: str
    reason: str
    kind: ReleaseKind
    previous: int | None
    table: RoutingTable


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowTarget:
    """What a runtime has to do for one workflow.

    Attributes:
        uid: Identity of the workflow.
        name: Its name.
        change: Number of the registry's change that this is the state after.
        revision: How many changes this workflow has had.
        statuses: Status of each of its versions, by the uid of its registration.
        versions: Uid of each ready version, by version, in the order of their registration.
        release: The current release; None while none is ready.
    """

    uid: str
    name: str
    change: int
    revision: int
    statuses: Mapping[str, WorkflowStatus] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    release: Release | None = None


def newest_first(weights: Mapping[str, int], order: Sequence[str]) -> tuple[Route, ...]:
    """Return the routes of versions with a share.

    Args:
        weights: Share of each version; those without one are left out.
        order: All versions of the workflow, in the order of their registration.
    """
    return tuple(
        Route(version=version, weight=weights[version]) for version in reversed(order) if weights.get(version, 0) > 0
    )
