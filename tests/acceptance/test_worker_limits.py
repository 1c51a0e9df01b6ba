"""What handlers cannot take from the service, as an operator and as clients see it."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support.factories import MODEL_HANDLER, make_mar, make_war
from tests.support.processes import runtime_pid
from tests.support.service import Service, parent_pid, pids_of, wait_until

#: A user of this run's own, so that all processes that the kernel counts for it are the service's, and none are left of
#: an earlier run.
USER = 1_000_000 + os.getpid()
PROCESSES = 240
#: How long a health check may call healthy what is not.
MAX_BLIND_S = 10.0

BOMB = """
import os, time
def handle(data, context):
    if data is None:
        return
    forked = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(120)
                os._exit(0)
            forked += 1
    except OSError as error:
        time.sleep(6)
        return [f"{forked} {error.strerror}"]
"""
SPEC = "models: {min-workers: 1, max-workers: 1, timeout-ms: 60000, m: {url: NAME.mar}}\ndag: {m: []}\n"


def put(service: Service, name: str, source: str = MODEL_HANDLER) -> None:
    """Put a workflow of one model into the stores."""
    make_war(service.workflow_store, name=name, spec=SPEC.replace("NAME", name))
    make_mar(service.model_store, name=name, source=source)


def ping(address: str) -> str:
    """Return what a health check says."""
    return str(requests.get(f"{address}/ping", timeout=5).json()["status"])


def says(address: str, status: str) -> bool:
    """Return whether a health check says this."""
    return ping(address) == status


def predict(service: Service, name: str) -> int:
    """Return the status of a prediction."""
    return requests.get(f"{service.inference}/wfpredict/{name}", timeout=60).status_code


@pytest.fixture(name="bounded")
def _bounded() -> Iterator[Service]:
    """Run a deployment as a user without a name who may have few processes."""
    if os.geteuid() != 0:
        pytest.skip("only root can run it as a user of its own, and the kernel counts the processes of a user")
    folder = Path(tempfile.mkdtemp(prefix="wfmgmt-limits-"))
    # The checkout and the interpreter may lie where only root can go.
    privilege = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *privilege)
    service = Service(folder / "instance", prefix=("prlimit", f"--nproc={PROCESSES}:{PROCESSES}", *user))
    put(service, "bomb", BOMB)
    put(service, "good")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    try:
        yield service.start()
    finally:
        service.kill()
        shutil.rmtree(folder)


def test_service_goes_on_while_a_handler_has_all_processes(bounded: Service) -> None:
    """A handler that forks to its limit leaves the service enough for a new worker, a new runtime and its end."""
    assert [bounded.register(f"{name}.war").status_code for name in ("bomb", "good")] == [200, 200]
    [good] = [pid for pid in bounded.worker_pids() if parent_pid(pid) != runtime_pid(bounded)][-1:]
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{bounded.inference}/wfpredict/bomb", timeout=(5, 1))
    wait_until(lambda: len(pids_of(bounded.instance)) > PROCESSES // 2, what="the bomb")
    assert predict(bounded, "good") == 200
    os.kill(good, signal.SIGKILL)
    wait_until(lambda: predict(bounded, "good") == 200, timeout_s=30, what="a new worker")
    os.kill(runtime_pid(bounded), signal.SIGKILL)
    wait_until(lambda: predict(bounded, "good") == 200, timeout_s=30, what="a new runtime")
    assert bounded.stop() == 0
    wait_until(lambda: pids_of(bounded.instance) == [], what="the end of all processes")


def test_registration_over_the_bound_is_refused_in_words(tmp_path: Path) -> None:
    """Nothing of it stays, the others go on, and there is room again when one of them goes."""
    service = Service(tmp_path / "instance", max_workers=1)
    for name in ("first", "second"):
        put(service, name)
    with service:
        assert service.register("first.war").status_code == 200
        answer = service.register("second.war")
        assert (answer.status_code, answer.json()["type"]) == (503, "ServiceUnavailableException")
        assert "1 more is needed, 1 runs, WFMGMT_MAX_WORKERS allows 1" in answer.json()["message"]
        assert service.names() == ["first"]
        assert predict(service, "first") == 200
        assert service.unregister("first").status_code == 200
        assert service.register("second.war").status_code == 200


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment with one worker, which recovers from each test."""
    service = Service(tmp_path_factory.mktemp("running") / "instance")
    put(service, "good")
    with service:
        assert service.register("good.war").status_code == 200
        yield service


@pytest.fixture(name="running")
def _running(service: Service) -> tuple[Service, int, int]:
    """Return the deployment with the process ids of the worker and its forkserver."""
    [worker] = [pid for pid in service.worker_pids() if parent_pid(pid) != runtime_pid(service)]
    return service, worker, parent_pid(worker) or 0


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda each: each.name)
@pytest.mark.parametrize("is_forkserver", [False, True], ids=["worker", "forkserver"])
def test_what_is_killed_or_stopped_is_replaced(
    running: tuple[Service, int, int], *, is_forkserver: bool, signal_number: signal.Signals
) -> None:
    """Without any request the workers come back, before a health check could call healthy for long what is not."""
    service, worker, forkserver = running
    os.kill(forkserver if is_forkserver else worker, signal_number)
    wait_until(lambda: worker not in service.worker_pids(), timeout_s=MAX_BLIND_S, what="the end of the worker")
    wait_until(lambda: len(service.worker_pids()) == 2, what="a new worker")
    wait_until(lambda: predict(service, "good") == 200, what="a prediction")
    for address in (service.management, service.inference):
        wait_until(partial(says, address, "Healthy"), what="the health")


def test_health_checks_show_that_a_worker_is_missing_while_none_can_be_started(
    running: tuple[Service, int, int],
) -> None:
    """A stopped forkserver reports no end of a worker; its socket does."""
    service, worker, forkserver = running
    os.kill(forkserver, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    for address in (service.management, service.inference):
        wait_until(partial(says, address, "Partial Healthy"), what="the bad news")
    for address in (service.management, service.inference):
        wait_until(partial(says, address, "Healthy"), timeout_s=30, what="the health")
