"""Predictions for workflows that are registered but not loaded yet: they wait, within bounds."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.campaigns import pids_with, runtime_pid
from tests.factories import make_mar, make_war
from tests.service import Service, wait_until

#: A model that comes up once a file is gone, and fails while that file says so.
GATED = """\
import os, time
while os.path.exists({gate!r}):
    if open({gate!r}).read() == "fail":
        raise ValueError("told to fail")
    time.sleep(0.01)
def handle(data, context):
    return None if data is None else [row["body"] for row in data]
"""
QUEUE_SIZE = 3


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with the workflows `patient` and `hasty`, which have 60 seconds and one to answer."""
    folder = tmp_path_factory.mktemp("w")
    service = Service(folder / "instance", queue_size=QUEUE_SIZE)
    make_war(service.workflow_store, name="w", spec="models: {m: {url: m.mar}}\ndag: {m: []}\n", handler=None)
    make_mar(service.model_store, name="m", source=GATED.format(gate=str(gate_of(service))))
    with service:
        for name, response_timeout in (("patient", 60), ("hasty", 1)):
            answer = service.register("w.war", workflow_name=name, response_timeout=response_timeout)
            assert answer.status_code == 200, answer.text
        yield service


def gate_of(service: Service) -> Path:
    """Return the file that keeps models from coming up."""
    return service.instance.parent / "gate"


def kill_runtime(service: Service) -> None:
    """Kill the runtime, and return when another one is there."""
    killed = runtime_pid(service)
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: set(pids_with(service, "wfmgmt.cli.main runtime")) - {killed}, timeout_s=30, what="another runtime"
    )


@contextmanager
def loading(service: Service) -> Iterator[Path]:
    """Give the gate while both workflows are being loaded by a new runtime; open it in the end and wait for them."""
    gate = gate_of(service)
    gate.touch()
    try:
        kill_runtime(service)
        yield gate
    finally:
        gate.unlink(missing_ok=True)
        wait_until(lambda: is_healthy(service), timeout_s=60, what="both workflows")


def is_healthy(service: Service) -> bool:
    """Tell whether all workflows are there, as the runtime itself says."""
    return requests.get(f"{service.inference}/ping", timeout=30).json() == {"status": "Healthy"}


def predict(service: Service, name: str, body: bytes = b"x") -> requests.Response:
    """Ask a workflow."""
    return requests.post(f"{service.inference}/wfpredict/{name}", data=body, timeout=90)


@contextmanager
def asked(service: Service, name: str, count: int) -> Iterator[list["Future[requests.Response]"]]:
    """Give the answers to so many requests that were sent at the same time."""
    with ThreadPoolExecutor(count) as threads:
        yield [threads.submit(predict, service, name, str(number).encode()) for number in range(count)]


def refusals(answers: list["Future[requests.Response]"]) -> list[requests.Response]:
    """Return the answers so far."""
    return [answer.result() for answer in answers if answer.done()]


def test_prediction_waits_for_a_workflow_that_is_being_loaded(service: Service) -> None:
    """It is answered as soon as the workflow is there, as if nothing had happened."""
    with loading(service) as gate, asked(service, "patient", QUEUE_SIZE) as answers:
        with ThreadPoolExecutor(1) as threads:
            # A request that gives up only after the others had all the time to be refused.
            assert threads.submit(predict, service, "hasty").result().status_code == 503
        assert refusals(answers) == []
        gate.unlink()
        assert [(each.result().status_code, each.result().content) for each in answers] == [
            (200, str(number).encode()) for number in range(QUEUE_SIZE)
        ]


def test_prediction_waits_as_long_as_its_workflow_has_to_answer(service: Service) -> None:
    """After the `response_timeout` it is told why, and when to ask again."""
    with loading(service):
        began = time.monotonic()
        answer = predict(service, "hasty")
        assert time.monotonic() - began >= 1
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["message"] == "Workflow hasty is being loaded; try again later."


def test_as_many_requests_wait_as_may_queue(service: Service) -> None:
    """One more is refused at once, and the place of a client that went away is free again."""
    with loading(service) as gate, asked(service, "patient", QUEUE_SIZE) as answers:
        wait_until(lambda: is_refused(service, "patient"), what="a refusal")
        assert is_refused(service, "patient")
        assert refusals(answers) == []
        gate.unlink()
        assert {each.result().status_code for each in answers} == {200}


def is_refused(service: Service, name: str) -> bool:
    """Tell whether one more request is too much; if it is not, it goes away again."""
    try:
        answer = requests.post(f"{service.inference}/wfpredict/{name}", data=b"x", timeout=0.3)
    except requests.ReadTimeout:
        return False
    assert answer.status_code == 503
    assert answer.json()["message"] == (
        f"{QUEUE_SIZE} requests wait for workflow {name} to be loaded already; try again later."
    )
    return True


def test_failed_load_is_told_at_once(service: Service) -> None:
    """Waiting is not likely to help, so the client gets the reason of the load."""
    with loading(service) as gate:
        gate.write_text("fail", encoding="ascii")
        wait_until(lambda: "told to fail" in predict(service, "hasty").text, timeout_s=30, what="the failure")
        answer = predict(service, "hasty")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["message"] == "Workflow hasty is not loaded: m: ValueError: told to fail"


def test_workflow_that_does_not_exist_is_told_before_its_body_is_read(service: Service) -> None:
    """Also by a runtime that has only just been started, once it knows."""
    kill_runtime(service)
    address = urlsplit(service.inference)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60) as client:
        client.sendall(b"POST /wfpredict/nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
        assert b" 404 " in head
        assert json.loads(body)["message"] == "Workflow not found: nosuch"
