"""Versions, traffic and scaling over the management address of a running service, as a user changes a workflow."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.records import make_database
from tests.support.service import Service, wait_until

MODEL = """\
def handle(data, context):
    return None if data is None else [b"two" for row in data]
"""
SECOND = (
    "models: {min-workers: 1, max-workers: 1, m1: {url: m2.mar}}\ndag: {pre_processing: [m1], m1: [post_processing]}\n"
)


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with `seq` in the versions 1.0, which is the default and echoes, and 2.0, which answers `two`."""
    service = Service(tmp_path_factory.mktemp("v") / "i")
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    make_war(service.workflow_store, file_name="second.war", spec=SECOND)
    make_mar(service.model_store, name="m2", source=MODEL)
    with service:
        assert service.register("seq.war").status_code == 200
        assert service.register("second.war", version="2.0").json()["version"] == "2.0"
        yield service


@pytest.fixture(autouse=True)
def _first_version(service: Service) -> None:
    """Each test begins with everything on 1.0."""
    send(service, "PUT /workflows/seq/1.0/set-default")


def send(service: Service, request: str, **options: Any) -> requests.Response:
    """Send a request, which succeeds."""
    method, path = request.split(" ", 1)
    answer = requests.request(method, service.management + path, timeout=60, **options)
    assert answer.ok, answer.text
    return answer


def predict(service: Service, path: str = "seq", **headers: str) -> tuple[bytes, str]:
    """Return body and version of an answer."""
    answer = requests.post(f"{service.inference}/wfpredict/{path}", data=b"one", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content, answer.headers["x-workflow-version"]


def test_default_version_answers_at_once(service: Service) -> None:
    """The very next request after the answer goes to it, and after a rollback to the old one."""
    assert predict(service) == (b"one", "1.0")
    send(service, "PUT /workflows/seq/2.0/set-default")
    assert predict(service) == (b"two", "2.0")
    send(service, "POST /workflows/seq/rollback")
    assert predict(service) == (b"one", "1.0")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("seq__m1", (b"one", "1.0")),
        ("seq__m1/", (b"one", "1.0")),
        ("seq__m1/2.0", (b"two", "2.0")),
        ("seq__pre_processing/2.0/", (b"one", "2.0")),
    ],
)
def test_node_answers_by_itself_under_the_name_of_its_model(
    service: Service, path: str, expected: tuple[bytes, str]
) -> None:
    """The others do not run: the model of 2.0 would have changed what comes out of its functions."""
    answer = requests.post(f"{service.inference}/predictions/{path}", data=b"one", timeout=30)
    assert (answer.status_code, answer.content, answer.headers["x-workflow-version"]) == (200, *expected)


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("seq", "ModelNotFoundException", "Model not found: seq"),
        ("seq__m2", "ModelNotFoundException", "Model not found: seq__m2"),
        ("other__m1", "ModelNotFoundException", "Model not found: other__m1"),
        ("seq__m1/9", "ModelVersionNotFoundException", "Model version: 9 does not exist for model: seq__m1"),
    ],
)
def test_prediction_of_a_node_that_is_not_there_is_a_404(service: Service, path: str, kind: str, message: str) -> None:
    """With the texts of TorchServe."""
    answer = requests.post(f"{service.inference}/predictions/{path}", data=b"one", timeout=30)
    assert (answer.status_code, answer.json()) == (404, {"code": 404, "type": kind, "message": message})


def test_prediction_of_a_node_says_nothing_about_the_release(service: Service) -> None:
    """A fault that is looked for must not make a guard act."""
    requests.post(f"{service.inference}/predictions/seq__m1", data=b"one", timeout=30).raise_for_status()
    text = requests.get(f"{service.inference}/metrics", timeout=30).text
    assert 'wfmgmt_version_requests_total{kind="pinned",version="1.0",workflow="seq"}' in text


def test_traffic_is_split_and_shown(service: Service) -> None:
    """With figures of what each version answered."""
    before = send(service, "GET /workflows/seq/traffic").json()["figures"]["2.0"]["requests"]
    send(service, "PUT /workflows/seq/traffic?version=2.0&weight=50")
    versions = [predict(service)[1] for _ in range(60)]
    assert {"1.0", "2.0"} == set(versions)
    shown = send(service, "GET /workflows/seq/traffic").json()
    assert shown["inForce"] == {"revision": shown["revision"], "release": shown["release"]}
    assert shown["figures"]["2.0"]["requests"] >= before + versions.count("2.0")


def test_version_that_gets_everything_when_it_is_registered_answers_at_once(service: Service) -> None:
    """Then it gives everything back, and is unregistered."""
    service.register("second.war", version="3.0", set_default="true")
    assert predict(service) == (b"two", "3.0")
    send(service, "PUT /workflows/seq/1.0/set-default")
    send(service, "DELETE /workflows/seq/3.0")
    assert [each["version"] for each in send(service, "GET /workflows/seq/all").json()] == ["1.0", "2.0"]


def has_ready_workers(service: Service, count: int) -> bool:
    """Return whether the model of the workflow has so many workers."""
    return service.ready_workers("seq")[1] == count


def test_workers_are_up_when_a_synchronous_scaling_is_answered(service: Service) -> None:
    """More, and fewer again; without waiting they come a little later."""
    for count in (3, 1):
        answer = send(service, f"PUT /workflows/seq/1.0?min_worker={count}&max_worker={count}&synchronous=true")
        assert answer.json()["status"] == f"Workers scaled to {count} for workflow: seq, version: 1.0"
        wait_until(partial(has_ready_workers, service, count), what="the report")
    assert send(service, "PUT /workflows/seq?max_worker=2&min_worker=2").status_code == 202
    wait_until(lambda: service.ready_workers("seq")[1] == 2, what="the second worker")
    assert predict(service) == (b"one", "1.0")


def test_settings_and_releases_outlive_a_restart(service: Service) -> None:
    """What was acknowledged holds."""
    send(service, "PUT /workflows/seq/traffic?version=2.0&weight=30")
    send(service, "PUT /workflows/seq/2.0/nodes/m1?batch_size=4&max_batch_delay=7")
    before = send(service, "GET /workflows/seq").json()[0]
    service.kill()
    service.start()
    wait_until(service.predicts, what="seq")
    after = send(service, "GET /workflows/seq").json()[0]
    assert (after["revision"], after["routes"]) == (before["revision"], before["routes"])
    model = send(service, "GET /workflows/seq/2.0").json()[0]["nodes"][1]
    assert (model["batchSize"], model["overridden"]) == (4, ["batchSize", "maxBatchDelay"])


def test_requests_are_counted_by_route(service: Service) -> None:
    """Names and versions are no labels."""
    send(service, "GET /workflows/seq/2.0")
    text = send(service, "GET /metrics").text
    assert 'wfmgmt_requests_total{method="GET",route="/workflows/<name>/<version>",status="200"}' in text
