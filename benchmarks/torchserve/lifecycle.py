"""What workflows cost apart from predictions: registering, memory, and starting again."""

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.processes import memory_mb
from benchmarks.torchserve.comparison import TORCHSERVE, Comparison
from benchmarks.torchserve.contest import (
    Contest,
    Server,
    Terms,
    Wfmgmt,
    alternate,
    register,
    unregister,
    wait_for_answer,
)
from benchmarks.torchserve.server import TorchServe
from tests.support.service import wait_until

_SETTLE_S = 60.0


def registering(contest: Contest, terms: Terms) -> list[Comparison]:
    """Register and unregister the sequential example in turns."""
    with contest.run() as servers:
        measured = alternate(servers, terms.rounds + 1, _register_once)
    # The first round of each server is its warm-up.
    registered = {name: statistics.median(each[0] for each in rounds[1:]) for name, rounds in measured.items()}
    unregistered = {name: statistics.median(each[1] for each in rounds[1:]) for name, rounds in measured.items()}
    how = f"sequential, median of {terms.rounds}"
    return [
        Comparison(what=f"register, {how}", values=registered, unit="ms", at_least_times=10),
        Comparison(what=f"unregister, {how}", values=unregistered, unit="ms"),
    ]


def _register_once(server: Server) -> tuple[float, float]:
    """Return the milliseconds that registering and unregistering took."""
    registered_ms = 1000 * _seconds(lambda: register(server, "sequential"))
    unregistered_ms = 1000 * _seconds(lambda: unregister(server, "sequential"))
    # Workers that still end would be measured with what comes next.
    wait_until(lambda: not server.model_pids(), timeout_s=_SETTLE_S, what="the end of the workers")
    return registered_ms, unregistered_ms


def _seconds(change: Callable[[], object]) -> float:
    began = time.perf_counter()
    change()
    return time.perf_counter() - began


def memory(contest: Contest, terms: Terms) -> list[Comparison]:  # noqa: ARG001 - every part is called like this
    """Look at the processes of the sequential example, and at those that are there without it."""
    with contest.run("sequential") as servers:
        for server in servers.values():
            wait_for_answer(server, "sequential")
        pss, rss = (
            {name: memory_mb(server.model_pids(), field) for name, server in servers.items()}
            for field in ("Pss", "Rss")
        )
        own = {name: memory_mb(server.own_pids(), "Pss") for name, server in servers.items()}
        counts = {name: len(server.model_pids()) for name, server in servers.items()}
    what = "memory of a sequential workflow, the only one"
    return [
        Comparison(what=f"{what}, PSS", values=pss, unit="MB", at_least_times=8),
        Comparison(what=f"{what}, RSS", values=rss, unit="MB"),
        Comparison(what="processes of a sequential workflow", values=counts, unit="processes"),
        Comparison(what="memory of the server itself, PSS", values=own, unit="MB"),
    ]


def starting(contest: Contest, terms: Terms) -> list[Comparison]:
    """Start with many workflows until each of them answers, each server while the other does not run."""
    names = [f"sequential-{number:02}" for number in range(terms.workflows)]
    started, per_workflow_mb = {}, {}
    for name in contest.names:
        print(f"  {name}", file=sys.stderr)
        server = contest.create(name)
        try:
            started[name] = _start(server, names)
            per_workflow_mb[name] = memory_mb(server.model_pids(), "Pss") / len(names)
        finally:
            server.stop()
    what = f"start until {len(names)} sequential workflows answer"
    how = f"{TORCHSERVE} forgot them and gets them again, one after another"
    return [
        Comparison(what=f"{what}; {how}; once", values=started, unit="s"),
        Comparison(what=f"memory of each of these {len(names)}, PSS", values=per_workflow_mb, unit="MB"),
    ]


def _start(server: TorchServe | Wfmgmt, names: list[str]) -> float:
    """Return the seconds from the start of a server until all its workflows answer."""
    if isinstance(server, Wfmgmt):
        with server:
            _register_all(server, names)
    began = time.perf_counter()
    server.start()
    if isinstance(server, TorchServe):
        _register_all(server, names)
    for name in names:
        wait_for_answer(server, name)
    return time.perf_counter() - began


def _register_all(server: Server, names: list[str]) -> None:
    for name in names:
        register(server, "sequential", name)
