"""What operators ask both addresses: health, metrics and the description of the API."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp.web import AbstractRoute
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from tests.support.evidence import assert_json, nothing_left, ready_workers, samples
from tests.support.factories import make_mar, make_war
from tests.support.service import Service, parent_pid, wait_until
from wfmgmt.control.client import RuntimeClient
from wfmgmt.runtime_factory import create_runtime
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.settings import Settings
from wfmgmt.wsgi import create_app

PLANES = ("management", "inference")
ONE_MODEL = "models: {m1: {url: gated.mar}}\ndag: {m1: []}\n"
HEALTHY = '{\n  "status": "Healthy"\n}\n'


@pytest.fixture(name="gate")
def _gate(service: Service, tmp_path: Path) -> Iterator[Path]:
    """Put `gated.war` into the store, and give a file: while it exists, the model waits or, if it has text, fails."""
    gate = tmp_path / "gate"
    source = (
        f"import pathlib, time\ngate = pathlib.Path({str(gate)!r})\n"
        "while gate.exists():\n    assert not gate.read_text(), gate.read_text()\n    time.sleep(0.01)\n"
        "def handle(data, context):\n    return None\n"
    )
    made = [
        make_war(service.workflow_store, name="gated", spec=ONE_MODEL, handler=None),
        make_mar(service.model_store, name="gated", source=source),
    ]
    with nothing_left(service):
        yield gate
        gate.unlink(missing_ok=True)
        if "gated" in service.names():
            assert service.unregister("gated").status_code == 200
    for path in made:
        path.unlink()


def get(service: Service, plane: str, path: str) -> requests.Response:
    """Ask one of the addresses."""
    return requests.get(f"{getattr(service, plane)}{path}", timeout=10)


@contextmanager
def registering(service: Service, gate: Path) -> Iterator["Future[requests.Response]"]:
    """Register `gated.war` in a thread; the block runs while its model waits."""
    gate.touch()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.register, "gated.war")
        try:
            wait_until(lambda: "gated" in get(service, "inference", "/metrics").text, what="the load")
            yield answer
        finally:
            gate.unlink(missing_ok=True)


@pytest.mark.parametrize("plane", PLANES)
def test_ping_is_healthy_when_everything_runs(service: Service, plane: str) -> None:
    """The very bytes that TorchServe sends."""
    answer = get(service, plane, "/ping")
    assert (answer.status_code, answer.text) == (200, HEALTHY)


@pytest.mark.parametrize(("path", "status"), [("/readyz", "Ready"), ("/livez", "Live")])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("plane", PLANES)
def test_probes_are_answered_when_everything_runs(
    service: Service, plane: str, path: str, slash: str, status: str
) -> None:
    """On both addresses, by GET and by HEAD."""
    answer = get(service, plane, path + slash)
    assert (answer.status_code, assert_json(answer)) == (200, {"status": status})
    answer = requests.head(f"{getattr(service, plane)}{path}{slash}", timeout=10)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("plane", PLANES)
def test_ping_stays_healthy_during_a_registration(service: Service, gate: Path, plane: str) -> None:
    """Only registered workflows have to be ready; one that is just being registered is nobody's loss."""
    with registering(service, gate) as registration:
        told = [get(service, plane, "/ping").text for _ in range(20)]
        gate.unlink()
        assert registration.result(timeout=30).status_code == 200
    assert set(told) == {HEALTHY}


def test_ping_and_describe_show_what_is_not_ready_and_why(service: Service, gate: Path) -> None:
    """A worker that died and does not come up again shows on both addresses, until it does."""
    assert service.register("gated.war").status_code == 200
    gate.write_text("the gate is closed")
    forkserver_and_workers = service.worker_pids()
    for pid in forkserver_and_workers:
        if parent_pid(pid) in forkserver_and_workers:
            os.kill(pid, signal.SIGKILL)
    for plane in PLANES:

        def partial(plane: str = plane) -> dict[str, Any] | None:
            answer = get(service, plane, "/ping")
            assert answer.status_code == 200
            body: dict[str, Any] = assert_json(answer)
            return body if "the gate is closed" in str(body) else None

        told = wait_until(partial, what=f"partial health of the {plane} address")
        assert told == {"status": "Partial Healthy", "notReady": {"gated": "m1: AssertionError: the gate is closed"}}
    (node,) = service.describe("gated")["nodes"]
    assert (node["readyWorkers"], node["error"]) == (0, "AssertionError: the gate is closed")
    gate.unlink()
    assert ready_workers(service, "gated") == {"m1": 1}
    wait_until(lambda: get(service, "inference", "/ping").text == HEALTHY, what="health")


def test_runtime_reports_what_its_memory_is_used_for(service: Service) -> None:
    """After a run of the cycle collector, over the control socket: to find a leak."""
    client = RuntimeClient(service.run_folder / "runtime.sock")
    client.collect()
    report = client.collect()
    assert report.unreachable < 1000
    assert report.blocks > 100_000
    assert report.used_bytes > report.free_bytes >= 0


def test_metrics_count_every_request_once_under_several_web_workers(service: Service) -> None:
    """Counts and durations add up over the workers, and every worker tells the same."""
    labels = {"method": "GET", "route": "/workflows/<name>", "status": "404"}
    requested = ("wfmgmt_requests_total", tuple(sorted(labels.items())))
    timed = ("wfmgmt_request_duration_seconds_count", (("method", "GET"), ("route", "/workflows/<name>")))
    before = samples(get(service, "management", "/metrics").text)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(service, "management", "/workflows/nosuch"), range(200)))
    assert {answer.status_code for answer in answers} == {404}
    for _ in range(10):
        after = samples(get(service, "management", "/metrics").text)
        assert after[requested] - before.get(requested, 0) == 200
        assert after[timed] - before.get(timed, 0) == 200


def test_metrics_count_workflows_and_workers(service: Service, gate: Path) -> None:
    """Workflows are counted by status, workers as they should be and as they are."""
    before = samples(get(service, "management", "/metrics").text)
    assert service.register("gated.war").status_code == 200
    ready = ("wfmgmt_workflows", (("status", "ready"),))
    wanted = {
        ready: before[ready] + 1,
        ("wfmgmt_workflows", (("status", "registering"),)): 0,
        ("wfmgmt_workflows", (("status", "unregistering"),)): 0,
        ("wfmgmt_workers_wanted", ()): before["wfmgmt_workers_wanted", ()] + 1,
        ("wfmgmt_workers_ready", ()): before["wfmgmt_workers_ready", ()] + 1,
    }

    def told() -> bool:
        return wanted.items() <= samples(get(service, "management", "/metrics").text).items()

    wait_until(told, what="the gauges")
    node = (("node", "m1"), ("workflow", "gated"))
    assert samples(service.inference_metrics())["wfmgmt_workers_ready", node] == 1


def test_workers_of_all_nodes_add_up_to_those_of_the_service(service: Service) -> None:
    """Both addresses count processes, functions' too: one tells those of each node, the other all together."""
    archives = [make_war(service.workflow_store, name="summed"), make_mar(service.model_store)]
    assert service.register("summed.war").status_code == 200
    try:
        nodes = dict.fromkeys(("pre_processing", "m1", "post_processing"), 1)

        def agree() -> bool:
            told, counted = samples(service.inference_metrics()), samples(get(service, "management", "/metrics").text)
            by_node = {
                dict(labels)["node"]: value
                for (name, labels), value in told.items()
                if name == "wfmgmt_workers_ready" and ("workflow", "summed") in labels
            }
            sums = {
                name: sum(value for (each, _), value in told.items() if each == name)
                for name in ("wfmgmt_workers_wanted", "wfmgmt_workers_ready")
            }
            return by_node == nodes and all(counted[name, ()] == total for name, total in sums.items())

        wait_until(agree, what="the same workers on both addresses")
        assert sum(nodes.values()) == len(service.worker_pids()) - 1  # One is the forkserver.
    finally:
        assert service.unregister("summed").status_code == 200
        for archive in archives:
            archive.unlink()


@pytest.mark.parametrize("plane", PLANES)
def test_metrics_are_prometheus_text(service: Service, plane: str) -> None:
    """The content type is the one that Prometheus asks for, and unknown paths do not become labels."""
    get(service, plane, "/no/such/path")
    answer = get(service, plane, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    text = answer.text if plane == "management" else service.inference_metrics()
    assert "/no/such/path" not in text
    assert 'route="unknown"' in text


@pytest.mark.parametrize("plane", PLANES)
def test_api_description_is_valid_openapi_under_both_paths(service: Service, plane: str) -> None:
    """`OPTIONS /`, as TorchServe has it, and `GET /api-description` give the same valid document."""
    described = assert_json(get(service, plane, "/api-description"))
    assert described == assert_json(requests.options(f"{getattr(service, plane)}/", timeout=10))
    OpenAPIV30SpecValidator(described).validate()


def described_operations(service: Service, plane: str) -> set[tuple[str, str]]:
    """Return method and path of all that a description has."""
    paths = get(service, plane, "/api-description").json()["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item if method != "parameters"}


def test_api_description_of_management_is_what_is_served(service: Service, tmp_path: Path) -> None:
    """Every route but the page's is described, and every description has its route; HEAD comes with GET."""
    rules = create_app(Settings.load({}, instance=tmp_path)).url_map.iter_rules()
    served = {
        (method, re.sub(r"<(?:\w+(?:\(.*?\))?:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods or ()
        if not rule.rule.startswith("/ui/")
    }
    assert {("HEAD", path) for method, path in served if method == "GET"} <= served
    assert {each for each in served if each[0] != "HEAD"} == described_operations(service, "management")


def test_api_description_of_inference_is_what_is_served(service: Service, tmp_path: Path) -> None:
    """The same for the other address; a trailing slash is no other path."""

    async def find_routes() -> list[AbstractRoute]:
        async with create_runtime(Settings.load({}, instance=tmp_path)) as runtime:
            metrics = InferenceMetrics(runtime)
            app = inference_app(runtime, metrics=metrics, on_answer=lambda _request, _answer: None)
            return list(app.router.routes())

    routes = asyncio.run(find_routes())
    served = {
        (route.method, route.resource.canonical.rstrip("/") or "/") for route in routes if route.resource is not None
    }
    assert {each for each in served if each[0] != "HEAD"} == described_operations(service, "inference")


def test_answers_are_as_the_api_description_says(service: Service, gate: Path) -> None:
    """Real answers, good and bad, have the described form."""
    registered = service.register("gated.war")
    answers = {
        ("/workflows", "post", "200"): registered,
        ("/workflows", "get", "200"): get(service, "management", "/workflows?limit=1"),
        ("/models", "get", "200"): get(service, "management", "/models?after="),
        ("/workflows", "get", "400"): get(service, "management", "/workflows?limit=0"),
        ("/workflows/{name}", "get", "200"): get(service, "management", "/workflows/gated"),
        ("/workflows/{name}", "get", "404"): get(service, "management", "/workflows/nosuch"),
        ("/workflows/{name}", "delete", "200"): service.unregister("gated"),
        ("/ping", "get", "200"): get(service, "management", "/ping"),
        ("/readyz", "get", "200"): get(service, "management", "/readyz"),
        ("/livez", "get", "200"): get(service, "management", "/livez"),
    }
    described = get(service, "management", "/api-description").json()
    for (path, method, status), answer in answers.items():
        response = described["paths"][path][method]["responses"][status]
        if "$ref" in response:
            response = described["components"]["responses"][response["$ref"].rpartition("/")[2]]
        schema = response["content"]["application/json"]["schema"]
        OAS30Validator({**schema, "components": described["components"]}).validate(answer.json())
