"""Requests per second, with wrk on the same machine as the service."""

import statistics
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.wrk import Round, run_wrk
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

CONNECTIONS = 8
ROUNDS = 3
LISTED = 100
#: Of a workflow without processes.
IDLE_SPEC = "models:\n  min-workers: 0\n  m1: {url: m1.mar}\ndag:\n  m1: []\n"


def run_well(url: str, *, seconds: int, script: Path | None = None) -> Round:
    """Load one URL; every answer has to be a good one."""
    measured = run_wrk(url, seconds=seconds, connections=CONNECTIONS, script=script)
    assert not measured.failed, measured
    assert not measured.socket_errors, measured
    return measured


def median_of_rounds(what: str, url: str, seconds: int) -> list[Figure]:
    """Load one URL for three rounds after a warm-up."""
    run_well(url, seconds=1)
    rounds = [run_well(url, seconds=seconds) for _ in range(ROUNDS)]
    rates = [each.requests_per_s for each in rounds]
    how = f"{CONNECTIONS} connections, median of {ROUNDS} rounds of {seconds} s"
    return [
        Figure(what=f"{what}, {how}", value=statistics.median(rates), unit="requests/s", at_least=2500),
        Figure(what=f"{what}, p99", value=statistics.median(each.p99_ms for each in rounds), unit="ms"),
    ]


def _loaded_service(folder: Path) -> Service:
    """Return a service that can register 100 workflows without a process for each of their nodes."""
    service = Service(folder, web_workers=2)
    make_mar(service.model_store)
    make_war(service.workflow_store, spec=IDLE_SPEC, handler=None)
    make_war(service.workflow_store, name="sequential")
    return service


def describing(folder: Path, seconds: int = 10) -> list[Figure]:
    """Describe one workflow of three nodes again and again."""
    with _loaded_service(folder) as service:
        assert service.register("sequential.war").ok
        return median_of_rounds("describe", f"{service.management}/workflows/sequential", seconds)


def listing(folder: Path, seconds: int = 10) -> list[Figure]:
    """List 100 workflows again and again."""
    with _loaded_service(folder) as service:
        for number in range(LISTED):
            assert service.register("seq.war", workflow_name=f"workflow-{number:03}").ok
        return median_of_rounds(f"list {LISTED} workflows", f"{service.management}/workflows?limit={LISTED}", seconds)
