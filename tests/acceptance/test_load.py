"""The promises about load, in short; `tests/chaos/test_load.py` has them in full."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.fuzzer import Fuzzer
from tests.support.load import make_idle_workflow, mixed_load, p99, walk_while_others_write
from tests.support.processes import MIB, MemoryWatch, cpu_s, web_workers
from tests.support.records import fill, make_database
from tests.support.service import START_S, Service, pids_of, wait_until
from tests.support.slow_clients import slow_clients, slowest_honest_answer
from tests.support.sources import endless_source, stalled_source

SLEEPER = """
import time
def handle(data, context):
    if data is None:
        time.sleep(60)
"""


@pytest.fixture(scope="module", name="loaded")
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment that may download anything of at most 64 MB from this machine."""
    settings = {"allowed_urls": r"http://127\.0\.0\.1:.*", "download_limit_mb": 64, "download_timeout_s": 30}
    with deployed(tmp_path_factory.mktemp("load"), web_workers=2, **settings) as service:
        make_idle_workflow(service)
        yield service


def test_load_of_many_clients_gets_no_error(loaded: Service) -> None:
    """Readers and writers side by side get what they ask for; how soon is for a machine that does nothing else."""
    load = mixed_load(loaded, clients=100, seconds=2)
    assert load.surprises == []
    assert p99(load.reads_s) < 5
    assert p99(load.writes_s) < 10
    assert "database is locked" not in loaded.text_of_log()
    for name in loaded.names():
        assert loaded.unregister(name).status_code == 200


def test_list_misses_nothing_while_four_writers_change_it(loaded: Service) -> None:
    """A walk by name sees each name that stays, once; pages by offset never fail."""
    stable = {f"n{number:03}" for number in range(0, 1000, 50)}
    for name in stable:
        assert loaded.register("idle.war", workflow_name=name).status_code == 200
    walk_while_others_write(loaded, stable=stable, writers=4, seconds=2, least=6)
    for name in stable:
        assert loaded.unregister(name).status_code == 200


def test_slow_clients_do_not_starve_honest_ones(loaded: Service) -> None:
    """Sixty clients that stall in every way leave the threads to those who do not."""
    assert loaded.register("idle.war").status_code == 200
    with slow_clients(loaded, 60) as connected:
        wait_until(lambda: sum(connected.values()) >= 60, what="the slow clients")
        assert slowest_honest_answer(loaded, "idle", seconds=2) < 5
    assert loaded.unregister("idle").status_code == 200


def test_slow_clients_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """A service that is stopped does not wait for requests that never come."""
    with deployed(tmp_path) as service, slow_clients(service, 12) as connected:
        wait_until(lambda: sum(connected.values()) >= 12, what="the slow clients")
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 6


def test_senseless_requests_get_client_errors_only(loaded: Service) -> None:
    """Random names, urls, headers, bodies and archives are refused, soon, without costing memory."""
    fuzzer = Fuzzer(loaded, seed=1)
    with MemoryWatch(web_workers(loaded)) as memory:
        fuzzer.run(seconds=2)
    assert fuzzer.slowest_s < 10
    assert memory.growth_bytes < 256 * MIB
    assert "Traceback" not in loaded.text_of_log()


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "Script-Name"])
def test_header_that_names_a_path_has_no_effect(loaded: Service, name: str) -> None:
    """A proxy that gunicorn trusts could move the application with them, and break every answer."""
    assert requests.get(f"{loaded.management}/workflows", headers={name: "/elsewhere"}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("size_mb", "said"), [(60, "not a zip"), (100, "larger than 67108864 bytes")], ids=["within", "over"]
)
def test_download_that_is_large_costs_no_memory(loaded: Service, size_mb: int, said: str) -> None:
    """The bytes go to a file, which is gone when the archive is refused."""
    before = sorted(loaded.workflow_store.iterdir())
    with endless_source(size_mb * MIB) as url, MemoryWatch(web_workers(loaded)) as memory:
        refused = loaded.register(url)
    assert refused.status_code == 400
    assert said in refused.text
    assert memory.growth_bytes < 32 * MIB
    assert sorted(loaded.workflow_store.iterdir()) == before


def _assert_answers_quickly(service: Service, name: str) -> None:
    for path in ("/ping", "/workflows", f"/workflows/{name}"):
        times = []
        for _ in range(10):
            began = time.monotonic()
            assert requests.get(f"{service.management}{path}", timeout=10).status_code == 200
            times.append(time.monotonic() - began)
        assert min(times) < 0.25  # The others say how busy the machine is.


def test_registrations_that_hang_leave_the_rest_of_the_service_alone(tmp_path: Path) -> None:
    """Twenty that wait for a source or a model keep nothing from answering, nor do those that are left for later."""
    settings = {"web_workers": 1, "web_threads": 24, "max_operations": 20, "download_timeout_s": 30}
    with (
        stalled_source() as (url, waiting),
        deployed(tmp_path, allowed_urls=r"http://127\.0\.0\.1:.*", **settings) as service,
        ThreadPoolExecutor(20) as pool,
    ):
        make_idle_workflow(service)
        assert service.register("idle.war").status_code == 200
        make_mar(service.model_store, name="sleeper", source=SLEEPER)
        spec = "models: {s: {url: sleeper.mar}}\ndag: {s: []}\n"
        make_war(service.workflow_store, name="sleeping", spec=spec, handler=None)
        hanging = [pool.submit(service.register, url, workflow_name=f"source{number}") for number in range(15)]
        hanging += [
            pool.submit(service.register, "sleeping.war", workflow_name=f"model{number}", startup_timeout=5)
            for number in range(5)
        ]
        wait_until(lambda: waiting() == 15, what="the downloads")
        wait_until(lambda: len(_under_way(service)) == 20, what="the registrations")
        _assert_answers_quickly(service, "idle")
        later = service.register("idle.war", workflow_name="one-more")
        assert (later.status_code, later.headers["Retry-After"]) == (202, "1")
        operation = requests.get(f"{service.management}{later.headers['Location']}?wait=30", timeout=60).json()
        assert operation["state"] == "succeeded"
        more = [service.register(url, workflow_name=f"more{number}") for number in range(20)]
        assert {each.status_code for each in more} == {202}
        wait_until(lambda: waiting() > 15, what="the downloads of some of them")
        _assert_answers_quickly(service, "idle")
        assert sum(each.done() for each in hanging) == 0
        assert service.stop() == 0
        assert {each.result(30).status_code for each in hanging} <= {400, 500, 503}
        service.start()
        assert service.names() == ["idle", "one-more"]


def _under_way(service: Service) -> list[Path]:
    return [path for path in (service.run_folder / "leases").iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_many_workflows_cost_no_time(tmp_path: Path, count: int) -> None:
    """With 20,000 workflows a start, any page and a description are as quick as with a few."""
    service = Service(tmp_path)
    make_database(service.database)
    fill(f"sqlite:///{service.database}", count)
    service.launch()
    try:
        address = service.run_folder / "management.address"
        wait_until(address.exists, timeout_s=START_S, what="the address")
        base = f"http://{address.read_text().strip()}/workflows"
        wait_until(lambda: _answers(base), timeout_s=START_S, what="the first answer")
        assert sum(map(cpu_s, pids_of(service.instance))) < 5
        middle, end = count // 2, count - 100
        for path in ("?limit=100", f"?next_page_token={middle}", f"?next_page_token={end}", f"?after=bulk{end:06}"):
            assert _quickest_s(f"{base}{path}") < 0.05
        assert _quickest_s(f"{base}/bulk{middle:06}") < 0.02
    finally:
        service.kill()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def _quickest_s(url: str) -> float:
    with requests.Session() as session:
        answers = [session.get(url, timeout=10) for _ in range(21)]
    assert {answer.status_code for answer in answers} == {200}
    return min(answer.elapsed.total_seconds() for answer in answers)
