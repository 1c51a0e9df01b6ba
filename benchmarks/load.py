"""Requests per second, with wrk on the same machine as the service."""

import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from tests.factories import make_mar, make_war
from tests.service import Service

CONNECTIONS = 8
ROUNDS = 3
_LISTED = 100


class WrkMissing(Exception):
    """The load generator is not installed."""

    def __str__(self) -> str:
        return "wrk is not installed (Debian: apt install wrk)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What wrk measured in one run."""

    requests_per_s: float
    p99_ms: float


def run_wrk(url: str, *, seconds: int, connections: int = CONNECTIONS) -> Round:
    """Load one URL; every answer has to be a good one.

    Raises:
        WrkMissing: It is not installed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise WrkMissing
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    latency = re.search(r"99%\s+([0-9.]+)(us|ms|s)", output)
    assert rate is not None, output
    assert latency is not None, output
    factor = {"us": 0.001, "ms": 1.0, "s": 1000.0}[latency[2]]
    return Round(requests_per_s=float(rate[1]), p99_ms=float(latency[1]) * factor)


def _median_of_rounds(what: str, url: str, seconds: int) -> list[Figure]:
    run_wrk(url, seconds=1)
    rounds = [run_wrk(url, seconds=seconds) for _ in range(ROUNDS)]
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
    make_war(service.workflow_store, spec=_IDLE_SPEC, handler=None)
    make_war(service.workflow_store, name="sequential")
    return service


_IDLE_SPEC = "models:\n  min-workers: 0\n  m1: {url: m1.mar}\ndag:\n  m1: []\n"


def describing(folder: Path, seconds: int = 10) -> list[Figure]:
    """Describe one workflow of three nodes again and again."""
    with _loaded_service(folder) as service:
        assert service.register("sequential.war").ok
        return _median_of_rounds("describe", f"{service.management}/workflows/sequential", seconds)


def listing(folder: Path, seconds: int = 10) -> list[Figure]:
    """List 100 workflows again and again."""
    with _loaded_service(folder) as service:
        for number in range(_LISTED):
            assert service.register("seq.war", workflow_name=f"workflow-{number:03}").ok
        return _median_of_rounds(
            f"list {_LISTED} workflows", f"{service.management}/workflows?limit={_LISTED}", seconds
        )
