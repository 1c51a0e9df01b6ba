"""Releases and scaling that a real service carries out on its own, while it is killed."""

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.evidence import query
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import loading_worker, make_slow_workflow


def accepted(service: Service, path: str) -> str:
    """Ask for a change; return the address of its operation."""
    answer = requests.put(service.management + path, timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["operation"])


def operation(service: Service, path: str) -> dict[str, Any]:
    """Return an operation."""
    found: dict[str, Any] = requests.get(service.management + path, timeout=30).json()
    return found


def describe(service: Service, path: str = "slow") -> dict[str, Any]:
    """Return a version of a workflow."""
    found: dict[str, Any] = requests.get(f"{service.management}/workflows/{path}", timeout=30).json()[0]
    return found


def wait_until_succeeded(service: Service, path: str) -> dict[str, Any]:
    """Return an operation once it is done."""
    wait_until(lambda: operation(service, path)["done"], timeout_s=60, what="the end of the operation")
    ended = operation(service, path)
    assert (ended["state"], ended["error"]) == ("succeeded", None)
    return ended


@pytest.mark.slow
def test_killed_service_goes_on_with_changes(tmp_path: Path) -> None:
    """A release whose version was loading, then workers that were coming up; cancelled, the former ones come back."""
    with prepared(tmp_path / "instance", web_workers=2, standby_s=0) as service:
        service.start()
        gate = make_slow_workflow(service, tmp_path / "gate")
        gate.unlink()
        for version in ("1.0", "2.0"):
            assert service.register("slow.war", workflow_name="slow", version=version).status_code == 200
        wait_until(lambda: describe(service, "slow/2.0")["state"] == "parked", timeout_s=30, what="2.0 to be parked")

        mark = gate.with_name(f"{gate.name}.worker")
        mark.unlink()
        gate.touch()
        release = accepted(service, "/workflows/slow/2.0/set-default?synchronous=false")
        loading_worker(gate)
        assert operation(service, release)["phase"] == "loading"
        service.kill()
        gate.unlink()
        service.start()
        assert wait_until_succeeded(service, release)["result"]["release"]["number"] == 2
        assert describe(service)["version"] == "2.0"
        events = query(service, "SELECT outcome FROM audit_event WHERE action = 'set-default'")
        assert events == [{"outcome": "succeeded"}]

        gate.touch()
        scaling = accepted(service, "/workflows/slow?min_worker=3&max_worker=3")
        up = {"s": {"ready": 1, "wanted": 3}}
        wait_until(lambda: operation(service, scaling)["progress"]["nodes"] == up, timeout_s=30, what="its progress")
        service.kill()
        gate.unlink()
        service.start()
        assert wait_until_succeeded(service, scaling)["progress"]["nodes"] == {"s": {"ready": 3, "wanted": 3}}

        gate.touch()
        more = accepted(service, "/workflows/slow?min_worker=5&max_worker=5")
        wait_until(lambda: operation(service, more)["state"] == "running", timeout_s=30, what="its beginning")
        assert requests.post(f"{service.management}{more}/cancel", timeout=30).status_code == 202
        wait_until(lambda: operation(service, more)["done"], timeout_s=30, what="its end")
        assert operation(service, more)["state"] == "cancelled"
        gate.unlink()
        counts = ("minWorkers", "maxWorkers", "readyWorkers")
        wait_until(
            lambda: [describe(service)["nodes"][0][each] for each in counts] == [3, 3, 3],
            timeout_s=30,
            what="the former workers",
        )
