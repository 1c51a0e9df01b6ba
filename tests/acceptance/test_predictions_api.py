"""What a client of the inference address sees, over real requests to a real deployment."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.evidence import assert_error, assert_json
from tests.support.factories import make_mar, make_war
from tests.support.obedient_workflows import MODEL, PATIENT_SPEC, register_obedient_workflows
from tests.support.service import Service, wait_until

#: Settings that make the limits easy to reach.
SETTINGS = {"queue_size": 2, "request_limit_bytes": 100_000, "drain_timeout_s": 10, "idle_timeout_s": 1}


@pytest.fixture(scope="module", name="service")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("p"), **SETTINGS) as service:
        register_obedient_workflows(service)
        yield service


def predict(service: Service, name: str, data: Any = b"", **arguments: Any) -> requests.Response:
    """Ask a workflow."""
    method = arguments.pop("method", "POST")
    return requests.request(method, f"{service.inference}/wfpredict/{name}", data=data, timeout=60, **arguments)


def told(service: Service, data: Any = b"", **arguments: Any) -> dict[str, Any]:
    """Return the fields that the first handler was given."""
    answer = predict(service, "tell", data, **arguments)
    assert answer.status_code == 200, answer.text
    fields: dict[str, Any] = answer.json()["fields"]
    return fields


def as_bytes(content: bytes) -> list[str]:
    """Return how the telling workflow shows bytes."""
    return ["bytearray", content.hex()]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"data": b"\x00\xff"}, {"body": as_bytes(b"\x00\xff")}),
        ({}, {"body": as_bytes(b"")}),
        ({"data": b"abc", "method": "PUT"}, {"body": as_bytes(b"abc")}),
        ({"method": "GET"}, {"body": as_bytes(b"")}),
        ({"data": (part for part in (b"chun", b"ked"))}, {"body": as_bytes(b"chunked")}),
        ({"data": b'{"a": 1}', "headers": {"Content-Type": "application/json"}}, {"body": {"a": 1}}),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, {"body": as_bytes(b"{")}),
        ({"data": "grün".encode(), "headers": {"Content-Type": "text/plain"}}, {"body": "grün"}),
        ({"data": {"city": "Ulm", "empty": ""}}, {"city": as_bytes(b"Ulm"), "empty": as_bytes(b"")}),
        ({"data": {"größe": "5 % +1 grün"}}, {"größe": as_bytes("5 % +1 grün".encode())}),
        ({"data": b"a=1&a=2", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, {"a": as_bytes(b"2")}),
        (
            {
                "files": {
                    "picture": ("p.png", b"\x89PNG", "image/png"),
                    "note": ("n.txt", "grün".encode(), "text/plain"),
                    "settings": ("s.json", b"[1]", "application/json"),
                    "field": (None, b"value"),
                }
            },
            {
                "picture": as_bytes(b"\x89PNG"),
                "note": "grün",
                "settings": [1],
                "field": as_bytes(b"value"),
            },
        ),
    ],
    ids=[
        "raw",
        "empty",
        "put",
        "get",
        "chunked",
        "json",
        "bad json",
        "text",
        "form",
        "unicode form",
        "repeated",
        "multipart",
    ],
)
def test_first_handler_gets_what_the_client_sent(
    service: Service, arguments: dict[str, Any], fields: dict[str, Any]
) -> None:
    """Every kind of body arrives as TorchServe hands it over."""
    assert told(service, **arguments) == fields


def test_handler_gets_headers_request_id_and_node_name(service: Service) -> None:
    """Headers, the request's identity and the node's name reach the handler; functions have no manifest."""
    answer = predict(service, "tell", headers={"X-City": "Ulm", "x-request-id": "my-own-id"})
    body = answer.json()
    assert body["headers"]["X-City"] == "Ulm"
    assert (body["request_id"], answer.headers["x-request-id"]) == ("my-own-id", "my-own-id")
    assert (body["manifest"], body["model_name"]) == (None, "tell__tell")


def test_answer_has_the_form_of_torchserve(service: Service) -> None:
    """The bytes are the leaf's, called JSON unless its handler says otherwise; nobody may cache them."""
    answer = predict(service, "obedient", b"anything")
    assert (answer.status_code, answer.content) == (200, b"anything")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Pragma"] == "no-cache"


def test_join_gets_its_parents_by_name(service: Service) -> None:
    """A join sees one entry per parent."""
    assert predict(service, "join", b"abc").json() == {"object_leaf": '{\n  "length": 3\n}', "text_leaf": "plain text"}


def test_branches_of_functions_run_at_the_same_time(service: Service) -> None:
    """Two functions that wait for each other meet, since each has a worker."""
    answer = predict(service, "meet", b"abc")
    assert (answer.status_code, answer.json()) == (200, {"left": "met", "right": "met"}), answer.text
    assert [node["maxWorkers"] for node in service.describe("meet")["nodes"]] == [1, 1, 1]
    assert assert_json(requests.get(f"{service.management}/ping", timeout=10)) == {"status": "Healthy"}
    assert service.ready_workers("meet") == [1, 1, 1]


def test_leaves_become_one_object(service: Service) -> None:
    """Each leaf has its entry: JSON, text or base64."""
    assert predict(service, "leaves", b"abc").json() == {
        "object_leaf": {"length": 3},
        "text_leaf": "plain text",
        "bytes_leaf": "//4=",
    }


@pytest.mark.parametrize("node", ["first", "model", "last"])
def test_failing_node_is_named(service: Service, node: str) -> None:
    """The error has node, attempt and the handler's words, and nothing of the host."""
    answer = predict(service, "obedient", f"{node}:raise".encode())
    body = assert_json(answer)
    assert list(body) == ["code", "type", "message", "node", "attempt", "hint"]
    assert (answer.status_code, body["code"], body["type"]) == (500, 500, "InternalServerException")
    assert (body["node"], body["attempt"]) == (node, 2)
    assert body["message"].startswith(f"Error executing {node}: ValueError: cannot read ")
    assert str(service.instance) not in body["message"]


def test_error_of_a_handler_shows_no_folder_of_the_service(service: Service) -> None:
    """Instance, checkout and home have other names outside; paths that are the handler's own stay."""
    body = assert_json(predict(service, "obedient", b"model:paths"))
    told = "FileNotFoundError: [Errno 2] gone: 'instance/gate wfmgmt/app.py ~/x /srv/data/x'"
    assert body["message"] == f"Error executing model: {told}"


@pytest.mark.parametrize(
    ("order", "reason"), [("exit", "its worker exited with code 3"), ("sleep", "no answer within")]
)
def test_worker_that_is_lost_is_replaced(service: Service, order: str, reason: str) -> None:
    """The request fails after its second attempt; the next one is answered."""
    body = predict(service, "obedient", f"model:{order}".encode()).json()
    assert body["message"].startswith(f"Error executing model: {reason}")
    assert body["attempt"] == 2
    assert predict(service, "obedient", b"next").content == b"next"


@pytest.mark.parametrize("node", ["first", "model", "last"])
def test_status_of_a_handler_reaches_the_client(service: Service, node: str) -> None:
    """What a handler sets on purpose is what the client gets, also when it is an error in the middle of the graph."""
    answer = predict(service, "obedient", f"{node}:status".encode())
    assert (answer.status_code, answer.text) == (418, "short and stout")
    assert (answer.headers["Content-Type"], answer.headers["X-Teapot"]) == ("text/plain", "yes")


def test_success_status_counts_at_the_leaf(service: Service) -> None:
    """An inner node's 201 is nobody's business, the leaf's is."""
    assert predict(service, "obedient", b"first:created").status_code == 200
    assert predict(service, "obedient", b"last:created").status_code == 201
    answer = predict(service, "obedient", b"last:empty")
    assert (answer.status_code, answer.content) == (204, b"")


def test_batch_holds_requests_of_different_clients(service: Service) -> None:
    """Requests that come together are handed over together; each client gets its own part."""
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda body: predict(service, "batch", body).text, [b"a", b"b", b"c"]))
    assert answers == ["a of 3", "b of 3", "c of 3"]


def test_trace_shows_what_happened_at_each_node(service: Service) -> None:
    """With trace=1 a header has the times, tries and sizes."""
    answer = predict(service, "obedient", b"12345", params={"trace": "1"})
    trace = json.loads(answer.headers["x-wfmgmt-trace"])
    assert list(trace) == ["first", "model", "last"]
    assert {(node["attempts"], node["bytes"]) for node in trace.values()} == {(1, 5)}
    assert all(node["queuedMs"] >= 0 and node["runMs"] > 0 for node in trace.values())
    assert "x-wfmgmt-trace" not in predict(service, "obedient", b"12345").headers
    failed = predict(service, "obedient", b"model:raise", params={"trace": "1"})
    assert json.loads(failed.headers["x-wfmgmt-trace"])["model"]["attempts"] == 2


def test_parameters_of_the_query_are_fields(service: Service) -> None:
    """What stands in the query comes beside the body, but for what is meant for the server."""
    assert told(service, b"abc", params={"city": "Ulm", "trace": "1"}) == {
        "city": as_bytes(b"Ulm"),
        "body": as_bytes(b"abc"),
    }


def test_unknown_workflow_is_not_found(service: Service) -> None:
    """The message is TorchServe's."""
    assert_error(predict(service, "nosuch"), 404, "WorkflowNotFoundException", "Workflow not found: nosuch")


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_refused(service: Service, method: str) -> None:
    """Asking is POST, PUT or GET."""
    answer = predict(service, "tell", method=method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET,POST,PUT"


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_body_that_is_too_large_is_refused(service: Service, *, chunked: bool) -> None:
    """The limit is the setting's, whether the length is announced or not."""
    content = b"x" * 100_001
    data = (content[start : start + 10_000] for start in range(0, len(content), 10_000)) if chunked else content
    answer = predict(service, "tell", data)
    assert_error(answer, 413, "RequestEntityTooLargeException", "The body of the request is longer than 100000 bytes")
    assert told(service, b"x" * 100_000) == {"body": as_bytes(b"x" * 100_000)}


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", b"abc", "The multipart body cannot be read"),
        ("multipart/form-data; boundary=b", b"no boundary", "The multipart body cannot be read"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nabc\r\n--b--", "Part 1 of the multipart body has no name"),
        ("multipart/form-data; boundary=b", b"\n" * 100_000, "The multipart body cannot be read"),
        ("multipart/form-data; boundary=b", b"--b\r\nno head", "The multipart body cannot be read"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\n: x\r\n\r\na\r\n--b--",
            "Part 1 of the multipart body has no name",
        ),
        ("application/x-www-form-urlencoded", b"a&" * 2000, "The body is not a form of at most 1000 fields"),
        ("application/x-www-form-urlencoded", b"a" * 90_000 + b"=1", "The names and content types of the fields"),
    ],
    ids=[
        "no boundary named",
        "boundary missing",
        "part without a name",
        "line ends",
        "no head",
        "broken head",
        "too many fields",
        "long name",
    ],
)
def test_body_that_is_no_form_is_refused(service: Service, content_type: str, body: bytes, message: str) -> None:
    """A form that cannot be read is the client's mistake, and the message says which."""
    answer = predict(service, "tell", body, headers={"Content-Type": content_type})
    assert_error(answer, 400, "BadRequestException", message)


def test_encoded_body_that_cannot_be_decoded_is_refused(service: Service) -> None:
    """A body that is not what its Content-Encoding says is the client's mistake."""
    answer = predict(service, "tell", b"not gzip", headers={"Content-Encoding": "gzip"})
    assert_error(answer, 400, "BadRequestException", "The body cannot be decoded")


def test_full_queue_answers_at_once(service: Service) -> None:
    """When as many requests wait as may, the others get 503 with Retry-After at once; those that wait are answered."""
    with closed_gate(service) as gate, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(predict, service, "patient", b"model:wait") for _ in range(6)]
        wait_until(lambda: sum(each.done() for each in asked) == 3, what="three refusals")
        gate.touch()
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert [answer.text for answer in answers if answer not in refused] == ["waited"] * 3
    for answer in refused:
        body = answer.json()
        assert (body["type"], body["node"]) == ("ServiceUnavailableException", "model")
        assert body["message"].startswith("2 requests wait for model already (WFMGMT_QUEUE_SIZE)")
        assert answer.headers["Retry-After"] == "1"


@contextmanager
def closed_gate(service: Service) -> Iterator[Path]:
    """Hold up requests that wait for the gate until this file is there."""
    gate = service.instance / "gate"
    gate.unlink(missing_ok=True)
    try:
        yield gate
    finally:
        gate.touch()


def impatient(service: Service, name: str) -> requests.Response | None:
    """Return the answer to a request, None when it is held up."""
    try:
        return requests.post(f"{service.inference}/wfpredict/{name}", data=b"impatient", timeout=0.3)
    except requests.ReadTimeout:
        return None


def test_metrics_count_what_happened(service: Service) -> None:
    """Requests, times and what handlers count are there per workflow and node."""
    predict(service, "obedient", b"model:count")
    text = service.inference_metrics()
    assert 'wfmgmt_node_requests_total{node="model",workflow="obedient"}' in text
    assert 'wfmgmt_node_run_seconds_count{node="first",workflow="obedient"}' in text
    assert 'wfmgmt_handler_count_total{name="seen",node="model",unit="count",workflow="obedient"} 1.0' in text


def test_workflow_answers_as_soon_as_it_is_registered_and_not_any_more_once_it_is_not(service: Service) -> None:
    """There is no moment between the answers of the two addresses."""
    for _ in range(5):
        assert service.register("tell.war", workflow_name="other").status_code == 200
        assert predict(service, "other").status_code == 200
        assert service.unregister("other").status_code == 200
        assert predict(service, "other").status_code == 404


def test_unregistering_answers_what_was_accepted(service: Service) -> None:
    """A request under way gets its answer; new ones are not found; then the workflow is gone."""
    assert service.register("patient.war", workflow_name="leaving").status_code == 200
    with closed_gate(service) as gate, ThreadPoolExecutor(2) as pool:
        accepted = pool.submit(predict, service, "leaving", b"model:wait")
        wait_until(lambda: is_under_way(service, "leaving"), what="the request")
        leaving = pool.submit(service.unregister, "leaving")
        wait_until(lambda: has_status(impatient(service, "leaving"), 404), what="the end of acceptance")
        assert not leaving.done()
        gate.touch()
        assert accepted.result().text == "waited"
        assert leaving.result().status_code == 200


def has_status(answer: requests.Response | None, status: int) -> bool:
    """Tell whether there is an answer of this status."""
    return answer is not None and answer.status_code == status


def is_under_way(service: Service, workflow: str) -> bool:
    """Tell whether a first request has reached the model of a workflow."""
    text = service.inference_metrics()
    return f'wfmgmt_node_requests_total{{node="model",workflow="{workflow}"}} 1.0' in text


def test_clients_that_leave_take_no_place(service: Service) -> None:
    """Requests whose clients are gone do not keep the queue full."""
    with closed_gate(service) as gate, ThreadPoolExecutor(1) as pool:
        held_up = pool.submit(predict, service, "patient", b"model:wait")
        wait_until(lambda: impatient(service, "patient") is None, what="the held-up worker")
        for _ in range(5):
            assert impatient(service, "patient") is None
        gate.touch()
        assert held_up.result().text == "waited"
    assert predict(service, "patient", b"next").text == "next"


def test_each_client_gets_its_own_answer(service: Service) -> None:
    """Many clients at once, each with a word of its own."""
    mixed_up: list[str] = []
    threads = [threading.Thread(target=_talk, args=(service, f"client {number}", mixed_up)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert mixed_up == []


def _talk(service: Service, word: str, mixed_up: list[str]) -> None:
    with requests.Session() as session:
        for number in range(30):
            body = f"{word} says {number}"
            answer = session.post(f"{service.inference}/wfpredict/obedient", data=body.encode(), timeout=60)
            if answer.status_code not in {200, 503} or (answer.status_code == 200 and answer.text != body):
                mixed_up.append(f"{body}: {answer.status_code} {answer.text}")


def test_sigterm_answers_what_was_accepted_and_the_next_service_goes_on(tmp_path: Path) -> None:
    """A service that is stopped answers the requests under way first; the next one says 503 until it is loaded."""
    service = Service(tmp_path / "i", drain_timeout_s=20)
    with service:
        make_mar(service.model_store, name="obedient", source=MODEL)
        make_war(service.workflow_store, name="patient", spec=PATIENT_SPEC, handler=None)
        assert service.register("patient.war").status_code == 200
        with ThreadPoolExecutor(2) as pool:
            accepted = pool.submit(predict, service, "patient", b"model:wait")
            wait_until(lambda: is_under_way(service, "patient"), what="the request")
            stopped = pool.submit(service.stop)
            # New connections wait for a next runtime, and are refused at the end if there is none.
            wait_until(lambda: impatient(service, "patient") is None, what="the end of acceptance")
            assert not accepted.done()
            assert not stopped.done()
            (service.instance / "gate").touch()
            assert accepted.result().text == "waited"
            assert stopped.result() == 0
    with service:
        deadline = time.monotonic() + 60
        while (answer := predict(service, "patient", b"hello")).status_code == 503:
            assert time.monotonic() < deadline, answer.text
        assert answer.text == "hello"
