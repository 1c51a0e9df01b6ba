"""Registrations that a real service carries out on its own, while it is stopped and killed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.evidence import query, samples
from tests.support.operation_kills import kill_and_check, operation_campaign
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import loading_worker, make_slow_workflow


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with prepared(tmp_path / "instance", web_workers=2, operations=1) as service:
        yield service.start()


@pytest.fixture(name="gate")
def _gate(service: Service, tmp_path: Path) -> Path:
    return make_slow_workflow(service, tmp_path / "gate")


def accepted(service: Service, name: str) -> str:
    """Have the slow workflow registered under a name; return the path of the operation."""
    answer = service.register("slow.war", workflow_name=name, synchronous="false")
    assert answer.status_code == 202, answer.text
    return str(answer.json()["operation"])


def operation(service: Service, path: str) -> dict[str, Any]:
    """Return an operation."""
    found: dict[str, Any] = requests.get(service.management + path, timeout=30).json()
    return found


def states(service: Service, paths: list[str]) -> list[str]:
    """Return the states of operations."""
    return [operation(service, path)["state"] for path in paths]


def test_restarted_service_goes_on_with_what_it_accepted(service: Service, gate: Path) -> None:
    """What was under way is undone and begins again, with one row of audit in the end."""
    path = accepted(service, "slow")
    loading_worker(gate)
    assert service.stop() == 0
    assert query(service, "SELECT name FROM workflow") == []
    gate.unlink()
    service.start()
    wait_until(lambda: operation(service, path)["done"], timeout_s=60, what="the end of the operation")
    assert states(service, [path]) == ["succeeded"]
    assert service.names() == ["slow"]
    events = query(service, "SELECT action, outcome FROM audit_event")
    assert events == [{"action": "register", "outcome": "succeeded"}]


def test_killed_service_carries_out_what_it_accepted(service: Service, gate: Path) -> None:
    """What was under way is undone and begins again, what waited begins; nothing is left of the first attempts."""
    paths = [accepted(service, f"w{number}") for number in range(4)]
    wait_until(lambda: states(service, paths) == ["running", "running", "queued", "queued"], what="two under way")
    figures = samples(requests.get(f"{service.management}/metrics", timeout=10).text)
    assert (figures["wfmgmt_operations_running", ()], figures["wfmgmt_operations_queued", ()]) == (2, 2)
    loading_worker(gate)
    service.kill()
    gate.unlink()
    service.start()
    wait_until(lambda: all(operation(service, path)["done"] for path in paths), timeout_s=60, what="the ends")
    assert states(service, paths) == ["succeeded"] * 4
    assert service.names() == ["w0", "w1", "w2", "w3"]
    events = query(service, "SELECT outcome FROM audit_event WHERE action = 'register'")
    assert events == [{"outcome": "succeeded"}] * 4


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_acknowledged_operations_end_through_any_kill(tmp_path: Path, kills: int) -> None:
    """As succeeded, failed or cancelled, with the reason, and nothing else is left; `make chaos` kills 200 times."""
    with operation_campaign(tmp_path) as campaign:
        kill_and_check(campaign, kills)
