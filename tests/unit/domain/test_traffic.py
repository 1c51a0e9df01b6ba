"""Routing tables as clients send and see them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.releases import Guard, Mirror, Route, RoutingTable, Step
from wfmgmt.domain.rollouts import advanced, paused
from wfmgmt.domain.traffic import TrafficParser, table_json
from wfmgmt.errors import BadRequest, VersionNotFound

VERSIONS = ("1.0", "2.0", "3.0", "4.0", "5.0", "6.0")
CURRENT = RoutingTable(
    routes=(
        Route(version="3.0", weight=5),
        Route(version="2.0", weight=25),
        Route(version="1.0", weight=70),
    ),
    mirror=Mirror(version="4.0", percent=5),
    sticky="x-user-id",
)
ROUTES = [{"version": "1.0", "weight": 90}, {"version": "2.0", "weight": 10}]
STEPS = [{"weight": 10, "forSeconds": 300}, {"weight": 50, "forSeconds": 600}, {"weight": 100}]
FULL = {
    "routes": ROUTES,
    "mirror": {"version": "3.0", "percent": 5},
    "sticky": {"header": "X-User-Id"},
    "guard": {
        "windowSeconds": 30,
        "minRequests": 20,
        "maxErrorRate": 0.05,
        "maxErrorRateOver": 0.02,
        "maxLatencyRatio": 2,
    },
    "steps": STEPS,
}
FULL_TABLE = RoutingTable(
    routes=(Route(version="2.0", weight=10), Route(version="1.0", weight=90)),
    mirror=Mirror(version="3.0", percent=5),
    sticky="x-user-id",
    guard=Guard(window_s=30, min_requests=20, max_error_rate=0.05, max_error_rate_over=0.02, max_latency_ratio=2.0),
    steps=(Step(weight=10, for_s=300), Step(weight=50, for_s=600), Step(weight=100)),
)


def parse(given: Mapping[str, Any], current: RoutingTable = CURRENT) -> RoutingTable:
    """Return the table that a client wants of the workflow seq."""
    return TrafficParser("seq", VERSIONS).table(given, current)


def test_whole_table_has_all_its_parts() -> None:
    """What is in force does not matter; header names are in lower case, routes go from the newest to the oldest."""
    assert parse(FULL) == FULL_TABLE


def test_whole_table_may_be_routes_alone() -> None:
    """A version with a weight of nothing has no share, and what is not given is not kept from before."""
    routes = [{"version": "1.0", "weight": 0}, {"version": "6.0", "weight": 100.0}]
    assert parse({"routes": routes}) == RoutingTable.all_to("6.0")


def test_empty_list_of_steps_is_no_rollout() -> None:
    """It says the same as no list."""
    assert parse({"routes": ROUTES, "steps": []}) == parse({"routes": ROUTES})


def test_guard_has_defaults_for_what_is_not_a_bound() -> None:
    """One bound is enough."""
    assert parse({"routes": ROUTES, "guard": {"maxErrorRate": 0}}).guard == Guard(max_error_rate=0.0)


@pytest.mark.parametrize(
    "table",
    [
        RoutingTable.all_to("1.0"),
        CURRENT,
        FULL_TABLE,
        paused(FULL_TABLE),
        advanced(FULL_TABLE),
        advanced(advanced(FULL_TABLE)),
    ],
    ids=["one version", "three versions", "full", "paused", "second step", "last step"],
)
def test_table_that_is_shown_can_be_sent_back(table: RoutingTable) -> None:
    """A client may read a table, change one thing, and write it; JSON in between."""
    assert parse(json.loads(json.dumps(table_json(table)))) == table


def test_table_is_shown_with_null_for_what_it_does_not_have() -> None:
    """All keys are always there."""
    assert table_json(RoutingTable.all_to("1.0")) == {
        "routes": [{"version": "1.0", "weight": 100}],
        "mirror": None,
        "sticky": None,
        "guard": None,
        "steps": None,
        "paused": False,
    }


def test_table_is_shown_with_all_its_parts() -> None:
    """Inside of a part only what was given, or has a default, is there."""
    assert table_json(FULL_TABLE) == {
        **FULL,
        "routes": list(reversed(ROUTES)),
        "sticky": {"header": "x-user-id"},
        "paused": False,
    }


@pytest.mark.parametrize(
    ("version", "weight", "expected"),
    [
        ("2.0", "30", {"3.0": 5, "2.0": 30, "1.0": 65}),
        ("2.0", 0, {"3.0": 5, "1.0": 95}),
        ("2.0", 95, {"3.0": 5, "2.0": 95}),
        ("5.0", "10", {"5.0": 10, "3.0": 5, "2.0": 25, "1.0": 60}),
    ],
    ids=["more", "nothing", "all of both", "another version"],
)
def test_share_of_one_version_comes_from_the_default_version(
    version: str, weight: object, expected: dict[str, int]
) -> None:
    """The others keep theirs, and so do mirror and sticky header."""
    table = parse({"version": version, "weight": weight})
    assert table.weights == expected
    assert (table.mirror, table.sticky) == (CURRENT.mirror, CURRENT.sticky)


def test_share_of_one_version_ends_a_rollout() -> None:
    """A guard or a step would undo it."""
    table = parse({"version": "2.0", "weight": 20}, paused(FULL_TABLE))
    assert table == RoutingTable(
        routes=(Route(version="2.0", weight=20), Route(version="1.0", weight=80)),
        mirror=FULL_TABLE.mirror,
        sticky="x-user-id",
    )


def test_mirrored_version_that_gets_a_share_is_no_mirror_any_more() -> None:
    """It would get copies of what it answers itself."""
    assert parse({"version": "4.0", "weight": 1}).mirror is None
    assert parse({"version": "4.0", "weight": 0}).mirror == CURRENT.mirror


INNER_KEYS = ["version", "weight", "percent", "header"]
#: JSON that looks like a table here and there.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 101)
    | st.floats()
    | st.sampled_from([*VERSIONS, "9", "10", "x-user-id", ""])
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["version", "weight", "percent", "header"]), inner)
    ),
)


@given(parts=st.dictionaries(st.sampled_from(["routes", "mirror", "sticky", "guard", "steps", "paused", "x"]), JSON))
def test_any_json_makes_a_table_or_a_message(parts: dict[str, object]) -> None:
    """Nothing that a client sends is an error of ours, and what makes a table makes a whole one."""
    refusals = []
    for sent in (parts, {**FULL, **parts}, {"version": "2.0", "weight": parts.get("x")}):
        try:
            table = parse(sent)
        except (BadRequest, VersionNotFound) as error:
            refusals.append(str(error))
        else:
            assert sum(table.weights.values()) == 100
            assert parse(table_json(table)) == table
    assert all(map(str.isprintable, refusals))


def full(**changes: object) -> dict[str, object]:
    """Return the full table with other parts."""
    return {**FULL, **changes}


def routes(*weights: object) -> dict[str, object]:
    """Return a table that gives these weights to the first versions."""
    return {"routes": [{"version": f"{n}.0", "weight": weight} for n, weight in enumerate(weights, start=1)]}


def steps(*entries: object) -> dict[str, object]:
    """Return the full table with other steps."""
    return full(steps=list(entries))


WEIGHT_FORM = "expected a whole number from 0 to 100"
BOUNDS = "maxErrorRate, maxErrorRateOver, maxLatencyRatio"
TWO = "routes has to give a share to exactly two versions then, not to"
BAD: dict[str, tuple[Mapping[str, object], str]] = {
    "nothing": ({}, "traffic.routes is required."),
    "unknown key": (
        full(route=[]),
        "traffic: unknown key 'route', did you mean routes?",
    ),
    "both forms": (
        full(version="2.0", weight=1),
        "traffic: unknown key 'routes', known are version, weight.",
    ),
    "routes null": ({"routes": None}, "traffic.routes is required."),
    "routes no array": ({"routes": {"1.0": 100}}, "routes: expected an array, got an object."),
    "no routes": ({"routes": []}, "routes: expected 1 to 5 versions, got 0."),
    "six routes": (routes(95, 1, 1, 1, 1, 1), "routes: expected 1 to 5 versions, got 6."),
    "route no object": ({"routes": ["1.0"]}, "routes[0]: expected an object with version, weight, got '1.0'."),
    "unknown key of a route": (
        {"routes": [{"version": "1.0", "wieght": 100}]},
        "routes[0]: unknown key 'wieght', did you mean weight?",
    ),
    "no weight": ({"routes": [{"version": "1.0"}]}, "routes[0].weight is required."),
    "version a number": (
        {"routes": [{"version": 2.0, "weight": 100}]},
        "routes[0].version: expected text, got 2.0.",
    ),
    "version twice": (
        {"routes": [{"version": "1.0", "weight": 50}] * 2},
        "routes[1].version: 1.0 is in routes twice.",
    ),
    "negative weight": (routes(103, -3), f"routes[0].weight: {WEIGHT_FORM}, got 103."),
    "negative weight second": (routes(100, -3), f"routes[1].weight: {WEIGHT_FORM}, got -3."),
    "weight a fraction": (routes(99.5, 0.5), f"routes[0].weight: {WEIGHT_FORM}, got 99.5."),
    "weight no number": (routes("all"), f"routes[0].weight: {WEIGHT_FORM}, got 'all'."),
    "weight a boolean": (
        {"routes": [{"version": "1.0", "weight": True}]},
        f"routes[0].weight: {WEIGHT_FORM}, got true.",
    ),
    "weight NaN": (routes(float("nan")), f"routes[0].weight: {WEIGHT_FORM}, got nan."),
    "weights of 99": (routes(90, 9), "routes: the weights add up to 99, they have to add up to 100."),
    "weights of 200": (routes(100, 100), "routes: the weights add up to 200, they have to add up to 100."),
    "mirror no object": (full(mirror="3.0"), "mirror: expected an object with version, percent, got '3.0'."),
    "mirror of nothing": (
        full(mirror={"version": "3.0", "percent": 0}),
        "mirror.percent: expected a whole number from 1 to 100, got 0.",
    ),
    "mirror with a share": (
        full(mirror={"version": "2.0", "percent": 5}),
        "mirror.version: 2.0 has a share in routes, copies go to a version without one.",
    ),
    "sticky a text": (full(sticky="x-user-id"), "sticky: expected an object with header, got 'x-user-id'."),
    "sticky with a space": (
        full(sticky={"header": "x user"}),
        "sticky.header: expected the name of an HTTP header, got 'x user'.",
    ),
    "sticky with a line feed": (
        full(sticky={"header": "x-user\n"}),
        "sticky.header: expected the name of an HTTP header, got 'x-user\\n'.",
    ),
    "guard without a bound": (
        full(guard={"minRequests": 5}),
        f"guard: expected one of {BOUNDS} at least, got none.",
    ),
    "guard with an unknown key": (
        full(guard={"maxErrorrate": 0.1}),
        "guard: unknown key 'maxErrorrate', did you mean maxErrorRate?",
    ),
    "guard of an endless window": (
        full(guard={"windowSeconds": 0, "maxErrorRate": 0.1}),
        "guard.windowSeconds: expected a whole number from 1 to 3600, got 0.",
    ),
    "guard of no requests": (
        full(guard={"minRequests": 0, "maxErrorRate": 0.1}),
        "guard.minRequests: expected a whole number from 1 to 1000000, got 0.",
    ),
    "guard in percent": (
        full(guard={"maxErrorRate": 5}),
        "guard.maxErrorRate: expected a number from 0 to 1, got 5.",
    ),
    "guard with a text": (
        full(guard={"maxErrorRateOver": "0.1"}),
        "guard.maxErrorRateOver: expected a number from 0 to 1, got '0.1'.",
    ),
    "guard with a ratio of nothing": (
        full(guard={"maxLatencyRatio": 0}),
        "guard.maxLatencyRatio: expected a number from 0.01 to 1000, got 0.",
    ),
    "guard with NaN": (
        full(guard={"maxLatencyRatio": float("nan")}),
        "guard.maxLatencyRatio: expected a number from 0.01 to 1000, got nan.",
    ),
    "guard of one version": ({**routes(100), "guard": FULL["guard"]}, f"guard: {TWO} 1."),
    "guard of three versions": ({**routes(80, 10, 10), "guard": FULL["guard"]}, f"guard: {TWO} 3."),
    "steps of one version": ({**routes(100), "steps": STEPS}, f"steps: {TWO} 1."),
    "steps of a version without a share": ({**routes(100, 0), "steps": STEPS}, f"steps: {TWO} 1."),
    "steps no array": (full(steps={"weight": 10}), "steps: expected an array, got an object."),
    "steps false": (full(steps=False), "steps: expected an array, got false."),
    "single step": (steps({"weight": 100}), "steps: expected the step under way and one more at least, got 1."),
    "step without a weight": (steps({"forSeconds": 5}, {"weight": 100}), "steps[0].weight is required."),
    "step with an unknown key": (
        steps({"weight": 10, "forSecond": 5}, {"weight": 100}),
        "steps[0]: unknown key 'forSecond', did you mean forSeconds?",
    ),
    "first step not as routes": (
        steps({"weight": 20, "forSeconds": 5}, {"weight": 100}),
        "steps[0].weight: expected 10, the weight of 2.0 in routes, got 20.",
    ),
    "steps that fall": (
        steps({"weight": 10, "forSeconds": 5}, {"weight": 10, "forSeconds": 5}, {"weight": 100}),
        "steps[1].weight: expected more than 10, the weight of the step before, got 10.",
    ),
    "step without end": (
        steps({"weight": 10}, {"weight": 100}),
        "steps[0].forSeconds is required in all steps but the last.",
    ),
    "step of no time": (
        steps({"weight": 10, "forSeconds": 0}, {"weight": 100}),
        "steps[0].forSeconds: expected a whole number from 1 to 2592000, got 0.",
    ),
    "last step with a time": (
        steps({"weight": 10, "forSeconds": 5}, {"weight": 100, "forSeconds": 5}),
        "steps[1].forSeconds: the last step ends the rollout, so it has none.",
    ),
    "last step of less than all": (
        steps({"weight": 10, "forSeconds": 5}, {"weight": 50}),
        "steps[1].weight: expected 100 in the last step, got 50.",
    ),
    "paused is no boolean": (full(paused=1), "paused: expected true or false, got 1."),
    "paused without steps": (full(paused=True, steps=None), "paused: there are no steps to pause."),
    "version without a weight": ({"version": "2.0"}, "traffic.weight is required."),
    "weight without a version": ({"weight": "10"}, "traffic.version is required."),
    "weight beyond the default's": (
        {"version": "2.0", "weight": 96},
        "weight: expected at most 95, which is what 1.0, the default version, and 2.0 have together, got 96.",
    ),
    "weight of the default version": (
        {"version": "1.0", "weight": 10},
        "version: 1.0 is the default version, which gives up the share; name one that gets it.",
    ),
    "short weight negative": ({"version": "2.0", "weight": "-1"}, f"weight: {WEIGHT_FORM}, got '-1'."),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_with_its_place(given: Mapping[str, object], message: str) -> None:
    """The message says what would be right."""
    with pytest.raises(BadRequest) as caught:
        parse(given)
    assert str(caught.value) == message


def test_sixth_version_gets_no_share() -> None:
    """Five have one already."""
    five = parse(routes(60, 10, 10, 10, 10))
    with pytest.raises(BadRequest, match=r"^version: 5 versions have a share already"):
        parse({"version": "6.0", "weight": 10}, five)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"version": "9", "weight": 10}, "9"),
        ({"routes": [{"version": "9", "weight": 100}]}, "9"),
        (full(mirror={"version": "9", "percent": 100}), "9"),
        ({"version": "a\nb", "weight": 10}, "a b"),
        ({"version": "9" * 1000, "weight": 10}, "9" * 63 + "…"),
    ],
    ids=["short form", "route", "mirror", "control character", "long"],
)
def test_unknown_version_is_not_found(given: Mapping[str, object], shown: str) -> None:
    """The message is the one of its page, on one line and not longer than a version can be."""
    with pytest.raises(VersionNotFound) as caught:
        parse(given)
    assert str(caught.value) == f"Workflow version: {shown} does not exist for workflow: seq"
