"""Predictions under load: rates and latencies."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.torchserve.comparison import WFMGMT, Comparison
from benchmarks.torchserve.connection import Connection, Record
from benchmarks.torchserve.contest import Contest, Server, Terms, alternate, register, wait_for_answer
from benchmarks.wrk import Round, run_wrk

TEXT = (b"what a good day, and not a bad one " * 3)[:100]
# One long word: the time goes into moving it, not into the example's counting of words.
LARGE = b"a" * 1_000_000
_WARM_UP_S = 3
# TorchServe answers a lost request with an error once its node's timeout is over, 5 or 10 s per attempt.
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One workflow under one load.

    Attributes:
        workflow: Its name.
        connections: How many requests are under way at a time.
        body: What each of them sends.
        label: What the body is, if it is not the usual text.
        rate_times: Target for requests per second: how many times as many.
        p50_times: Target for the median: how many times faster.
    """

    workflow: str
    connections: int
    body: bytes = TEXT
    label: str = ""
    rate_times: float | None = None
    p50_times: float | None = None

    @property
    def name(self) -> str:
        """What it is, in words."""
        plural = "s" if self.connections > 1 else ""
        return f"{self.workflow}{self.label}, {self.connections} connection{plural}"


def sequential(contest: Contest, terms: Terms) -> list[Comparison]:
    """Load the sequential example."""
    return _measure(
        contest,
        terms,
        Case(workflow="sequential", connections=1, p50_times=5),
        Case(workflow="sequential", connections=16, rate_times=8),
        Case(workflow="sequential", connections=64, rate_times=5),
    )


def parallel(contest: Contest, terms: Terms) -> list[Comparison]:
    """Load the parallel example."""
    return _measure(
        contest,
        terms,
        Case(workflow="parallel", connections=1),
        Case(workflow="parallel", connections=16, rate_times=6),
        Case(workflow="parallel", connections=64),
    )


def single(contest: Contest, terms: Terms) -> list[Comparison]:
    """Load the workflow of one model."""
    return _measure(contest, terms, Case(workflow="single", connections=16, rate_times=2.5))


def large(contest: Contest, terms: Terms) -> list[Comparison]:
    """Send large bodies through the sequential example."""
    case = Case(workflow="sequential", connections=1, body=LARGE, label=" with a body of 1 MB", p50_times=4)
    return _measure(contest, terms, case)


def _measure(contest: Contest, terms: Terms, *cases: Case) -> list[Comparison]:
    """Run the cases, which are all about one workflow."""
    comparisons, rounds = [], []
    with contest.run(cases[0].workflow) as servers:
        for case in cases:
            measured = _rounds(contest, terms, servers, case)
            rounds.append(measured)
            comparisons += _compared(case, terms, measured)
    return [*comparisons, *_losses(cases[0].workflow + cases[0].label, rounds)]


def _rounds(contest: Contest, terms: Terms, servers: Mapping[str, Server], case: Case) -> dict[str, list[Round]]:
    script = write_script(contest.folder, case.body)
    print(f"  {case.name}", file=sys.stderr)

    def load(server: Server, seconds: int) -> Round:
        url = f"{server.inference}/wfpredict/{case.workflow}"
        return run_wrk(url, seconds=seconds, connections=case.connections, script=script, timeout_s=_TIMEOUT_S)

    alternate(servers, 1, lambda server: load(server, _WARM_UP_S))
    return alternate(servers, terms.rounds, lambda server: load(server, terms.seconds))


def write_script(folder: Path, body: bytes) -> Path:
    """Write what wrk sends; it takes a method and a body in Lua only."""
    content, script = folder / "body.bin", folder / "post.lua"
    content.write_bytes(body)
    script.write_text(
        'wrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/octet-stream"\n'
        f'wrk.body = io.open("{content}", "rb"):read("*a")\n',
        encoding="utf-8",
    )
    return script


def _compared(case: Case, terms: Terms, measured: Mapping[str, Sequence[Round]]) -> list[Comparison]:
    how = f"median of {terms.rounds} rounds of {terms.seconds} s"
    rates = {name: statistics.median(each.requests_per_s for each in rounds) for name, rounds in measured.items()}
    p50 = {name: statistics.median(each.p50_ms for each in rounds) for name, rounds in measured.items()}
    p99 = {name: statistics.median(each.p99_ms for each in rounds) for name, rounds in measured.items()}
    what = f"{case.name}, {how}"
    return [
        Comparison(what=what, values=rates, unit="requests/s", is_rate=True, at_least_times=case.rate_times),
        Comparison(what=f"{case.name}, p50", values=p50, unit="ms", at_least_times=case.p50_times),
        Comparison(what=f"{case.name}, p99", values=p99, unit="ms"),
    ]


def _losses(what: str, measured: Sequence[Mapping[str, Sequence[Round]]]) -> list[Comparison]:
    """Tell what went wrong in all rounds of a workflow together; nothing may with wfmgmt."""
    by_name = {name: [each for one in measured for each in one[name]] for name in measured[0]}
    failed = {name: sum(each.failed + each.socket_errors for each in rounds) for name, rounds in by_name.items()}
    slowest = {name: max(each.slowest_ms for each in rounds) / 1000 for name, rounds in by_name.items()}
    return [
        Comparison(what=f"{what}, slowest answer of all rounds", values=slowest, unit="s"),
        Comparison(what=f"{what}, failed answers of all rounds", values=failed, unit="answers", at_most=0),
    ]


def between_stalls(contest: Contest, terms: Terms) -> list[Comparison]:
    """Ask the sequential example one request after another, and leave out those that stalled."""
    with contest.run("sequential") as servers:
        alternate(servers, 1, lambda server: _connect(server).ask_for(_WARM_UP_S))
        measured = alternate(servers, terms.rounds, lambda server: _connect(server).ask_for(terms.seconds))
    rates = {name: statistics.median(each.requests_per_s for each in records) for name, records in measured.items()}
    what = "sequential, 1 connection, between stalls of over 1 s"
    how = f"median of {terms.rounds} rounds of {terms.seconds} s"
    stalls = {name: _per_10_000(records) for name, records in measured.items()}
    return [
        Comparison(what=f"{what}, {how}", values=rates, unit="requests/s", is_rate=True, at_least_times=6),
        Comparison(what="these stalls", values=stalls, unit="in 10,000 requests", at_most=0),
    ]


def _per_10_000(records: Sequence[Record]) -> float:
    return sum(each.stalls for each in records) * 10_000 / sum(len(each.latencies_s) for each in records)


def enduring(contest: Contest, terms: Terms) -> list[Comparison]:
    """Ask wfmgmt's sequential example very often; it takes TorchServe too long to be asked as often."""
    if WFMGMT not in contest.names:
        return []
    with contest.create(WFMGMT) as server:
        register(server, "sequential")
        record = _connect(server).ask_times(terms.requests)
    slowest_ms = max(record.latencies_s) * 1000
    what = f"sequential, {terms.requests:,} requests one after another"
    return [
        Comparison(what=f"{what}: over 1 s", values={WFMGMT: record.stalls}, unit="requests", at_most=0),
        Comparison(what=f"{what}: not answered 200", values={WFMGMT: record.failed}, unit="requests", at_most=0),
        Comparison(what=f"{what}: the slowest", values={WFMGMT: slowest_ms}, unit="ms"),
    ]


def _connect(server: Server) -> Connection:
    wait_for_answer(server, "sequential")
    return Connection(f"{server.inference}/wfpredict/sequential", TEXT)
