"""Supervision that goes on: processes that are killed or stopped, reloads, limits."""

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.processes import reload, runtime_pid, web_workers
from tests.support.service import Service, wait_until
from wfmgmt.deployment.locks import LockFile
from wfmgmt.loops import MAX_FAILURES

#: For how long a health check may still call a service healthy that is not.
MAX_BLIND_S = 10.0
#: In what time a part that was killed or stopped has to be replaced, on a busy machine.
REPLACED_S = 60.0


@pytest.fixture(name="service")
def _service(prepared: Service) -> Iterator[Service]:
    service = prepared.start()
    assert service.register("seq.war").status_code == 200
    yield service
    for pid in web_workers(service):
        os.kill(pid, signal.SIGCONT)


def elected(service: Service) -> int | None:
    """Return the web worker that looks after the service."""
    return LockFile(service.run_folder / "housekeeping.lock").holder()


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
    stopped = elected(service)
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    os.kill(runtime_pid(service), signal.SIGKILL)
    wait_until(lambda: elected(service) not in (None, stopped), timeout_s=15, what="another election")
    wait_until(service.predicts, timeout_s=REPLACED_S, what="predictions")
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=REPLACED_S, what="a new web worker")
    assert stopped not in web_workers(service)


def test_other_web_worker_that_is_stopped_is_replaced(service: Service) -> None:
    """Its connections hang until gunicorn kills it; new ones are answered by others."""
    stopped = next(pid for pid in web_workers(service) if pid != elected(service))
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: service.names() == ["seq"], what="an answer")
    wait_until(lambda: stopped not in web_workers(service), timeout_s=REPLACED_S, what="the end of the stopped one")
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=REPLACED_S, what="a new web worker")


def test_web_worker_whose_supervision_keeps_failing_is_replaced(service: Service) -> None:
    """The failures are counted; it gives its lock back and ends in good order, and so does each that fails alike."""
    failing = elected(service)
    lock = service.run_folder / "runtime.lock"
    runtime = runtime_pid(service)
    lock.unlink()
    lock.mkdir()
    os.kill(runtime, signal.SIGKILL)
    try:
        wait_until(lambda: failing not in web_workers(service), timeout_s=2 * REPLACED_S, what="the end of the elected")
    finally:
        lock.rmdir()
    wait_until(lambda: elected(service) not in (None, failing), timeout_s=REPLACED_S, what="another one")
    metrics = requests.get(f"{service.management}/metrics", timeout=5).text
    counted = re.search(r'wfmgmt_loop_failures_total\{loop="supervision"\} (\d+)', metrics)
    assert counted is not None
    assert int(counted[1]) >= MAX_FAILURES
    wait_until(lambda: service.predicts() and is_healthy(service), timeout_s=REPLACED_S, what="predictions")
    assert service.stop() == 0


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
    assert service.stop() == 0


def test_reloaded_service_still_looks_after_its_runtime(service: Service) -> None:
    """New web workers, and a new runtime, have what the first had; a mistake in the file matters at the next start."""
    runtime = runtime_pid(service)
    (service.instance / "wfmgmt.toml").write_text("no_such_setting = 1\n")
    reload(service, timeout_s=REPLACED_S)
    assert runtime_pid(service) == runtime
    os.kill(runtime, signal.SIGKILL)
    wait_until(service.predicts, timeout_s=REPLACED_S, what="predictions")
    wait_until(lambda: is_healthy(service), timeout_s=REPLACED_S, what="the health check")
    assert service.stop() == 0
