"""Supervision that goes on: processes that are killed or stopped, reloads, limits."""

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.deployments import serving
from tests.support.processes import reload, runtime_pid, web_workers
from tests.support.service import Service, wait_until
from wfmgmt.deployment.locks import LockFile
from wfmgmt.loops import MAX_FAILURES

#: For how long a health check may still call a service healthy that is not.
MAX_BLIND_S = 10.0
#: In what time a part that was killed or stopped has to be replaced, on a busy machine.
REPLACED_S = 60.0


@pytest.fixture(name="supervised", scope="module")
def _supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("supervised") / "instance") as service:
        yield service


@pytest.fixture(name="service")
def _service(supervised: Service) -> Iterator[Service]:
    """Return a service that has recovered from the tests before, and recovers from this one."""
    yield supervised
    for pid in web_workers(supervised):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(web_workers(supervised)) == 2, timeout_s=REPLACED_S, what="two web workers")
    wait_until(lambda: supervised.predicts() and is_healthy(supervised), timeout_s=REPLACED_S, what="predictions")


def elected(service: Service) -> int | None:
    """Return the web worker that looks after the service, if there is one now."""
    return LockFile(service.run_folder / "housekeeping.lock").holder()


def wait_for_elected(service: Service, *, timeout_s: float = REPLACED_S, but: int | None = None) -> int:
    """Return the web worker that looks after the service, once there is one other than this."""
    pid: int = wait_until(
        lambda: (pid := elected(service)) != but and pid, timeout_s=timeout_s, what="an elected web worker"
    )
    return pid


def is_healthy(service: Service) -> bool:
    """Return whether the management plane says that all is well."""
    try:
        answer = requests.get(f"{service.management}/ping", timeout=2)
    except requests.RequestException:
        return False
    return bool(answer.status_code == 200 and answer.json() == {"status": "Healthy"})


def test_runtime_that_is_stopped_is_seen_at_once_and_replaced(service: Service) -> None:
    """SIGSTOP: `/ping` says so within ten seconds, and a new runtime serves."""
    stopped = runtime_pid(service)
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: not is_healthy(service), timeout_s=MAX_BLIND_S, what="the health check")
    assert time.monotonic() - began < MAX_BLIND_S
    wait_until(lambda: runtime_pid(service) != stopped and service.predicts(), timeout_s=REPLACED_S, what="predictions")


def test_elected_web_worker_that_is_stopped_is_replaced(service: Service) -> None:
    """SIGSTOP for it, then SIGKILL for the runtime: another web worker takes over within seconds."""
    stopped = wait_for_elected(service)
    os.kill(stopped, signal.SIGSTOP)
    os.kill(runtime_pid(service), signal.SIGKILL)
    wait_for_elected(service, timeout_s=15, but=stopped)
    wait_until(service.predicts, timeout_s=REPLACED_S, what="predictions")
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=REPLACED_S, what="a new web worker")
    assert stopped not in web_workers(service)


def test_other_web_worker_that_is_stopped_is_replaced(service: Service) -> None:
    """Its connections hang until gunicorn kills it; new ones are answered by others."""
    looks_after_it = wait_for_elected(service)
    stopped = next(pid for pid in web_workers(service) if pid != looks_after_it)
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: service.names() == ["seq"], what="an answer")
    wait_until(lambda: stopped not in web_workers(service), timeout_s=REPLACED_S, what="the end of the stopped one")
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=REPLACED_S, what="a new web worker")


def test_web_worker_whose_supervision_keeps_failing_is_replaced(service: Service) -> None:
    """The failures are counted; it gives its lock back and ends in good order, and so does each that fails alike."""
    failing = wait_for_elected(service)
    failures = supervision_failures(service)
    lock = service.run_folder / "runtime.lock"
    runtime = runtime_pid(service)
    lock.unlink()
    lock.mkdir()
    os.kill(runtime, signal.SIGKILL)
    try:
        wait_until(lambda: failing not in web_workers(service), timeout_s=2 * REPLACED_S, what="the end of the elected")
    finally:
        lock.rmdir()
    wait_for_elected(service, but=failing)
    assert supervision_failures(service) >= failures + MAX_FAILURES
    wait_until(lambda: service.predicts() and is_healthy(service), timeout_s=REPLACED_S, what="predictions")


def supervision_failures(service: Service) -> int:
    """Return how many failures of the supervision were counted."""
    metrics = requests.get(f"{service.management}/metrics", timeout=5).text
    counted = re.search(r'wfmgmt_loop_failures_total\{loop="supervision"\} (\d+)', metrics)
    return int(counted[1]) if counted else 0


def test_web_workers_that_are_killed_are_replaced(service: Service) -> None:
    """SIGKILL for all of them; the runtime serves on."""
    runtime = runtime_pid(service)
    killed = web_workers(service)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert service.predicts()
    wait_until(lambda: len(set(web_workers(service)) - set(killed)) == 2, timeout_s=REPLACED_S, what="new ones")
    wait_until(lambda: is_healthy(service), timeout_s=REPLACED_S, what="the health check")
    assert runtime_pid(service) == runtime


def test_service_goes_on_while_its_master_is_stopped(service: Service) -> None:
    """Nobody replaces web workers meanwhile, but the runtime is still looked after."""
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(runtime_pid(service), signal.SIGKILL)
        wait_until(lambda: is_healthy(service) and service.predicts(), timeout_s=REPLACED_S, what="predictions")
    finally:
        service.process.send_signal(signal.SIGCONT)


def test_reloaded_service_still_looks_after_its_runtime(service: Service) -> None:
    """New web workers, and a new runtime, have what the first had; a mistake in the file matters at the next start."""
    runtime, logged = runtime_pid(service), len(service.text_of_log())
    (service.instance / "wfmgmt.toml").write_text("no_such_setting = 1\n")
    reload(service, timeout_s=REPLACED_S)
    assert runtime_pid(service) == runtime
    os.kill(runtime, signal.SIGKILL)
    wait_until(service.predicts, timeout_s=REPLACED_S, what="predictions")
    wait_until(lambda: is_healthy(service), timeout_s=REPLACED_S, what="the health check")
    assert runtime_pid(service) != runtime
    assert "Traceback" not in service.text_of_log()[logged:]
