"""Archives of the workflow store that are registered when the service starts."""

import os
import signal
from pathlib import Path

import requests

from tests.support.deployments import prepared
from tests.support.evidence import rows
from tests.support.factories import make_war
from tests.support.processes import web_workers
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import loading_worker, make_slow_workflow

PLANES = ("management", "inference")


def readiness(service: Service) -> list[tuple[int, str]]:
    """Return what both addresses say about readiness."""
    answers = [requests.get(f"{getattr(service, plane)}/readyz", timeout=10) for plane in PLANES]
    return [(each.status_code, each.json().get("message", each.json()["status"])) for each in answers]


def is_ready(service: Service) -> bool:
    """Return whether both addresses say so."""
    return readiness(service) == [(200, "Ready")] * len(PLANES)


def registrations(service: Service) -> list[tuple[str, ...]]:
    """Return workflow and actor of the registrations that succeeded, as the audit trail has them."""
    return rows(service, "SELECT workflow, actor FROM v_audit WHERE (action, outcome) = ('register', 'succeeded')")


def test_all_of_the_store_is_registered(tmp_path: Path) -> None:
    """Once, and again when it was unregistered; one archive that is broken stops no other and is in the log."""
    with prepared(tmp_path / "instance", load_at_start="all") as service:
        (service.workflow_store / "a-broken.war").write_bytes(b"no archive")
        service.start()
        wait_until(lambda: is_ready(service), timeout_s=60, what="readiness")
        assert service.predicts()
        assert registrations(service) == [("seq", "housekeeping")]
        assert "not registered at the start: a-broken.war: " in service.text_of_log()
        assert service.stop() == 0

        service.start()
        wait_until(lambda: is_ready(service), timeout_s=60, what="readiness")
        assert registrations(service) == [("seq", "housekeeping")]
        assert service.unregister("seq").status_code == 200
        assert service.stop() == 0

        service.start()
        wait_until(lambda: is_ready(service), timeout_s=60, what="readiness")
        assert service.predicts()
        assert service.stop() == 0


def test_service_is_not_ready_before(tmp_path: Path) -> None:
    """Both addresses say so, also after a web worker was killed; what is not in the store is in the log."""
    with prepared(tmp_path / "instance", load_at_start="nosuch.war,slow.war,seq.war") as service:
        gate = make_slow_workflow(service, tmp_path / "gate")
        make_war(service.workflow_store, name="other")
        service.start()
        loading_worker(gate)
        wait_until(service.predicts, timeout_s=60, what="the workflow that is not held up")
        pending = "Archives are being registered, as WFMGMT_LOAD_AT_START says."
        assert readiness(service) == [(503, pending)] * len(PLANES)
        for process in web_workers(service):
            os.kill(process, signal.SIGKILL)
        gate.unlink()
        wait_until(lambda: _is_ready_again(service), timeout_s=60, what="readiness")
        assert service.names() == ["seq", "slow"]
        assert "not registered at the start: nosuch.war: " in service.text_of_log()
        assert service.stop() == 0


def _is_ready_again(service: Service) -> bool:
    try:
        return is_ready(service)
    except requests.ConnectionError:  # All web workers may be starting.
        return False
