"""The whole service with its models on a TorchServe that is a fake on real sockets, but runs handlers for real."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.evidence import assert_error, rows
from tests.support.factories import make_mar, make_war
from tests.support.fake_torchserve import BackgroundFake, Misbehaviour, fake_torchserve_in_background
from tests.support.service import Service, wait_until
from tests.support.torchserve_servers import settings_for

AUDIT = "SELECT actor, action, workflow, outcome, detail FROM v_audit WHERE action = 'reconcile' ORDER BY id"


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the deployment."""
    folder = tmp_path_factory.mktemp("t")
    (folder / "model_store").mkdir()
    return folder


@pytest.fixture(name="fake", scope="module")
def _fake(folder: Path) -> Iterator[BackgroundFake]:
    """Return a TorchServe over the model store of the deployment."""
    with fake_torchserve_in_background(folder / "model_store") as fake:
        yield fake


@pytest.fixture(name="torchserved", scope="module")
def _torchserved(folder: Path, fake: BackgroundFake) -> Iterator[Service]:
    """Return a deployment that has its models there."""
    with deployed(folder, **settings_for(fake), torchserve_timeout_s=1, torchserve_check_s=1) as service:
        make_war(service.workflow_store)
        make_mar(service.model_store)
        yield service


@pytest.fixture(autouse=True)
def _as_it_was(fake: BackgroundFake, torchserved: Service) -> Iterator[None]:
    """Leave the fake and the deployment as they were found."""
    yield
    fake.tell(lambda it: it.behave())
    for name in torchserved.names():
        assert torchserved.unregister(name).ok
    assert held(fake) == []


def held(fake: BackgroundFake) -> list[str]:
    """Return the names of the models there."""
    return [model["modelName"] for model in fake.tell(lambda it: it.registry.page({}))["models"]]


@contextmanager
def refusing(fake: BackgroundFake) -> Iterator[None]:
    """Take the fake off the network meanwhile."""
    fake.have(lambda it: it.refuse())
    try:
        yield
    finally:
        fake.have(lambda it: it.open())


def predict(service: Service, body: str = "hello") -> requests.Response:
    """Ask the workflow."""
    return requests.post(f"{service.inference}/wfpredict/seq", data=body, timeout=30)


def test_workflow_answers_as_with_local_models(fake: BackgroundFake, torchserved: Service) -> None:
    """Registered, described, asked and unregistered as ever, with its model over there."""
    assert torchserved.register("seq.war").json() == {
        "status": "Workflow seq has been registered and scaled successfully."
    }
    assert held(fake) == ["seq__m1"]
    wait_until(lambda: torchserved.ready_workers("seq") == [1, 1, 1], what="the report of the workers")
    assert predict(torchserved).text == "hello"
    assert torchserved.unregister("seq").ok
    assert held(fake) == []


@pytest.mark.parametrize(
    ("kind", "status", "error_type", "reason"),
    [
        (Misbehaviour.RESET, 502, "BadGatewayException", "broke off its answer"),
        (Misbehaviour.NO_JSON, 502, "BadGatewayException", "answered with status 200 and no JSON"),
        (Misbehaviour.NEVER, 504, "GatewayTimeoutException", "did not answer within"),
    ],
    ids=["reset", "malformed", "timed out"],
)
def test_registration_says_what_the_server_did(
    fake: BackgroundFake, torchserved: Service, kind: Misbehaviour, *, status: int, error_type: str, reason: str
) -> None:
    """The error names node and server; nothing is registered, and the same request succeeds afterwards."""
    fake.tell(lambda it: it.misbehave("POST /models", kind))
    answer = torchserved.register("seq.war", startup_timeout=1)
    node = "Workflow seq has failed to register. Failures: [Workflow Node seq__m1 failed to register. Details: "
    assert_error(answer, status, error_type, f"{node}TorchServe at {fake.management_url} {reason}")
    assert (torchserved.names(), held(fake)) == ([], [])
    assert torchserved.register("seq.war").ok


def test_registration_is_refused_while_the_server_is_down(fake: BackgroundFake, torchserved: Service) -> None:
    """It is nobody's fault and may be tried again."""
    with refusing(fake):
        answer = torchserved.register("seq.war")
    assert_error(answer, 503, "ServiceUnavailableException", "Workflow seq has failed to register. Failures:")
    assert "cannot be reached" in answer.text
    assert answer.headers["Retry-After"]
    assert torchserved.names() == []


def test_registration_leaves_the_model_of_another_owner_alone(fake: BackgroundFake, torchserved: Service) -> None:
    """A model of that name which is not ours is a conflict, and is still there afterwards."""
    fake.have(lambda it: it.register("m1.mar", "seq__m1"))
    try:
        answer = torchserved.register("seq.war")
        assert_error(answer, 409, "ConflictStatusException", "Workflow seq has failed to register. Failures:")
        assert "has a model seq__m1 that is not ours" in answer.text
        assert held(fake) == ["seq__m1"]
    finally:
        fake.tell(lambda it: it.forget_models())


def test_prediction_fails_clearly_while_the_server_is_away(fake: BackgroundFake, torchserved: Service) -> None:
    """503 with Retry-After and the server's name; the health check tells, and both recover by themselves."""
    assert torchserved.register("seq.war").ok
    with refusing(fake):
        answer = predict(torchserved)
        assert (answer.status_code, answer.json()["node"]) == (503, "m1")
        assert f"TorchServe at {fake.inference_url} cannot be reached" in answer.json()["message"]
        assert answer.headers["Retry-After"]
        wait_until(lambda: "seq" in health(torchserved).get("notReady", {}), what="the health check to notice")
    wait_until(lambda: health(torchserved) == {"status": "Healthy"}, what="the health check to recover")
    assert predict(torchserved).text == "hello"


def health(service: Service) -> dict[str, Any]:
    """Return what the management address says of itself."""
    found: dict[str, Any] = requests.get(f"{service.management}/ping", timeout=5).json()
    return found


def test_server_that_was_restarted_empty_serves_again(fake: BackgroundFake, torchserved: Service) -> None:
    """Within one interval and without anyone acting; it is counted and in the audit trail."""
    assert torchserved.register("seq.war").ok
    before = len(rows(torchserved, AUDIT))
    fake.have(lambda it: it.restart())
    wait_until(lambda: predict(torchserved).ok, what="the workflow to answer again")
    wait_until(lambda: len(rows(torchserved, AUDIT)) > before, what="the audit event")
    actor, action, workflow, outcome, detail = rows(torchserved, AUDIT)[-1]
    assert (actor, action, workflow, outcome) == ("runtime", "reconcile", "seq", "succeeded")
    assert json.loads(detail) == {
        "server": fake.management_url,
        "model": "seq__m1",
        "found": "missing",
        "did": "register it again",
    }
    metrics = torchserved.inference_metrics()
    assert f'wfmgmt_drift_total{{kind="missing",server="{fake.management_url}"}}' in metrics


def test_reconcile_reports_and_repairs(tmp_path: Path) -> None:
    """A dry run only tells; the command itself brings a server back in step at once, long before the next check."""
    folder = tmp_path / "r"
    (folder / "model_store").mkdir(parents=True)
    with (
        fake_torchserve_in_background(folder / "model_store") as fake,
        deployed(folder, **settings_for(fake)) as service,
    ):
        make_war(service.workflow_store)
        make_mar(service.model_store)
        assert service.register("seq.war").ok
        fake.tell(lambda it: it.forget_models())
        expected = f"{fake.management_url}: seq__m1: missing: register it again"
        dry = service.command("reconcile", "--dry-run")
        assert (dry.returncode, dry.stdout.splitlines()) == (0, [expected, "1 to do"])
        assert held(fake) == []
        done = service.command("reconcile")
        assert (done.returncode, done.stdout.splitlines()) == (0, [expected, "1 done"])
        assert held(fake) == ["seq__m1"]


def test_models_outlive_the_service_and_are_taken_up(tmp_path: Path) -> None:
    """A service that was killed finds its models where they were, and registers none of them again."""
    folder = tmp_path / "k"
    (folder / "model_store").mkdir(parents=True)
    with fake_torchserve_in_background(folder / "model_store") as fake:
        service = Service(folder, **settings_for(fake))
        make_war(service.workflow_store)
        make_mar(service.model_store)
        try:
            service.start()
            assert service.register("seq.war").ok
            service.kill()
            service.start()
            wait_until(lambda: predict(service).ok, what="the workflow to answer again")
            assert len(fake.tell(lambda it: it.requests_of("POST /models"))) == 1
            assert service.stop() == 0
            assert held(fake) == ["seq__m1"]
        finally:
            service.kill()
