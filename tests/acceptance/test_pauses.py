"""The machine stands still for a while: a laptop that sleeps, a virtual machine that is moved, a debugger."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.processes import runtime_pid
from tests.support.service import Service, pids_of, wait_until

#: Tells that it has begun, and answers in time.
SLOW = """
import os, time

def slow(data, context):
    if data is None:
        return None
    open(MARK, "w").close()
    time.sleep(0.5)
    return [f"{os.getpid()} " + "x" * 1_000_000]
"""
PAUSE_S = 2.5


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("paused")


@pytest.fixture(name="mark")
def _mark(folder: Path) -> Path:
    """Return a file that the handler makes when it begins."""
    mark = folder / "begun"
    mark.unlink(missing_ok=True)
    return mark


@pytest.fixture(name="service", scope="module")
def _service(folder: Path) -> Iterator[Service]:
    with deployed(folder / "d") as service:
        spec = "models: {timeout-ms: 1500, retry-attempts: 0}\ndag: {slow: []}\n"
        handler = SLOW.replace("MARK", repr(str(folder / "begun")))
        make_war(service.workflow_store, name="slow", spec=spec, handler=handler)
        assert service.register("slow.war", response_timeout=2).status_code == 200
        yield service


def pause(pids: Iterable[int]) -> None:
    """Stop processes for longer than the handler may take."""
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(PAUSE_S)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("what", ["runtime", "everything"])
def test_answer_that_came_in_time_counts_after_a_pause(service: Service, mark: Path, what: str) -> None:
    """The runtime reads what has arrived before it looks at the clock; no worker is killed for the pause."""
    workers = service.worker_pids()
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(requests.post, f"{service.inference}/wfpredict/slow", data=b"a", timeout=60)
        wait_until(mark.exists, what="the begin of the handler")
        pause([runtime_pid(service)] if what == "runtime" else pids_of(service.instance))
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    assert int(answer.text.split()[0]) in workers
    assert service.worker_pids() == workers
