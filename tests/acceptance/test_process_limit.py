"""Supervision at the limit of processes and threads: it waits until there is room, and nothing of it ends meanwhile."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid, web_workers
from tests.support.service import Service, pids_of, wait_until

#: A user of this run's own, so that all processes that the kernel counts for it are the service's, and none are left of
#: an earlier run.
USER = 2_000_000 + os.getpid()
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
#: For how long a health check may call healthy what is not.
MAX_BLIND_S = 10.0
RECOVERED_S = 60.0


@pytest.fixture(name="limited", scope="module")
def _limited() -> Iterator[Service]:
    """Run a service as a user whose processes the kernel counts, with a workflow."""
    if os.geteuid() != 0:
        pytest.skip("only root can run it as a user of its own, and the kernel counts the processes of a user")
    folder = Path(tempfile.mkdtemp(prefix="wfmgmt-processes-"))
    # The checkout and the interpreter may lie where only root can go.
    service = Service(
        folder / "instance",
        prefix=(*AS_USER, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    )
    make_war(service.workflow_store)
    make_mar(service.model_store)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    try:
        service.start()
        assert service.register("seq.war").status_code == 200
        yield service
        assert service.stop() == 0
    finally:
        service.kill()
        shutil.rmtree(folder)


@pytest.fixture(name="service")
def _service(limited: Service) -> Iterator[Service]:
    """Return a service that has recovered from the tests before, and recovers from this one."""
    yield limited
    allow_processes(limited, 1000)
    wait_until(lambda: len(web_workers(limited)) == 2, timeout_s=RECOVERED_S, what="two web workers")
    wait_until(limited.predicts, timeout_s=RECOVERED_S, what="predictions")


def allow_processes(service: Service, count: int) -> None:
    """Set the limit of all processes of the service, as their own user, who may do so without further rights."""
    for pid in pids_of(service.instance):
        subprocess.run([*AS_USER, "prlimit", f"--pid={pid}", f"--nproc={count}:"], check=False)


def wait_for_attempts(service: Service, said: str, count: int) -> None:
    """Wait until something was logged so many times more."""
    before = service.text_of_log().count(said)
    wait_until(lambda: service.text_of_log().count(said) >= before + count, timeout_s=60, what=f"more of {said!r}")


def test_runtime_is_started_as_soon_as_there_is_room(service: Service) -> None:
    """Meanwhile the management plane answers and says what is wrong, also to a new connection."""
    web = set(web_workers(service))
    allow_processes(service, 1)
    os.kill(runtime_pid(service), signal.SIGKILL)
    wait_until(
        lambda: requests.get(f"{service.management}/ping", timeout=5).status_code == 503,
        timeout_s=MAX_BLIND_S,
        what="the health check",
    )
    wait_for_attempts(service, "the runtime cannot be started", 2)
    assert service.names() == ["seq"]
    assert set(web_workers(service)) == web
    allow_processes(service, 1000)
    wait_until(service.predicts, timeout_s=RECOVERED_S, what="predictions")


def test_web_workers_are_started_as_soon_as_there_is_room(service: Service) -> None:
    """The master survives forks that the system refuses, and the runtime serves on."""
    killed = web_workers(service)
    allow_processes(service, 1)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for_attempts(service, "a web worker cannot be started", 2)
    assert service.predicts()
    assert web_workers(service) == []
    allow_processes(service, 1000)
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=RECOVERED_S, what="new web workers")
    assert service.names() == ["seq"]


def test_web_worker_that_lacks_threads_is_tried_again(service: Service) -> None:
    """One that can be forked but not have its threads ends for now, and never ends the service."""
    [first, *_] = web_workers(service)
    master = service.process
    assert master is not None
    threads = sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids_of(service.instance))
    own = len(list(Path(f"/proc/{first}/task").iterdir()))
    allow_processes(service, threads - own + 3)
    os.kill(first, signal.SIGKILL)
    wait_for_attempts(service, "can't start new thread", 2)
    assert master.poll() is None
    assert service.names() == ["seq"]
    allow_processes(service, 1000)
    wait_until(lambda: len(web_workers(service)) == 2, timeout_s=RECOVERED_S, what="a new web worker")
