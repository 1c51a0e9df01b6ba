"""A log that nobody reads, or that cannot be written, changes nothing but the log."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid
from tests.support.records import make_database
from tests.support.service import CHECKOUT, Service, wait_until

TALKATIVE = """
import logging
def handle(data, context):
    print("p" * 5_000)
    logging.error("e" * 5_000)
    return [b"fine" for _ in data or ()]
"""
SPEC = "models: {m: {url: m1.mar}}\ndag: {m: []}\n"


def fill(fifo: Path) -> int:
    """Make a pipe under this path that is full, and return a descriptor that keeps it open without reading."""
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"x" * 512)
    return descriptor


@pytest.fixture(name="service", params=["not read", "on a full disk", "closed by its reader", "closed"])
def _service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """Return a deployment, not started yet, whose standard error does not work."""
    # The reader of the second one is gone at once.
    redirections = {"closed": "1>&- 2>&-", "closed by its reader": "> >(exec true) 2>&1"}
    redirection = redirections.get(request.param, "")
    service = Service(tmp_path / "instance", prefix=("bash", "-c", f'exec "$@" {redirection}', "bash"))
    make_database(service.database)
    make_war(service.workflow_store, name="talk", spec=SPEC)
    make_mar(service.model_store, source=TALKATIVE)
    descriptor = fill(service.log) if request.param == "not read" else -1
    if request.param == "on a full disk":
        service.log.symlink_to("/dev/full")
    yield service
    service.kill()
    if descriptor != -1:
        os.close(descriptor)
    service.wait_until_gone()


def predict(service: Service) -> str:
    """Return what the workflow answers, or the status when it is no success."""
    try:
        answer = requests.get(f"{service.inference}/wfpredict/talk", timeout=20)
    except requests.ConnectionError:
        return "no connection"
    return answer.text if answer.status_code == 200 else str(answer.status_code)


def test_everything_works_without_a_log(service: Service) -> None:
    """Predictions, the end of a runtime and its replacement, and SIGTERM do what they do with a log."""
    service.start()
    assert service.register("talk.war").status_code == 200
    assert [predict(service) for _ in range(50)] == ["fine"] * 50
    killed = runtime_pid(service)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: runtime_pid(service) != killed, what="a new runtime")
    wait_until(lambda: predict(service) == "fine", what="a prediction by the new runtime")
    assert service.stop() == 0


def test_exit_code_is_the_same_without_a_log(service: Service) -> None:
    """A wrong setting shows in the exit code, too."""
    service.environment["WFMGMT_LOG_LEVEL"] = "loud"
    assert service.launch().wait(timeout=20) == 2
    command = [*service.prefix, *service.command_line[:1], "-m", "wfmgmt.cli.main", "reconcile"]
    with service.log.open("ab", buffering=0) as log:
        code = subprocess.run(
            command, cwd=CHECKOUT, env=service.environment, stdout=log, stderr=log, timeout=20, check=False
        ).returncode
    assert code == 2
