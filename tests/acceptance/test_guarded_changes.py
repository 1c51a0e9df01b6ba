"""Versions that are tried: a guard takes a bad one back, one without requests waits, one that hangs costs nothing."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.support.changing import clients_at_work, make_version, releases, traffic
from tests.support.deployments import deployed
from tests.support.evidence import query
from tests.support.service import Service, wait_until

FAILING = """\
calls = 0


def handle(data, context):
    global calls
    if data is None:
        return None
    calls += 1
    if calls % 5 == 0:
        raise ValueError("one of five")
    return [row["body"] for row in data]
"""
SLEEPING = """\
import time


def handle(data, context):
    if data is None:
        return None
    time.sleep({seconds})
    return [row["body"] for row in data]
"""
WINDOW_S = 10
ALL_TO_ONE = [{"version": "1.0", "weight": 100}]
HALF = {"routes": [{"version": "2.0", "weight": 50}, {"version": "1.0", "weight": 50}]}
#: Windows of a second, and steps that are due after one.
IDLE_GUARD = {"windowSeconds": 1, "minRequests": 5, "maxErrorRate": 0.1, "maxLatencyRatio": 1000}
IDLE = {**HALF, "guard": IDLE_GUARD, "steps": [{"weight": 50, "forSeconds": 1}, {"weight": 100}]}


@pytest.fixture(name="guarding", scope="module")
def _guarding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment in which the workflow `idle` is in the middle of a rollout that gets no request."""
    with deployed(tmp_path_factory.mktemp("guarding") / "instance", web_workers=2) as service:
        register(service, "idle")
        assert traffic(service, IDLE, name="idle").status_code == 200
        yield service


def register(service: Service, name: str, **candidate: str) -> None:
    """Register a workflow with a second version."""
    assert service.register(make_version(service, "1.0", name=name)).status_code == 200
    assert service.register(make_version(service, "2.0", name=name, **candidate), version="2.0").status_code == 200


def shown(service: Service, name: str) -> dict[str, Any]:
    """Return what the service shows of a workflow's traffic."""
    found: dict[str, Any] = requests.get(f"{service.management}/workflows/{name}/traffic", timeout=10).json()
    return found


def moment(release: dict[str, Any]) -> datetime:
    """Return when a release was made."""
    return datetime.fromisoformat(release["at"])


@pytest.mark.parametrize(
    ("name", "model", "bound", "said"),
    [
        ("failing", FAILING, {"maxErrorRate": 0.05}, "of its requests failed, maxErrorRate allows 5 %"),
        ("slow", SLEEPING.format(seconds=0.2), {"maxLatencyRatio": 2.0}, "maxLatencyRatio allows"),
    ],
    ids=["one that fails every fifth request", "one that is slow"],
)
def test_candidate_beyond_a_bound_is_taken_back_within_two_windows(
    guarding: Service, name: str, model: str, bound: dict[str, float], said: str
) -> None:
    """The guard makes a release that gives its share back, says why, and has the figures in the audit."""
    register(guarding, name, model=model)
    guard: dict[str, float] = {"windowSeconds": WINDOW_S, "minRequests": 10, **bound}
    with clients_at_work(guarding, 4, pause_s=0.01, name=name) as clients:
        assert traffic(guarding, {**HALF, "guard": guard}, name=name).status_code == 200
        wait_until(lambda: releases(guarding, name)[0]["kind"] == "guard", timeout_s=60, what="the guard")
        taken_back, tried = releases(guarding, name)[:2]
        wait_until(lambda: shown(guarding, name)["inForce"]["release"] == taken_back["number"], what="the release")
        switched = time.monotonic()
        clients.wait()
    assert {(each.status, each.text) for each in clients.log if each.began > switched} == {(200, "1.0")}
    assert moment(taken_back) - moment(tried) < timedelta(seconds=2 * WINDOW_S)
    assert (taken_back["actor"], taken_back["routes"]) == ("guard", ALL_TO_ONE)
    assert said in taken_back["reason"]
    (event,) = query(guarding, "SELECT * FROM audit_event WHERE workflow = ? AND actor = 'guard'", name)
    detail = json.loads(event["detail"])
    candidate, incumbent = detail["figures"]["candidate"], detail["figures"]["incumbent"]
    assert (event["action"], event["outcome"], detail["release"]) == ("guard", "succeeded", taken_back["number"])
    assert (candidate["version"], incumbent["version"]) == ("2.0", "1.0")
    assert (candidate["requests"] >= 10, incumbent["failures"]) == (True, 0)
    if name == "failing":
        # A window may begin and end between two failures.
        assert abs(candidate["failures"] - candidate["requests"] / 5) < 2
    else:
        assert incumbent["requests"] >= 10
        assert candidate["p99Ms"] > 2 * incumbent["p99Ms"]


def test_mirror_that_hangs_costs_the_main_path_nothing(guarding: Service) -> None:
    """Each request is answered although no copy is; copies beyond the bound are dropped and counted."""
    register(guarding, "mirrored", model=SLEEPING.format(seconds=600))
    table = {"routes": ALL_TO_ONE, "mirror": {"version": "2.0", "percent": 100}}
    assert traffic(guarding, table, name="mirrored").status_code == 200
    with clients_at_work(guarding, 4, name="mirrored") as clients:
        clients.wait(200)
        figures = shown(guarding, "mirrored")["figures"]
    assert {(each.status, each.text, each.header) for each in clients.log} == {(200, "1.0", "1.0")}
    assert figures["1.0"]["failures"] == 0
    assert figures["2.0"]["mirrored"]["dropped"] > 0
    assert figures["2.0"]["requests"] == 0


def test_candidate_without_requests_is_neither_promoted_nor_taken_back(guarding: Service) -> None:
    """Its step is long due and many windows have passed; nothing was concluded from nothing."""
    started = moment(releases(guarding, "idle")[0])
    wait_until(lambda: datetime.now(UTC) - started > timedelta(seconds=5), what="five windows")
    (tried, _) = releases(guarding, "idle")
    assert (tried["number"], tried["kind"], tried["actor"]) == (2, "traffic", "anonymous")
    assert [route["weight"] for route in tried["routes"]] == [50, 50]
    with clients_at_work(guarding, 4, name="idle"):
        wait_until(lambda: len(releases(guarding, "idle")) > 2, timeout_s=30, what="the step")
    assert releases(guarding, "idle")[0]["actor"] == "rollout"
