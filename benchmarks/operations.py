"""What registrations cost that were accepted for later and wait."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import requests

from benchmarks.figures import Figure
from benchmarks.load import IDLE_SPEC, LISTED, run_well
from benchmarks.processes import cpu_s, memory_mb, threads, web_workers
from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid
from tests.support.service import Service, wait_until
from tests.support.sources import stalled_source

QUEUED, TURNS, ROUND_S = 500, 7, 2
#: One has all requests and all duties; of two, either may get most of the connections, which changes the rates.
_WEB_WORKERS = 1
_CLIENTS = 4


class _Loaded(NamedTuple):
    """One round of load.

    Attributes:
        requests_per_s: What the clients measured.
        spent_us: Processor time for a request of the process that answers, which other programs disturb least.
    """

    requests_per_s: float
    spent_us: float


def waiting(folder: Path) -> list[Figure]:
    """Load a service while nothing is under way and while 500 registrations wait for one that hangs, in turns."""
    allowed = "http://127.0.0.1:.*"
    service = Service(folder, web_workers=_WEB_WORKERS, operations=1, allowed_urls=allowed, download_timeout_s=600)
    make_mar(service.model_store)
    make_war(service.workflow_store, name="sequential")
    make_war(service.workflow_store, spec=IDLE_SPEC, handler=None)
    (folder / "post.lua").write_text('wrk.method = "POST"\nwrk.body = "x"\n', encoding="ascii")
    idle: list[dict[str, _Loaded]] = []
    queued: list[dict[str, _Loaded]] = []
    memory, more_threads = [], []
    with service, stalled_source() as (hanging, _):
        assert service.register("sequential.war").ok
        for number in range(LISTED - 1):
            assert service.register("seq.war", workflow_name=f"workflow-{number:03}").ok
        _load(service)  # What comes first is slower.
        for _ in range(TURNS):
            idle.append(_load(service))
            hang = _accepted(service, hanging, "hangs", _WEB_WORKERS)
            wait_until(lambda: _count(service, "running") == _WEB_WORKERS, what="those that hang")
            memory_before, threads_before = _costs(service)
            wait = _accepted(service, "seq.war", "waits", QUEUED)
            memory_after, threads_after = _costs(service)
            memory.append((memory_after - memory_before) * 1000 / QUEUED)
            more_threads.append(threads_after - threads_before)
            assert _count(service, "queued") == QUEUED
            queued.append(_load(service))
            _cancel(service, [*wait, *hang])
    what = f"a registration that waits, memory of the web worker, most of {TURNS} times {QUEUED}, PSS"
    return [
        Figure(what=what, value=max(memory), unit="kB", at_most=100),
        Figure(what=f"threads of the web worker for {QUEUED} that wait", value=max(more_threads), unit="", at_most=0),
        *_compared(idle, queued),
    ]


def _accepted(service: Service, url: str, name: str, count: int) -> list[str]:
    """Have an archive registered later under names of its own; return the paths of the operations."""

    def accept(number: int) -> str:
        answer = service.register(url, workflow_name=f"{name}-{number:03}", synchronous="false")
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
        return str(answer.json()["operation"])

    with ThreadPoolExecutor(_CLIENTS) as pool:
        return list(pool.map(accept, range(count)))


def _cancel(service: Service, paths: list[str]) -> None:
    def cancel(path: str) -> None:
        answer = requests.post(f"{service.management}{path}/cancel", timeout=30)
        assert answer.status_code == HTTPStatus.ACCEPTED, answer.text

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(cancel, paths))
    wait_until(lambda: not _count(service, "running"), what="the end of what is cancelled")


def _count(service: Service, state: str) -> int:
    answer = requests.get(f"{service.management}/operations?state={state}&limit=1000", timeout=30)
    return len(answer.json()["operations"])


def _costs(service: Service) -> tuple[float, int]:
    """Return the memory of the web workers in MB, and how many threads they have."""
    pids = web_workers(service)
    return memory_mb(pids, "Pss"), sum(map(threads, pids))


def _load(service: Service) -> dict[str, _Loaded]:
    """Return what one round of each kind of request came to."""
    (web_worker,), runtime = web_workers(service), runtime_pid(service)
    management = {
        "/ping": "/ping",
        "describe": "/workflows/sequential",
        f"list {LISTED} workflows": f"/workflows?limit={LISTED}",
    }
    loaded = {what: _round(service.management + path, web_worker) for what, path in management.items()}
    predictions = f"{service.inference}/wfpredict/sequential"
    return loaded | {"predictions": _round(predictions, runtime, service.instance / "post.lua")}


def _round(url: str, pid: int, script: Path | None = None) -> _Loaded:
    before_s = cpu_s(pid)
    rate = run_well(url, seconds=ROUND_S, script=script).requests_per_s
    return _Loaded(rate, 1_000_000 * (cpu_s(pid) - before_s) / (ROUND_S * rate))


def _compared(idle: list[dict[str, _Loaded]], queued: list[dict[str, _Loaded]]) -> list[Figure]:
    figures = []
    for what in idle[0]:
        rates, spent_us = (
            [statistics.median(getattr(each[what], field) for each in rounds) for rounds in (idle, queued)]
            for field in _Loaded._fields
        )
        shares = [100 * after / before for before, after in (rates, spent_us)]
        figures += [
            Figure(what=f"{what}, idle, median of {TURNS} rounds of {ROUND_S} s", value=rates[0], unit="requests/s"),
            Figure(what=f"{what}, while {QUEUED} wait, of that", value=shares[0], unit="%", at_least=90),
            Figure(what="processor time for a request, of that when idle", value=shares[1], unit="%"),
        ]
    return figures
