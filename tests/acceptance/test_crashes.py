"""Processes that are killed while they work: nothing acknowledged is lost, and nothing stays half there."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.campaigns import WHILE_PARTS_DIE, Campaign, kill_parts, run_kills
from tests.support.deployments import prepared
from tests.support.evidence import rows
from tests.support.model_servers import forkserver_of
from tests.support.processes import runtime_pid, web_workers
from tests.support.service import Service, pids_of, wait_until
from tests.support.slow_workflow import in_background, loading_worker, make_slow_workflow
from tests.support.web_files import served_archives


@pytest.fixture(name="downloads")
def _downloads(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    with served_archives(tmp_path) as downloads:
        yield downloads


@pytest.fixture(name="started", scope="module")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with prepared(tmp_path_factory.mktemp("crashes") / "instance") as service:
        yield service.start()


@pytest.fixture(name="running")
def _running(started: Service) -> Iterator[Service]:
    """Return a running service without workflows."""
    yield started
    for name in started.names():
        assert started.unregister(name).status_code == 200


@pytest.fixture(name="gate")
def _gate(running: Service, tmp_path: Path) -> Path:
    return make_slow_workflow(running, tmp_path / "gate")


def web_worker_at_work(service: Service) -> int:
    """Return the web worker that holds the only lease."""
    for pid in web_workers(service):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if "/run/leases/" in str(descriptor.readlink()):
                return pid
    message = "no web worker holds a lease"
    raise AssertionError(message)


def loaded_pids(service: Service) -> list[int]:
    """Return the worker processes, after waiting for the forkserver and three workers."""
    pids: list[int] = wait_until(lambda: len(pids := service.worker_pids()) == 4 and pids, what="the workers")
    return pids


def test_killed_service_keeps_what_it_acknowledged(prepared: Service, downloads: tuple[Path, str]) -> None:
    """Answered work survives a kill of any process; other work is wholly there or wholly gone."""
    run_kills(Campaign(prepared, downloads), rounds=3)


def test_killed_web_worker_breaks_its_registration_off_and_the_name_becomes_free(running: Service, gate: Path) -> None:
    """Another web worker undoes what the dead one had begun, with one audit row, and the service goes on."""
    ((before,),) = rows(running, "SELECT count(*) FROM audit_event")
    with in_background(running, "slow.war") as answer:
        os.kill(web_worker_at_work(running), signal.SIGKILL)
        assert isinstance(answer.exception(10), requests.ConnectionError)
        wait_until(lambda: not rows(running, "SELECT 1 FROM workflow"), what="the end of the claim")
        gate.unlink()
        assert running.register("slow.war").status_code == 200
        actions = rows(running, "SELECT action, outcome FROM audit_event ORDER BY id")[before:]
    assert actions == [("reconcile", "succeeded"), ("register", "succeeded")]


def test_killed_runtime_comes_back_with_everything_loaded(running: Service) -> None:
    """The workers of the dead runtime are gone, and new ones serve the same workflow."""
    assert running.register("seq.war").status_code == 200
    before = [runtime_pid(running), *loaded_pids(running)]
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: not set(before) & set(pids_of(running.instance)), what="the end of the old processes")
    wait_until(lambda: running.ready_workers("seq") == [1, 1, 1], what="the models")
    assert runtime_pid(running) not in before
    assert len(loaded_pids(running)) == 4


def test_registration_under_way_survives_its_runtime(running: Service, gate: Path) -> None:
    """The runtime is killed while it loads the workflow; the next one begins again, and the client notices nothing."""
    with in_background(running, "slow.war") as answer:
        killed = runtime_pid(running)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: runtime_pid(running) != killed, what="another runtime")
        gate.unlink()
        assert answer.result(30).status_code == 200
    assert running.names() == ["slow"]


def test_registration_is_unavailable_when_the_forkserver_dies(running: Service, gate: Path) -> None:
    """Its worker is lost with the forkserver while it loads, which is not the workflow's fault."""
    with in_background(running, "slow.war") as answer:
        os.kill(forkserver_of(loading_worker(gate)), signal.SIGKILL)
        failed = answer.result(30)
    assert (failed.status_code, failed.headers["Retry-After"]) == (503, "5")
    assert "slow__s failed to register. Details: worker was lost with the forkserver" in failed.json()["message"]
    assert not rows(running, "SELECT 1 FROM workflow")
    gate.unlink()
    assert running.register("slow.war").status_code == 200


def test_changes_wait_for_a_runtime_that_hangs(running: Service) -> None:
    """A registration and a removal arrive while the runtime is stopped: they are done once it is replaced."""
    assert running.register("seq.war", workflow_name="old").status_code == 200
    os.kill(runtime_pid(running), signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        removal = pool.submit(running.unregister, "old")
        registration = pool.submit(running.register, "seq.war", workflow_name="new")
        assert (removal.result(60).status_code, registration.result(60).status_code) == (200, 200)
    assert running.names() == ["new"]


def test_changes_wait_for_the_first_runtime(prepared: Service) -> None:
    """A script that starts the service and registers at once need not know that the runtime takes longer."""
    prepared.launch()
    address = prepared.run_folder / "management.address"
    wait_until(address.exists, what="the address")
    prepared.management = f"http://{address.read_text().strip()}"
    assert prepared.register("seq.war").status_code == 200
    assert prepared.unregister("seq").status_code == 200


def test_service_survives_kills_of_its_parts_under_load(prepared: Service, downloads: tuple[Path, str]) -> None:
    """Web workers and the runtime are killed while clients work; nothing that was acknowledged is lost."""
    campaign = Campaign(prepared, downloads, tolerated=WHILE_PARTS_DIE)
    prepared.start()
    kill_parts(campaign, rounds=2)
