"""What one change costs on an idle service: registering, unregistering, memory, and starting again."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import memory_mb, model_workers
from examples.build import build
from tests.support.service import Service

ROUNDS = 30
_WARM_UP = 3


def _example_service(folder: Path) -> Service:
    service = Service(folder, web_workers=2)
    build(service.workflow_store, service.model_store)
    return service


def _milliseconds(change: Callable[[], int]) -> float:
    began = time.perf_counter()
    status = change()
    spent_ms = (time.perf_counter() - began) * 1000
    assert status == 200  # noqa: PLR2004 - the HTTP status
    return spent_ms


def registering(folder: Path) -> list[Figure]:
    """Register and unregister the sequential example again and again."""
    registered, unregistered = [], []
    with _example_service(folder) as service:
        for _ in range(_WARM_UP + ROUNDS):
            registered.append(_milliseconds(lambda: service.register("sequential.war").status_code))
            unregistered.append(_milliseconds(lambda: service.unregister("sequential").status_code))
    how = f"3 nodes, median of {ROUNDS}"
    return [
        Figure(what=f"register, {how}", value=statistics.median(registered[_WARM_UP:]), unit="ms", at_most=250),
        Figure(what=f"unregister, {how}", value=statistics.median(unregistered[_WARM_UP:]), unit="ms", at_most=250),
    ]


def memory(folder: Path) -> list[Figure]:
    """Register the sequential example and look at its worker processes."""
    with _example_service(folder) as service:
        _milliseconds(lambda: service.register("sequential.war").status_code)
        forkserver, *workers = model_workers(service)
        what = f"memory of a registered sequential workflow, its {len(workers)} processes"
        return [
            Figure(what=f"{what}, RSS", value=memory_mb(workers, "Rss"), unit="MB", at_most=60),
            Figure(what=f"{what}, PSS", value=memory_mb(workers, "Pss"), unit="MB"),
            Figure(what="memory of the forkserver, once for all, RSS", value=memory_mb([forkserver], "Rss"), unit="MB"),
        ]


def starting(folder: Path) -> list[Figure]:
    """Start a second time, with a workflow registered."""
    service = _example_service(folder)
    with service:
        _milliseconds(lambda: service.register("sequential.war").status_code)
    began = time.perf_counter()
    with service:
        spent_s = time.perf_counter() - began
    return [Figure(what="second start until /ping answers 200", value=spent_s, unit="s", at_most=3)]
