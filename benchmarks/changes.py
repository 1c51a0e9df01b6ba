"""What changes of a running workflow take, and what the choice of a version costs its requests."""

import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests

from benchmarks.figures import Figure
from benchmarks.processes import cpu_s
from benchmarks.wrk import Round, run_wrk
from examples.build import build
from tests.support.changing import make_version, traffic
from tests.support.processes import runtime_pid
from tests.support.service import Service

SWITCHES, SCALINGS, ROUNDS = 20, 20, 5
_CONNECTIONS = 16
_NAME = "sequential"
_ONE = {"routes": [{"version": "1.0", "weight": 100}]}
_SPLIT = {"routes": [{"version": "2.0", "weight": 10}, {"version": "1.0", "weight": 90}]}
_POST = 'wrk.method = "POST"\nwrk.body = "what a good day, and not a bad one"\n'
HANGING = "import time\n\n\ndef handle(data, context):\n    return None if data is None else time.sleep(600)\n"


class _Loaded(NamedTuple):
    """One round of load.

    Attributes:
        round: What the clients measured.
        runtime_us: Processor time of the runtime for each request, which other programs disturb least.
    """

    round: Round
    runtime_us: float


@contextmanager
def _two_versions(folder: Path) -> Iterator[Service]:
    """Run a service with the sequential example as two versions, of which the first has all requests."""
    service = Service(folder, web_workers=2)
    build(service.workflow_store, service.model_store)
    (folder / "post.lua").write_text(_POST, encoding="ascii")
    with service:
        assert service.register(f"{_NAME}.war").ok
        assert service.register(f"{_NAME}.war", version="2.0").ok
        yield service


def switching(folder: Path) -> list[Figure]:
    """Move the default version to and fro while a client sends one prediction after the other."""
    spent_ms = []
    with _two_versions(folder) as service, requests.Session() as session, requests.Session() as operator:
        for number in range(SWITCHES):
            version = "1.0" if number % 2 else "2.0"
            url = f"{service.management}/workflows/{_NAME}/{version}/set-default"
            switch = threading.Thread(target=_change, args=(operator, url, {}))
            began = time.perf_counter()
            switch.start()
            while _answering(session, service) != version:
                pass
            spent_ms.append((time.perf_counter() - began) * 1000)
            switch.join()
    what = f"switch of the default version, both loaded, until its first answer, median of {SWITCHES}"
    return [
        Figure(what=what, value=statistics.median(spent_ms), unit="ms", at_most=50),
        Figure(what="the slowest of these switches", value=max(spent_ms), unit="ms"),
    ]


def _change(session: requests.Session, url: str, parameters: Mapping[str, str | int]) -> None:
    answer = session.put(url, params=parameters, timeout=60)
    assert answer.ok, answer.text


def _answering(session: requests.Session, service: Service) -> str:
    answer = session.post(f"{service.inference}/wfpredict/{_NAME}", data=b"what a good day", timeout=10)
    assert answer.ok, answer.text
    return answer.headers["x-workflow-version"]


def scaling(folder: Path) -> list[Figure]:
    """Give a model a second worker again and again; the answer comes when it is ready."""
    spent_ms = []
    with _two_versions(folder) as service, requests.Session() as session:
        url = f"{service.management}/workflows/{_NAME}"
        for workers in (2, 1) * SCALINGS:
            began = time.perf_counter()
            _change(session, url, {"min_worker": workers, "max_worker": workers, "synchronous": "true"})
            if workers > 1:
                spent_ms.append((time.perf_counter() - began) * 1000)
    what = f"scale a model in Python from 1 to 2 workers, median of {SCALINGS}"
    return [Figure(what=what, value=statistics.median(spent_ms), unit="ms", at_most=250)]


def routing(folder: Path) -> list[Figure]:
    """Load the sequential example with one version and with two, both loaded, in turns."""
    with _two_versions(folder) as service:
        one, split = _in_turns(service, _NAME, (_ONE, _SPLIT), connections=_CONNECTIONS)
    rates = [statistics.median(each.round.requests_per_s for each in rounds) for rounds in (one, split)]
    spent_us = [statistics.median(each.runtime_us for each in rounds) for rounds in (one, split)]
    how = f"sequential, {_CONNECTIONS} connections, median of {ROUNDS} rounds"
    return [
        Figure(what=f"{how}, one version has all requests", value=rates[0], unit="requests/s"),
        Figure(what=f"{how}, two have 90 and 10 %", value=rates[1], unit="requests/s"),
        Figure(what="the second of these rates, of the first", value=100 * rates[1] / rates[0], unit="%", at_least=98),
        Figure(what="processor time of the runtime for a request, one version", value=spent_us[0], unit="µs"),
        Figure(what="processor time of the runtime for a request, two versions", value=spent_us[1], unit="µs"),
    ]


def mirroring(folder: Path) -> list[Figure]:
    """Load a workflow without a mirror and with one that hangs, in turns."""
    name = "mirrored"
    service = Service(folder, web_workers=2)
    files = [make_version(service, "1.0", name=name), make_version(service, "2.0", name=name, model=HANGING)]
    (folder / "post.lua").write_text(_POST, encoding="ascii")
    with service:
        assert service.register(files[0]).ok
        assert service.register(files[1], version="2.0").ok
        mirror = {**_ONE, "mirror": {"version": "2.0", "percent": 100}}
        without, beside = _in_turns(service, name, (_ONE, mirror), connections=4)
    p99s = [statistics.median(each.round.p99_ms for each in rounds) for rounds in (without, beside)]
    how = f"three nodes, 4 connections, median of {ROUNDS} rounds, p99"
    return [
        Figure(what=how, value=p99s[0], unit="ms"),
        Figure(what=f"{how}, with a mirror of all requests that hangs", value=p99s[1], unit="ms"),
        Figure(what="the second of these p99, of the first", value=100 * p99s[1] / p99s[0], unit="%", at_most=105),
    ]


def _in_turns(
    service: Service, name: str, tables: tuple[Mapping[str, Any], ...], *, connections: int, seconds: int = 5
) -> list[list[_Loaded]]:
    """Return rounds under each of some routing tables, which are put in force in turns."""

    def load(length: int) -> _Loaded:
        url, script = f"{service.inference}/wfpredict/{name}", service.instance / "post.lua"
        before_s = cpu_s(runtime)
        measured = run_wrk(url, seconds=length, connections=connections, script=script)
        assert not measured.failed, measured
        spent_us = 1_000_000 * (cpu_s(runtime) - before_s)
        return _Loaded(measured, spent_us / (length * measured.requests_per_s))

    runtime = runtime_pid(service)
    rounds: list[list[_Loaded]] = [[] for _ in tables]
    load(2)
    for _ in range(ROUNDS):
        for table, measured in zip(tables, rounds, strict=True):
            assert traffic(service, table, name=name).ok
            load(1)
            measured.append(load(seconds))
    return rounds
