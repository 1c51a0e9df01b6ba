"""`MODEL_REQUIREMENTS=check`: archives that list what is not installed are refused before anything of them runs."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.deployments import deployed, left_as_found, start_forkserver
from tests.support.evidence import assert_error, assert_failure_is_audited, nothing_left
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

FLASK = version("flask")
LEAVES_A_TRACE = "open({path!r}, 'w')\ndef handle(data, context):\n    return data\n"


@pytest.fixture(name="checking", scope="module")
def _checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("c"), model_requirements="check") as service:
        start_forkserver(service)
        yield service


@pytest.fixture(name="service")
def _service(checking: Service) -> Iterator[Service]:
    with left_as_found(checking) as service:
        yield service


def test_model_is_refused_when_libraries_are_missing(service: Service, tmp_path: Path) -> None:
    """The answer has the names and versions that are listed, and those that are installed instead; nothing was run."""
    trace = tmp_path / "trace"
    make_war(service.workflow_store)
    source = LEAVES_A_TRACE.format(path=str(trace))
    make_mar(service.model_store, source=source, requirements="flask<1\nno-such-library>=2\npytest\n")
    with nothing_left(service):
        answer = service.register("seq.war")
    assert_error(
        answer,
        400,
        "WorkflowException",
        "Workflow seq has failed to register. Failures: [Workflow Node seq__m1 failed to register. Details: m1.mar: "
        f"requirements.txt lists what is not installed: flask<1 ({FLASK} is installed), no-such-library>=2; it has to "
        "be installed where the service runs (WFMGMT_MODEL_REQUIREMENTS is check: install would install it)]",
    )
    assert_failure_is_audited(service, answer, "seq")
    assert not trace.exists()


def test_functions_and_models_that_lack_libraries_are_named_together(service: Service) -> None:
    """Each function has the libraries of the workflow's archive."""
    make_war(service.workflow_store, extra_files={"requirements.txt": "no-such-library"})
    make_mar(service.model_store, requirements="-r base.txt")
    answer = service.register("seq.war")
    assert answer.status_code == 400
    message = answer.json()["message"]
    for node in ("pre_processing", "post_processing"):
        assert f"seq__{node} failed to register. Details: seq.war: requirements.txt lists what is not inst" in message
    assert "seq__m1 failed to register. Details: m1.mar: requirements.txt, line 1: expected the name and the" in message


def test_workflow_is_registered_when_all_libraries_are_there(service: Service) -> None:
    """Where they would come from does not matter."""
    listed = f"--index-url https://packages.example/simple\nflask=={FLASK}\nno-such-library; python_version < '3'\n"
    make_war(service.workflow_store, extra_files={"requirements.txt": listed})
    make_mar(service.model_store, requirements=listed)
    assert service.register("seq.war").status_code == 200
