"""The promises about load in full: `CHAOS_SECONDS` each (60), with `CHAOS_CLIENTS` clients (500)."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.fuzzer import Fuzzer
from tests.support.load import make_idle_workflow, mixed_load, p99, walk_while_others_write
from tests.support.processes import MIB, MemoryWatch, web_workers
from tests.support.service import Service, wait_until
from tests.support.slow_clients import slow_clients, slowest_honest_answer
from tests.support.sources import endless_source, stalled_source

Report = Callable[[str], None]
LARGE_MB = 2048


@pytest.fixture(name="seconds")
def _seconds() -> float:
    return float(os.environ.get("CHAOS_SECONDS", "60"))


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    settings: dict[str, Any] = {"web_workers": 2, "allowed_urls": r"http://127\.0\.0\.1:.*", "download_timeout_s": 120}
    with Service(tmp_path, download_limit_mb=LARGE_MB, **settings) as service:
        make_idle_workflow(service)
        yield service


def test_crowd_of_clients_gets_no_error(service: Service, seconds: float, report: Report) -> None:
    """500 clients, 90 % of them reading: no 5xx, no lock, and 99 of 100 answers in time."""
    clients = int(os.environ.get("CHAOS_CLIENTS", "500"))
    load = mixed_load(service, clients=clients, seconds=seconds)
    report(f"{clients} clients: {load}")
    assert load.surprises == []
    assert "database is locked" not in service.text_of_log()
    assert p99(load.reads_s) < 0.25
    assert p99(load.writes_s) < 2


def test_walks_miss_nothing_while_four_writers_change_the_list(
    service: Service, seconds: float, report: Report
) -> None:
    """No page fails, and a walk by name sees each name that stays exactly once."""
    stable = {f"n{number:03}" for number in range(0, 1000, 10)}
    for name in stable:
        assert service.register("idle.war", workflow_name=name).status_code == 200
    walks = walk_while_others_write(service, stable=stable, writers=4, seconds=seconds)
    report(f"walks through the list while four writers changed it: {dict(walks)}")


def test_slow_clients_do_not_starve_honest_ones(service: Service, seconds: float, report: Report) -> None:
    """Sixty clients that stall in every way leave the threads to those who do not."""
    assert service.register("idle.war").status_code == 200
    with slow_clients(service, 60) as connected:
        slowest_s = slowest_honest_answer(service, "idle", seconds=seconds)
    report(f"60 slow clients ({dict(connected)}): slowest honest answer {slowest_s * 1000:.0f} ms")
    assert slowest_s < 5


def test_senseless_requests_get_client_errors_only(service: Service, seconds: float, seed: int, report: Report) -> None:
    """Random names, urls, headers, bodies and archives are refused, soon, without costing memory."""
    fuzzer = Fuzzer(service, seed)
    with MemoryWatch(web_workers(service)) as memory:
        fuzzer.run(seconds)
    report(
        f"{fuzzer.statuses.total()} senseless requests: {dict(fuzzer.statuses)}, slowest {fuzzer.slowest_s:.2f} s, "
        f"{memory.growth_bytes / MIB:.0f} MB more memory"
    )
    assert fuzzer.slowest_s < 10
    assert memory.growth_bytes < 256 * MIB
    assert "Traceback" not in service.text_of_log()


@pytest.mark.parametrize(
    ("size_mb", "said"), [(LARGE_MB, "not a zip"), (LARGE_MB + 1, f"larger than {LARGE_MB * MIB} bytes")]
)
def test_download_of_two_gigabytes_costs_no_memory(service: Service, size_mb: int, said: str, report: Report) -> None:
    """The bytes go to a file, which is gone when the archive is refused."""
    before = sorted(service.workflow_store.iterdir())
    began = time.monotonic()
    with endless_source(size_mb * MIB) as url, MemoryWatch(web_workers(service)) as memory:
        refused = service.register(url)
    report(f"{size_mb} MB in {time.monotonic() - began:.1f} s, {memory.growth_bytes / MIB:.0f} MB more memory: {said}")
    assert refused.status_code == 400
    assert said in refused.text
    assert memory.growth_bytes < 64 * MIB
    assert sorted(service.workflow_store.iterdir()) == before


def test_hanging_sources_leave_the_rest_of_the_service_alone(service: Service, seconds: float, report: Report) -> None:
    """With the default settings too: some of 200 registrations wait, others are left for later, and /ping answers."""
    assert service.register("idle.war").status_code == 200
    slowest_s = 0.0
    with stalled_source() as (url, waiting), ThreadPoolExecutor(20) as pool:
        hanging = [pool.submit(service.register, url, workflow_name=f"n{number}") for number in range(200)]
        wait_until(lambda: waiting() + sum(each.done() for each in hanging) >= 200, what="200 registrations")
        until = time.monotonic() + min(seconds, 60)
        while time.monotonic() < until:
            began = time.monotonic()
            assert requests.get(f"{service.management}/ping", timeout=5).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - began)
        later = [each.result() for each in hanging if each.done()]
        report(
            f"{waiting()} hanging registrations, {len(later)} left for later: slowest /ping {slowest_s * 1000:.0f} ms"
        )
        assert service.stop() == 0
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in later} == {(202, "1")}
    assert slowest_s < 0.25
