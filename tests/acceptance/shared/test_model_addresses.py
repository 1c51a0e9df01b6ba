"""The addresses of models in specs: what TorchServe takes for a file of its model store is one here, too."""

import pytest
import requests

from tests.support.evidence import assert_error, assert_failure_is_audited, nothing_left, ready_workers
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

FORMS = [
    "model-store/x.mar",
    "./x.mar",
    "a/b/c/x.mar",
    "/home/model-server/model-store/x.mar",
    "/x.mar",
    "a\\x.mar",
    "file:///home/model-server/model-store/x.mar",
    "file:/x.mar",
    "s3://bucket/x.mar",
]


def make_workflow(service: Service, url: str) -> None:
    """Write a workflow of one model."""
    make_war(service.workflow_store, name="w", spec=f"models: {{m: {{url: '{url}'}}}}\ndag: {{m: []}}\n", handler=None)


@pytest.mark.parametrize("url", FORMS)
def test_last_part_of_a_model_address_is_taken_from_the_store(service: Service, url: str) -> None:
    """The workflow runs, and a warning tells which file was meant."""
    make_workflow(service, url)
    archive = make_mar(service.model_store, name="x")
    with nothing_left(service):
        registered = service.register("w.war")
        assert registered.status_code == 200, registered.text
        assert registered.json()["warnings"] == [f"models.m.url: {url} is taken for x.mar in the model store"]
        assert ready_workers(service, "w") == {"m": 1}
        assert service.describe("w")["nodes"][0]["url"] == "x.mar"
        assert requests.post(f"{service.inference}/wfpredict/w", data="x", timeout=10).text == "x"
        assert service.unregister("w").status_code == 200
    archive.unlink()
    (service.workflow_store / "w.war").unlink()


@pytest.mark.parametrize("url", [*FORMS, "x.mar/", "model-store/", "model-store/.x.mar"])
def test_model_that_is_not_in_the_store_is_not_looked_for_elsewhere(service: Service, url: str) -> None:
    """The message has the address as the spec has it."""
    make_workflow(service, url)
    with nothing_left(service):
        refused = service.register("w.war")
    details = f"Workflow Node w__m failed to register. Details: Model not found at: {url}]"
    assert_error(refused, 400, "WorkflowException", f"Workflow w has failed to register. Failures: [{details}")
    assert_failure_is_audited(service, refused, "w")
    (service.workflow_store / "w.war").unlink()


def test_two_addresses_of_one_file_are_one_file(service: Service) -> None:
    """Nodes may name the same archive in different ways."""
    spec = "models: {a: {url: x.mar}, b: {url: models/x.mar}}\ndag: {a: [b]}\n"
    archives = [
        make_war(service.workflow_store, name="w", spec=spec, handler=None),
        make_mar(service.model_store, name="x"),
    ]
    with nothing_left(service):
        assert service.register("w.war").json()["warnings"] == [
            "models.b.url: models/x.mar is taken for x.mar in the model store"
        ]
        assert ready_workers(service, "w") == {"a": 1, "b": 1}
        assert service.unregister("w").status_code == 200
    for archive in archives:
        archive.unlink()
