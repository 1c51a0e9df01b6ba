"""What an operator finds in the log of a real service about changes, workers, requests and failures."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.service import Service, wait_until
from wfmgmt.control.client import RuntimeClient

SPEC = "models: {}\ndag: {pre: []}\n"
#: What a handler says to pass for somebody else, in a terminal and in either format of the log.
FORGED = 'bad\n2026-01-01T00:00:00.000Z ERROR wfmgmt.change: registered by admin\r\x1b[2J\u202e {"level": "error"}'
HANDLER = f"""
import logging

def pre(data, context):
    if data is None:
        return None
    order = data[0]["body"].decode()
    logging.info("order %s", order)
    if order == "fail":
        raise ValueError({FORGED!r})
    if order == "forge":
        print({FORGED!r})
        logging.warning({FORGED!r})
    if order == "exit":
        import os
        os._exit(3)
    return [order]
"""


def register(service: Service) -> None:
    """Register two versions of a workflow."""
    make_war(service.workflow_store, name="seq", spec=SPEC, handler=HANDLER)
    for version in ("1.0", "2.0"):
        answer = service.register("seq.war", version=version)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("l"), log_format="json", access_log="all") as service:
        register(service)
        yield service


@pytest.fixture(scope="module", name="terse")
def _terse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose log is text, and has what went wrong only."""
    with deployed(tmp_path_factory.mktemp("t"), log_level="warning", access_log="errors") as service:
        register(service)
        yield service


def records(service: Service, **fields: object) -> list[dict[str, Any]]:
    """Return the records that have these fields; each line of the log is one, unless it is still being written."""
    found = [json.loads(line) for line in service.text_of_log().splitlines(keepends=True) if line.endswith("\n")]
    return [record for record in found if fields.items() <= record.items()]


def record(service: Service, **fields: object) -> dict[str, Any]:
    """Return the only record that has these fields, once it is there."""
    found: list[dict[str, Any]] = wait_until(lambda: records(service, **fields), what=f"a record with {fields}")
    assert len(found) == 1, found
    return found[0]


def predict(service: Service, data: str, request_id: str, path: str = "seq") -> requests.Response:
    """Send a request under an id."""
    headers = {"x-request-id": request_id}
    return requests.post(f"{service.inference}/wfpredict/{path}", data=data, headers=headers, timeout=30)


def change(service: Service, method: str, path: str, request_id: str, **arguments: Any) -> requests.Response:
    """Change something under an id."""
    headers = {"x-request-id": request_id}
    return requests.request(method, f"{service.management}{path}", headers=headers, timeout=60, **arguments)


def test_changes_are_records(service: Service) -> None:
    """One each, with who asked, from where, under which request, and why it failed."""
    table = {"routes": [{"version": "1.0", "weight": 75}, {"version": "2.0", "weight": 25}]}
    assert change(service, "PUT", "/workflows/seq/traffic", "c1", json={**table, "reason": "canary"}).ok
    released = record(service, logger="wfmgmt.change", request_id="c1")
    assert released["message"].startswith("released by anonymous from 127.0.0.1: release ")
    assert released["message"].endswith("(traffic), 2.0=25% 1.0=75%; reason: canary")
    assert (released["workflow"], released["actor"], released["action"]) == ("seq", "anonymous", "traffic")

    assert change(service, "POST", "/workflows?url=none.war", "c2").status_code == 404
    failed = record(service, logger="wfmgmt.change", request_id="c2")
    assert failed["message"].startswith("failed: register by anonymous from 127.0.0.1: ArchiveNotFound: ")
    assert failed["level"] == "info"

    assert change(service, "POST", "/workflows?url=seq.war&workflow_name=other", "c3").ok
    assert change(service, "DELETE", "/workflows/other", "c4").ok
    assert record(service, request_id="c3", logger="wfmgmt.change")["message"].startswith("registered by anonymous")
    assert record(service, request_id="c4", logger="wfmgmt.change")["message"].startswith("unregistered by anonymous")


def test_workers_are_records(service: Service) -> None:
    """Each that comes up and each that goes, with the reason; one that dies is a warning."""
    up = records(service, logger="wfmgmt.worker", workflow="seq", version="1.0", node="pre")[0]
    assert up["message"].startswith("worker up after ")
    assert Path(f"/proc/{up['pid']}").exists()
    assert predict(service, "exit", "w1", "seq/1.0").status_code == 500
    gone = record(service, logger="wfmgmt.worker", pid=up["pid"], level="warning")
    assert gone["message"] == "worker gone: exited with code 3"
    make_war(service.workflow_store, name="brief", spec=SPEC, handler=HANDLER)
    assert service.register("brief.war").ok
    assert service.unregister("brief").ok
    last = wait_until(lambda: records(service, message="worker gone: unloaded", workflow="brief"), what="the record")
    assert last[0]["level"] == "info"


def test_failed_prediction_is_one_record(service: Service) -> None:
    """It has all that is known, the traceback in it, and nothing of it stands anywhere else."""
    assert predict(service, "fail", "f1", "seq/2.0").status_code == 500
    failed = record(service, logger="wfmgmt.prediction", request_id="f1")
    assert (failed["level"], failed["workflow"], failed["version"]) == ("error", "seq", "2.0")
    assert (failed["node"], failed["attempt"]) == ("pre", 2)
    assert failed["message"] == f"prediction failed: ValueError: {FORGED}"
    assert "in pre\n    raise ValueError(" in failed["traceback"]
    assert failed["traceback"].endswith(f"ValueError: {FORGED}\n")
    assert Path(f"/proc/{failed['pid']}").exists()
    assert [each["logger"] for each in records(service) if "Traceback" in str(each)] == ["wfmgmt.prediction"]


def test_handlers_records_have_the_id_of_the_request(service: Service) -> None:
    """What they print has none, and nothing that they say becomes a record of its own."""
    assert predict(service, "forge", "h1", "seq/2.0").text == "forge"
    assert record(service, request_id="h1", message="order forge")["level"] == "info"
    warning = record(service, request_id="h1", level="warning", message="bad")
    assert (warning["workflow"], warning["version"], warning["node"]) == ("seq", "2.0", "pre")
    assert {each["logger"] for each in records(service) if "registered by admin" in each["message"]} <= {
        "wfmgmt.handler", "wfmgmt.prediction",
    }  # fmt: skip


def test_requests_are_records_of_both_planes(service: Service) -> None:
    """Refused ones too; the query, which may hold a token, is left out."""
    assert predict(service, "x", "a1", "seq/2.0?trace=1&token=secret").ok
    answered = record(service, logger="wfmgmt.access", request_id="a1")
    assert (answered["method"], answered["path"], answered["status"]) == ("POST", "/wfpredict/seq/2.0", 200)
    assert (answered["client"], answered["bytes"], answered["level"]) == ("127.0.0.1", 1, "info")
    assert (answered["workflow"], answered["version"]) == ("seq", "2.0")
    assert 0 <= answered["ms"] < 60_000  # It is rounded to a tenth.
    assert change(service, "GET", "/workflows/seq/2.0?token=secret", "a2").ok
    described = record(service, logger="wfmgmt.access", request_id="a2")
    assert (described["path"], described["status"], described["workflow"]) == ("/workflows/seq/2.0", 200, "seq")
    assert (described["version"], described["client"]) == ("2.0", "127.0.0.1")
    assert described["bytes"] > 100
    assert change(service, "GET", "/none%0Aforged 1", "a3").status_code == 404
    assert record(service, logger="wfmgmt.access", request_id="a3")["path"] == "/none%0Aforged%201"
    assert predict(service, "x", "a4", "none").status_code == 404
    assert record(service, logger="wfmgmt.access", request_id="a4")["status"] == 404
    assert "secret" not in service.text_of_log()


@pytest.mark.parametrize("plane", ["management", "inference"])
def test_requests_that_are_not_http_are_records(service: Service, plane: str) -> None:
    """Their answers have an id, under which the line is found."""
    host, _, port = getattr(service, plane).removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"not HTTP\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    (request_id,) = [line[14:] for line in answer.decode().splitlines() if line.lower().startswith("x-request-id: ")]
    assert record(service, logger="wfmgmt.access", request_id=request_id)["status"] == 400


def test_last_lines_about_a_node_can_be_asked_for(service: Service) -> None:
    """Workers, failures and what handlers say, as the log has them."""
    assert predict(service, "fail", "n1", "seq/2.0").status_code == 500
    runtime = RuntimeClient(service.run_folder / "runtime.sock")

    def texts() -> list[str]:
        return [line.text for line in runtime.log("seq", "2.0", "pre", 100).lines]

    wait_until(lambda: any("order fail" in text for text in texts()), what="the handler's line")
    lines = texts()
    assert lines[0].startswith("worker up after ")
    (failed,) = [text for text in lines if text.startswith("prediction failed: ")][-1:]
    assert "Traceback (most recent call last):" in failed
    assert {line.node for line in runtime.log("seq", "2.0", None, 100).lines} == {"pre"}
    assert len(runtime.log("seq", "2.0", "pre", 1).lines) == 1
    assert list(runtime.log("seq", "2.0", "none", 100).lines) == []


def test_load_has_the_id_of_the_request_that_asked_for_it(service: Service) -> None:
    """Also what its handler prints meanwhile and why it failed; what its workers do later has not."""
    for name, line in (("asked", "print('initialised')"), ("wrong", "1 / 0")):
        make_war(service.workflow_store, name=name, spec=SPEC, handler=f"{HANDLER}\n{line}\n")
    assert change(service, "POST", "/workflows?url=asked.war", "l1").ok
    up = record(service, request_id="l1", logger="wfmgmt.worker")
    assert up["message"].startswith("worker up after ")
    assert record(service, request_id="l1", message="initialised")["pid"] == up["pid"]
    assert predict(service, "exit", "l2", "asked").status_code == 500
    assert "request_id" not in record(service, message="worker gone: exited with code 3", pid=up["pid"])
    again = wait_until(lambda: records(service, message="initialised")[1:], what="the next worker")
    assert all("request_id" not in each for each in again)
    assert change(service, "POST", "/workflows?url=wrong.war&workflow_name=wrong", "l3").status_code >= 400
    assert record(service, request_id="l3", message="failed to load")["traceback"].endswith("division by zero\n")
    reason = record(service, request_id="l3", logger="wfmgmt.runtime")
    assert reason["message"].startswith("not loaded: ")
    assert service.unregister("asked").ok


def test_terse_log_has_failures_only(terse: Service) -> None:
    """At the level of warnings: the failed prediction with its traceback, and requests that failed."""
    before = len(terse.text_of_log())
    assert predict(terse, "x", "t1").ok
    assert predict(terse, "fail", "t2").status_code == 500
    assert change(terse, "GET", "/workflows/none", "t3").status_code == 404
    wait_until(lambda: "request_id=t3" in terse.text_of_log(), what="the line of the refused request")
    wait_until(lambda: terse.text_of_log().count("request_id=t2") == 2, what="both lines of the failed prediction")
    said = terse.text_of_log()[before:]
    lines = [line for line in said.splitlines() if not line.startswith("    ")]
    assert len(lines) == 3, said
    (failed,) = [line for line in lines if " ERROR wfmgmt.prediction " in line]
    assert " [request_id=t2 workflow=seq version=1.0 node=pre attempt=2 pid=" in failed
    assert "]: prediction failed: ValueError: bad\\n2026" in failed
    assert "\n    Traceback (most recent call last):\n" in said
    assert "request_id=t1" not in said
    (answered,) = [line for line in lines if " INFO wfmgmt.access [request_id=t2 workflow=seq version=1.0]: " in line]
    assert "]: 127.0.0.1 POST /wfpredict/seq 500 " in answered
    assert all(line.isprintable() for line in said.splitlines())
