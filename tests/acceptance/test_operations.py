"""Registrations under way in a real deployment: seen by everybody, and ended whatever happens to their process."""

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.evidence import nothing_left, query, samples
from tests.support.factories import make_war
from tests.support.processes import web_workers
from tests.support.scripted_server import ScriptedServer
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import in_background, loading_worker, make_slow_workflow

INTERRUPTED = "The process that carried this out is gone; nothing of it is left."


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("operations") / "instance"
    with prepared(folder, allowed_urls=r"http://127\.0\.0\.1:.*", web_workers=2) as service:
        service.start()
        assert service.register("seq.war").status_code == 200
        assert service.unregister("seq").status_code == 200
        yield service


class HalfServer(ScriptedServer):
    """A server that sends half of an archive, and the other half when it may."""

    def __init__(self, content: bytes) -> None:
        super().__init__(self._send)
        self.may_go_on = threading.Event()
        self._content = content

    def _send(self, connection: socket.socket, _: ScriptedServer) -> None:
        half = len(self._content) // 2
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._content)}\r\n\r\n".encode())
        connection.sendall(self._content[:half])
        self.may_go_on.wait(60)
        connection.sendall(self._content[half:])


@contextmanager
def downloading(service: Service, folder: Path, **parameters: str) -> Iterator[tuple[HalfServer, Future[Any]]]:
    """Register an archive of which only half has arrived yet."""
    content = make_war(folder, extra_files={"padding": os.urandom(400_000)}).read_bytes()
    with HalfServer(content) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.register, server.url(), **parameters)
        try:
            yield server, answer
        finally:
            server.may_go_on.set()


def operations(service: Service, **parameters: str) -> list[dict[str, Any]]:
    """List operations."""
    found: list[dict[str, Any]] = requests.get(
        f"{service.management}/operations", params=parameters, timeout=10
    ).json()["operations"]
    return found


def operation(service: Service, uid: str, wait: int = 0) -> dict[str, Any]:
    """Return one operation."""
    found: dict[str, Any] = requests.get(
        f"{service.management}/operations/{uid}", params={"wait": wait}, timeout=60
    ).json()
    return found


def running(service: Service) -> dict[str, Any]:
    """Return the only operation that runs, once it is there."""
    (found,) = wait_until(lambda: operations(service, state="running"), what="the operation")
    return dict(found)


def holder_of(service: Service, lease: str) -> int:
    """Return the web worker that holds a lease."""
    for pid in web_workers(service):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if str(descriptor.readlink()).endswith(lease):
                return pid
    message = f"no web worker holds {lease}"
    raise AssertionError(message)


def test_download_is_seen_by_all_means(service: Service, tmp_path: Path) -> None:
    """By its address, in lists, SQL and metrics, while the name of the workflow is in what has not arrived yet."""
    with nothing_left(service):
        with downloading(service, tmp_path) as (server, answer):
            found = running(service)
            assert (found["phase"], found["workflow"], found["version"]) == ("fetching", "", "1.0")
            progress = wait_until(
                lambda: (each := operation(service, found["id"])["progress"])["bytes"] and each, what="progress"
            )
            assert 0 < progress["bytes"] < progress["totalBytes"]
            listed = requests.get(f"{service.management}/workflows?state=registering", timeout=10).json()
            assert listed == {
                "workflows": [
                    {
                        "workflowName": "",
                        "workflowUrl": server.url(),
                        "version": "1.0",
                        "state": "registering",
                        "operation": f"/operations/{found['id']}",
                    }
                ]
            }
            columns = "state, phase, done_bytes, total_bytes"
            (row,) = query(service, f"SELECT {columns} FROM v_operation WHERE id = ?", found["id"])  # noqa: S608 - constants
            assert tuple(row.values()) == ("running", "fetching", progress["bytes"], progress["totalBytes"])
            metrics = requests.get(f"{service.management}/metrics", timeout=10).text
            assert samples(metrics)["wfmgmt_operations_running", ()] == 1.0
            server.may_go_on.set()
            done = operation(service, found["id"], wait=60)
            assert answer.result().status_code == 200
        assert (done["state"], done["workflow"]) == ("succeeded", "seq")
        # The archive was downloaded and read, its model only read.
        read = 2 * progress["totalBytes"] + (service.model_store / "m1.mar").stat().st_size
        assert done["progress"]["bytes"] == done["progress"]["totalBytes"] == read
        assert service.unregister("seq").status_code == 200


def test_nodes_that_are_up_are_seen_while_others_load(service: Service, tmp_path: Path) -> None:
    """One by one, and not all at once in the end."""
    held = tmp_path / "held"
    handler = f"""
import fcntl

def quick(data, context):
    return data

def slow(data, context):
    if data is None:
        with open({str(held)!r}) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    return data
"""
    make_war(service.workflow_store, name="two", spec="dag: {quick: [slow]}\n", handler=handler)
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path = service.register("two.war", synchronous="false").json()["operation"]

        def ready() -> dict[str, int]:
            nodes = requests.get(f"{service.management}{path}", timeout=10).json()["progress"]["nodes"]
            return {name: node["ready"] for name, node in nodes.items()}

        wait_until(lambda: ready() == {"quick": 1, "slow": 0}, timeout_s=30, what="the first node")
    ended = requests.get(f"{service.management}{path}?wait=30", timeout=60).json()
    assert (ended["state"], ready()) == ("succeeded", {"quick": 1, "slow": 1})
    assert service.unregister("two").status_code == 200


def test_same_registration_is_refused_by_every_web_worker(service: Service, tmp_path: Path) -> None:
    """At once, and naming the one that is under way: nothing is downloaded twice."""
    with nothing_left(service), downloading(service, tmp_path, workflow_name="twice") as (server, answer):
        found = running(service)
        for _ in range(8):
            refused = service.register(server.url(), workflow_name="twice")
            assert (refused.status_code, refused.json()["operation"]) == (409, f"/operations/{found['id']}")
        assert len(server.requests) == 1
        server.may_go_on.set()
        assert answer.result().status_code == 200
        assert service.unregister("twice").status_code == 200


def test_download_of_a_killed_web_worker_ends_with_the_reason(service: Service, tmp_path: Path) -> None:
    """Its request has its audit event, and the name is free at once."""
    with downloading(service, tmp_path, workflow_name="killed") as (server, answer):
        found = running(service)
        ((lease,),) = [row.values() for row in query(service, "SELECT lease FROM operation WHERE state = 'running'")]
        os.kill(holder_of(service, lease), signal.SIGKILL)
        assert isinstance(answer.exception(30), requests.ConnectionError)
        server.may_go_on.set()
        again = service.register("seq.war", workflow_name="killed")
        assert again.status_code == 200, again.text
    done = operation(service, found["id"])
    assert (done["state"], done["phase"], done["error"]["code"]) == ("failed", "fetching", 503)
    assert done["error"]["message"] == INTERRUPTED
    events = query(service, "SELECT action, outcome FROM audit_event WHERE request_id = ?", found["requestId"])
    assert events == [{"action": "register", "outcome": "failed"}]
    assert service.unregister("killed").status_code == 200
    wait_until(lambda: len(web_workers(service)) == 2, what="another web worker")


def test_load_of_a_killed_web_worker_ends_with_the_reason(service: Service, tmp_path: Path) -> None:
    """In the transaction that undoes it, whose audit row says so."""
    gate = make_slow_workflow(service, tmp_path / "gate")
    with in_background(service, "slow.war") as answer:
        loading_worker(gate)
        found = running(service)
        assert (found["phase"], found["workflow"]) == ("loading", "slow")
        wait_until(lambda: operation(service, found["id"])["progress"]["nodes"], what="the node")
        ((lease,),) = [row.values() for row in query(service, "SELECT lease FROM operation WHERE state = 'running'")]
        os.kill(holder_of(service, lease), signal.SIGKILL)
        assert isinstance(answer.exception(30), requests.ConnectionError)
        done = wait_until(
            lambda: (each := operation(service, found["id"]))["done"] and each, timeout_s=30, what="the end"
        )
    gate.unlink()
    assert (done["state"], done["error"]["message"]) == ("failed", INTERRUPTED)
    assert query(service, "SELECT name FROM workflow") == []
    (last,) = query(service, "SELECT action, workflow FROM audit_event ORDER BY id DESC LIMIT 1")
    assert last == {"action": "reconcile", "workflow": "slow"}
