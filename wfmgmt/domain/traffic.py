"""Routing tables as the API has them: parsed from what a client sends, and shown."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from wfmgmt.domain.json_values import array, fields, number, text, unexpected, whole_number
from wfmgmt.domain.names import printable, shortened
from wfmgmt.domain.releases import MAX_ROUTES, WHOLE, Guard, Mirror, Release, Route, RoutingTable, Step, newest_first
from wfmgmt.errors import BadRequest, VersionNotFound

#: The keys of a whole table, and those of the short form.
TABLE_KEYS = ("routes", "mirror", "sticky", "guard", "steps", "paused")
SHARE_KEYS = ("version", "weight")
MAX_WINDOW_S = 3600
MAX_REQUESTS = 1_000_000
MAX_STEP_S = 30 * 86_400

_rate = partial(number, least=0, most=1)
#: Each key of a guard: the field that it stands for, and how its value is read.
_GUARD_KEYS: Mapping[str, tuple[str, Callable[[str, object], float]]] = {
    "windowSeconds": ("window_s", partial(whole_number, least=1, most=MAX_WINDOW_S)),
    "minRequests": ("min_requests", partial(whole_number, least=1, most=MAX_REQUESTS)),
    "maxErrorRate": ("max_error_rate", _rate),
    "maxErrorRateOver": ("max_error_rate_over", _rate),
    "maxLatencyRatio": ("max_latency_ratio", partial(number, least=0.01, most=1000)),
}
_BOUNDS = tuple(_GUARD_KEYS)[2:]
_WHERE = "traffic"
#: A token of HTTP, in which header names are written.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")


class TrafficParser:
    """Parses what a client wants of the traffic of one workflow.

    Args:
        workflow: Its name, for messages.
        versions: Its ready versions, in the order of their registration.
    """

    def __init__(self, workflow: str, versions: Sequence[str]) -> None:
        self._workflow = workflow
        self._versions = versions

    def table(self, given: Mapping[str, object], current: RoutingTable) -> RoutingTable:
        """Return the table that is wanted.

        Args:
            given: A whole table under `TABLE_KEYS`, or a version and its weight, which the default version gives up.
            current: The table that is in force.

        Raises:
            BadRequest: Something in it is wrong; the message names the place.
            VersionNotFound: It names a version that is not there, or not ready.
        """
        if any(key in given for key in SHARE_KEYS):
            return self._with_share(given, current)
        return self._whole(given)

    def _with_share(self, given: Mapping[str, object], current: RoutingTable) -> RoutingTable:
        """Return the current table with another share for one version; a rollout ends."""
        short = fields(_WHERE, given, SHARE_KEYS, required=SHARE_KEYS)
        version = self._version("version", short["version"])
        giver = current.default
        if giver is None or version == giver:
            raise BadRequest(
                f"version: {version} is the default version, which gives up the share; name one that gets it."
            )
        available = current.weights[giver] + current.weights.get(version, 0)
        weight = whole_number("weight", short["weight"], least=0, most=WHOLE)
        if weight > available:
            raise BadRequest(
                f"weight: expected at most {available}, which is what {giver}, the default version, "
                f"and {version} have together, got {weight}."
            )
        routes = newest_first({**current.weights, version: weight, giver: available - weight}, self._versions)
        if len(routes) > MAX_ROUTES:
            raise BadRequest(f"version: {MAX_ROUTES} versions have a share already, which is the most.")
        mirror = current.mirror
        if mirror is not None and mirror.version == version and weight:
            mirror = None  # It would get copies of what it answers itself.
        return RoutingTable(routes=routes, mirror=mirror, sticky=current.sticky)

    def _whole(self, given: Mapping[str, object]) -> RoutingTable:
        parts = fields(_WHERE, given, TABLE_KEYS, required=("routes",))
        routes = self._routes(parts["routes"])
        steps = _steps(parts["steps"], routes) if "steps" in parts else ()
        return RoutingTable(
            routes=routes,
            mirror=self._mirror(parts["mirror"], routes) if "mirror" in parts else None,
            sticky=_sticky(parts["sticky"]) if "sticky" in parts else None,
            guard=_guard(parts["guard"], routes) if "guard" in parts else None,
            steps=steps,
            is_paused=_paused(parts.get("paused", False), steps),
        )

    def _routes(self, value: object) -> tuple[Route, ...]:
        entries = array("routes", value)
        if not 1 <= len(entries) <= MAX_ROUTES:
            raise BadRequest(f"routes: expected 1 to {MAX_ROUTES} versions, got {len(entries)}.")
        weights: dict[str, int] = {}
        for index, entry in enumerate(entries):
            where = f"routes[{index}]"
            route = fields(where, entry, SHARE_KEYS, required=SHARE_KEYS)
            version = self._version(f"{where}.version", route["version"])
            if version in weights:
                raise BadRequest(f"{where}.version: {version} is in routes twice.")
            weights[version] = whole_number(f"{where}.weight", route["weight"], least=0, most=WHOLE)
        if (total := sum(weights.values())) != WHOLE:
            raise BadRequest(f"routes: the weights add up to {total}, they have to add up to {WHOLE}.")
        return newest_first(weights, self._versions)

    def _mirror(self, value: object, routes: Sequence[Route]) -> Mirror:
        keys = ("version", "percent")
        given = fields("mirror", value, keys, required=keys)
        version = self._version("mirror.version", given["version"])
        if any(route.version == version for route in routes):
            raise BadRequest(f"mirror.version: {version} has a share in routes, copies go to a version without one.")
        return Mirror(version=version, percent=whole_number("mirror.percent", given["percent"], least=1, most=WHOLE))

    def _version(self, where: str, value: object) -> str:
        version = text(where, value)
        if version not in self._versions:
            raise VersionNotFound(self._workflow, shortened(printable(version)))
        return version


def _sticky(value: object) -> str:
    keys = ("header",)
    header = text("sticky.header", fields("sticky", value, keys, required=keys)["header"])
    if not _HEADER_NAME.fullmatch(header):
        raise unexpected("sticky.header", "the name of an HTTP header", header)
    return header.lower()


def _guard(value: object, routes: Sequence[Route]) -> Guard:
    given = fields("guard", value, _GUARD_KEYS)
    values: dict[str, Any] = {}
    for key, each in given.items():
        field, read = _GUARD_KEYS[key]
        values[field] = read(f"guard.{key}", each)
    if not any(key in given for key in _BOUNDS):
        raise BadRequest(f"guard: expected one of {', '.join(_BOUNDS)} at least, got none.")
    _check_two("guard", routes)
    return Guard(**values)


def _steps(value: object, routes: Sequence[Route]) -> tuple[Step, ...]:
    entries = array("steps", value)
    if not entries:
        return ()
    _check_two("steps", routes)
    if len(entries) == 1:
        raise BadRequest("steps: expected the step under way and one more at least, got 1.")
    steps: list[Step] = []
    for index, entry in enumerate(entries):
        step = _step(f"steps[{index}]", entry, is_last=index == len(entries) - 1)
        if not steps and step.weight != routes[0].weight:
            raise BadRequest(
                f"steps[0].weight: expected {routes[0].weight}, the weight of {routes[0].version} in routes, "
                f"got {step.weight}."
            )
        if steps and step.weight <= steps[-1].weight:
            raise BadRequest(
                f"steps[{index}].weight: expected more than {steps[-1].weight}, the weight of the step before, "
                f"got {step.weight}."
            )
        steps.append(step)
    return tuple(steps)


def _step(where: str, value: object, *, is_last: bool) -> Step:
    given = fields(where, value, ("weight", "forSeconds"), required=("weight",))
    weight = whole_number(f"{where}.weight", given["weight"], least=1, most=WHOLE)
    if not is_last:
        if "forSeconds" not in given:
            raise BadRequest(f"{where}.forSeconds is required in all steps but the last.")
        return Step(
            weight=weight, for_s=whole_number(f"{where}.forSeconds", given["forSeconds"], least=1, most=MAX_STEP_S)
        )
    if "forSeconds" in given:
        raise BadRequest(f"{where}.forSeconds: the last step ends the rollout, so it has none.")
    if weight != WHOLE:
        raise BadRequest(f"{where}.weight: expected {WHOLE} in the last step, got {weight}.")
    return Step(weight=weight)


def _check_two(part: str, routes: Sequence[Route]) -> None:
    if len(routes) != 2:  # noqa: PLR2004 - a candidate and an incumbent
        raise BadRequest(f"{part}: routes has to give a share to exactly two versions then, not to {len(routes)}.")


def _paused(value: object, steps: Sequence[Step]) -> bool:
    if not isinstance(value, bool):
        raise unexpected("paused", "true or false", value)
    if value and not steps:
        raise BadRequest("paused: there are no steps to pause.")
    return value


def release_json(release: Release) -> dict[str, Any]:
    """Return a release as answers show it."""
    return {
        "number": release.number,
        "at": release.at,
        "actor": release.actor,
        "reason": release.reason,
        "previous": release.previous,
        "kind": release.kind.value,
        **table_json(release.table),
    }


def table_json(table: RoutingTable) -> dict[str, Any]:
    """Return a table as answers show it; what it does not have is null. Sent back, it makes the same table."""
    mirror, guard = table.mirror, table.guard
    return {
        "routes": [{"version": route.version, "weight": route.weight} for route in table.routes],
        "mirror": None if mirror is None else {"version": mirror.version, "percent": mirror.percent},
        "sticky": None if table.sticky is None else {"header": table.sticky},
        "guard": None if guard is None else _guard_json(guard),
        "steps": [_step_json(step) for step in table.steps] or None,
        "paused": table.is_paused,
    }


def _guard_json(guard: Guard) -> dict[str, float]:
    values = {key: getattr(guard, field) for key, (field, _read) in _GUARD_KEYS.items()}
    return {key: value for key, value in values.items() if value is not None}


def _step_json(step: Step) -> dict[str, int]:
    return {"weight": step.weight} if step.for_s is None else {"weight": step.weight, "forSeconds": step.for_s}
