"""Releases as the service answers them, and routing tables as it takes them; a test holds each to its schema."""

from datetime import datetime

from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Route:
    """The share of one version, in percent of the requests."""

    version: str
    weight: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Mirror:
    """A version that gets copies of some percent of the requests."""

    version: str
    percent: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Sticky:
    """The header whose value decides which version answers."""

    header: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Guard:
    """When the candidate loses its share; a bound that is None is not looked at.

    Attributes:
        window_seconds: Over which time failures are counted.
        min_requests: Requests without which nothing is concluded.
        max_error_rate: Largest part of the candidate's requests that may fail, 0 to 1.
        max_error_rate_over: By how much that part may be larger than the incumbent's, 0 to 1.
        max_latency_ratio: How much larger its p99 may be than the incumbent's, as a factor.
    """

    window_seconds: int | None = None
    min_requests: int | None = None
    max_error_rate: float | None = None
    max_error_rate_over: float | None = None
    max_latency_ratio: float | None = None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a rollout.

    Attributes:
        weight: The candidate's share during it, in percent.
        for_seconds: How long it lasts; None for the last one.
    """

    weight: int
    for_seconds: int | None = None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """Which version gets which share of the requests, as a whole.

    Attributes:
        routes: Shares, which add up to 100.
        mirror: Which version gets copies.
        sticky: Which requests go the same way.
        guard: When the candidate loses its share.
        steps: How its share grows.
        paused: Whether that is paused.
    """

    routes: tuple[Route, ...]
    mirror: Mirror | None = None
    sticky: Sticky | None = None
    guard: Guard | None = None
    steps: tuple[Step, ...] | None = None
    paused: bool = False


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Release:
    """A routing table that is in force, or was.

    Attributes:
        number: From 1.
        at: When it was made.
        actor: Who made it; `guard` and `rollout` are the service's own.
        reason: Why; empty when not given.
        previous: The release that a rollback repeats next.
        kind: What made it, like `traffic` or `rollback`.
        routes: Shares.
        mirror: Which version gets copies.
        sticky: Which requests go the same way.
        guard: When the candidate loses its share.
        steps: How its share grows.
        paused: Whether that is paused.
    """

    number: int
    at: datetime
    actor: str
    reason: str
    previous: int | None
    kind: str
    routes: tuple[Route, ...]
    mirror: Mirror | None
    sticky: Sticky | None
    guard: Guard | None
    steps: tuple[Step, ...] | None
    paused: bool


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Releases:
    """Releases of a workflow, the newest first."""

    releases: tuple[Release, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Released:
    """The answer to a change of the traffic.

    Attributes:
        status: What was done, in a sentence.
        release: What is in force.
        changed: False when that was so already.
    """

    status: str
    release: Release
    changed: bool = True


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Figures:
    """What was answered in the last minute.

    Attributes:
        requests: Requests that were answered, or failed to be.
        failures: Those that failed.
        p50_ms: Half of them took no longer; None without requests.
        p99_ms: 99 of 100 took no longer; None without requests.
    """

    requests: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class MirrorFigures:
    """The same for copies of requests, and how many copies were dropped because there were too many."""

    requests: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None
    dropped: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class VersionFigures:
    """What a version did in the last minute.

    Attributes:
        requests: Requests that it got by its share.
        failures: Those that failed.
        p50_ms: Half of them took no longer; None without requests.
        p99_ms: 99 of 100 took no longer; None without requests.
        in_flight: Requests and copies under way.
        pinned: Requests that named the version.
        mirrored: Copies of requests.
    """

    requests: int
    failures: int
    p50_ms: float | None
    p99_ms: float | None
    in_flight: int
    pinned: Figures
    mirrored: MirrorFigures


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class InForce:
    """What the runtime routes by."""

    revision: int
    release: int | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Traffic:
    """The current release, and what came of it.

    Attributes:
        workflow: The workflow.
        revision: How many changes it has had.
        release: Number of the release.
        routes: Shares.
        mirror: Which version gets copies.
        sticky: Which requests go the same way.
        guard: When the candidate loses its share.
        steps: How its share grows.
        paused: Whether that is paused.
        in_force: What the runtime routes by; None when it does not answer.
        figures: Of each version that is loaded.
    """

    workflow: str
    revision: int
    release: int
    routes: tuple[Route, ...]
    mirror: Mirror | None
    sticky: Sticky | None
    guard: Guard | None
    steps: tuple[Step, ...] | None
    paused: bool
    in_force: InForce | None
    figures: dict[str, VersionFigures]
