"""Predictions for workflows that are registered but not loaded yet: they wait, within bounds."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid, runtime_pids
from tests.support.records import make_database
from tests.support.service import Service, wait_until

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
PLANES = ("management", "inference")


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with the workflows `patient` and `hasty`, which have 60 seconds and one to answer."""
    folder = tmp_path_factory.mktemp("w")
    service = Service(folder / "instance", queue_size=QUEUE_SIZE)
    make_database(service.database)
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
    wait_until(lambda: set(runtime_pids(service)) - {killed}, timeout_s=30, what="another runtime")


@contextmanager
def loading(service: Service) -> Iterator[Path]:
    """Give the gate while both workflows are being loaded by a new runtime; open it in the end and wait for them."""
    gate = gate_of(service)
    gate.touch()
    try:
        kill_runtime(service)
        wait_until(lambda: len(health(service).get("notReady", ())) == 2, timeout_s=60, what="the new runtime")
        yield gate
    finally:
        gate.unlink(missing_ok=True)
        wait_until(lambda: health(service) == {"status": "Healthy"}, timeout_s=60, what="both workflows")
        wait_until(lambda: "null" not in history_of(service), timeout_s=60, what="the history")


def history_of(service: Service) -> str:
    """Return what the next runtime knows about the loads, where null stands for one that failed or hung."""
    return (service.run_folder / "loads.json").read_text(encoding="ascii")


def health(service: Service) -> Any:
    """Return what the runtime itself says about its health."""
    return requests.get(f"{service.inference}/ping", timeout=60).json()


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
            # A request that times out only after the others had all the time to be refused.
            assert threads.submit(predict, service, "hasty").result().status_code == 503
        assert refusals(answers) == []
        gate.unlink()
        assert [(each.result().status_code, each.result().content) for each in answers] == [
            (200, str(number).encode()) for number in range(QUEUE_SIZE)
        ]


def test_prediction_waits_as_long_as_its_workflow_has_to_answer(service: Service) -> None:
    """After the `response_timeout` the answer says why, and when to try again."""
    with loading(service):
        began = time.monotonic()
        answer = predict(service, "hasty")
        assert time.monotonic() - began >= 1
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["message"] == "Workflow hasty is being loaded; try again later."


def test_as_many_requests_wait_as_may_queue(service: Service) -> None:
    """One more is refused at once; clients that went away have given their places back."""
    with loading(service) as gate:
        for _ in range(QUEUE_SIZE):
            with pytest.raises(requests.ReadTimeout):
                requests.post(f"{service.inference}/wfpredict/patient", data=b"x", timeout=0.3)
        assert predict(service, "nosuch").status_code == 404
        with asked(service, "patient", QUEUE_SIZE + 1) as answers:
            (refusal,) = wait_until(lambda: refusals(answers), timeout_s=60, what="a refusal")
            assert (refusal.status_code, refusal.headers["Retry-After"]) == (503, "1")
            assert refusal.json()["message"] == (
                f"{QUEUE_SIZE} requests wait for workflow patient to be loaded already (WFMGMT_QUEUE_SIZE); "
                "try again later."
            )
            gate.unlink()
            assert sorted(each.result().status_code for each in answers) == [200] * QUEUE_SIZE + [503]


def test_failed_load_is_answered_at_once(service: Service) -> None:
    """Waiting is not likely to help, so the client gets the reason of the load."""
    with loading(service) as gate:
        gate.write_text("fail", encoding="ascii")
        wait_until(lambda: "told to fail" in predict(service, "hasty").text, timeout_s=30, what="the failure")
        answer = predict(service, "hasty")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["message"] == "Workflow hasty is not loaded: m: ValueError: told to fail"


def probe(service: Service, plane: str, path: str) -> tuple[int, Any]:
    """Return status and body of a probe."""
    answer = requests.get(f"{getattr(service, plane)}{path}", timeout=30)
    return answer.status_code, answer.json()


def is_ready(service: Service, plane: str) -> bool:
    """Return whether the service says on this plane that it is ready."""
    return probe(service, plane, "/readyz")[0] == 200


def test_service_is_ready_when_all_workflows_are_ready_again(service: Service) -> None:
    """Until then both addresses say which are not; they are alive meanwhile."""
    reason = "m: 0 of 1 workers ready"
    not_ready = {
        "code": 503,
        "type": "ServiceUnavailableException",
        "message": "Workflows that are not ready again yet: 2.",
        "status": "Not Ready",
        "notReady": {"hasty": reason, "patient": reason},
    }
    with loading(service) as gate:
        for plane in PLANES:
            wait_until(partial(says, service, plane, (503, not_ready)), timeout_s=30, what=f"{not_ready} of {plane}")
            assert probe(service, plane, "/livez") == (200, {"status": "Live"})
        gate.unlink()
        for plane in PLANES:
            wait_until(partial(says, service, plane, (200, {"status": "Ready"})), timeout_s=60, what=plane)
        assert predict(service, "hasty").status_code == 200


def says(service: Service, plane: str, expected: tuple[int, Any]) -> bool:
    """Return whether this is what the service says about its readiness."""
    return probe(service, plane, "/readyz") == expected


def test_workflow_that_failed_before_the_last_start_is_not_awaited(service: Service) -> None:
    """What was not ready before does not have to be ready again; health tells of it still."""
    with loading(service) as gate:
        gate.write_text("fail", encoding="ascii")
        wait_until(lambda: history_of(service).count("null") == 2, timeout_s=30, what="two failures")
        assert probe(service, "inference", "/readyz")[0] == 503
        kill_runtime(service)
        for plane in PLANES:
            wait_until(partial(is_ready, service, plane), timeout_s=30, what=plane)
        assert set(probe(service, "inference", "/ping")[1]["notReady"]) == {"hasty", "patient"}


def test_unknown_workflow_is_refused_before_the_body_is_read(service: Service) -> None:
    """Also by a runtime that has only just been started, once it knows."""
    kill_runtime(service)
    address = urlsplit(service.inference)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60) as client:
        client.sendall(b"POST /wfpredict/nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        head, _, body = client.recv(65536).partition(b"\r\n\r\n")
        assert b" 404 " in head
        assert json.loads(body)["message"] == "Workflow not found: nosuch"
