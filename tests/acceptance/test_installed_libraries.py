"""`MODEL_REQUIREMENTS=install` in a whole service: what goes on while pip runs, and what survives."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.distributions import hanging_build, make_sdist, make_wheel, pip_environment
from tests.support.evidence import assert_error, nothing_left
from tests.support.factories import make_mar, make_war
from tests.support.model_servers import has_ended
from tests.support.processes import runtime_pid
from tests.support.records import make_database
from tests.support.service import Service, wait_until

USES_GREETING = """
import greeting
def handle(data, context):
    return data and [greeting.__version__ for _ in data]
"""


@pytest.fixture(name="packages")
def _packages(tmp_path: Path) -> Path:
    """Give the folder in which pip finds packages."""
    folder = tmp_path / "packages"
    make_wheel(folder, "greeting", "1.0")
    return folder


@pytest.fixture(name="service")
def _service(tmp_path: Path, packages: Path) -> Iterator[Service]:
    """Give a service that runs, with a workflow that lists no libraries."""
    service = Service(tmp_path / "instance", model_requirements="install")
    service.environment |= {each: value for each, value in pip_environment(packages).items() if each.startswith("PIP_")}
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    try:
        with service:
            assert service.register("seq.war").status_code == 200
            yield service
    finally:
        service.kill()
    service.wait_until_gone()


def write(service: Service, name: str, libraries: str, source: str = USES_GREETING) -> str:
    """Write a workflow of one model that lists libraries, and return its url."""
    spec = f"models: {{m: {{url: {name}.mar}}}}\ndag: {{pre_processing: [m]}}\n"
    make_mar(service.model_store, name=name, source=source, requirements=libraries)
    return make_war(service.workflow_store, name=name, spec=spec).name


def environments(service: Service) -> list[Path]:
    """Return what is in the folder of the environments."""
    folder = service.instance / "environments"
    return sorted(folder.iterdir()) if folder.exists() else []


def answer(service: Service, name: str) -> str:
    """Return what a workflow answers."""
    return requests.post(f"{service.inference}/wfpredict/{name}", data=b"x", timeout=60).text


def test_libraries_survive_a_restart_without_pip(service: Service, packages: Path) -> None:
    """Two workflows share them; when the service starts again, the packages need not be there any more."""
    for name in ("one", "two"):
        assert service.register(write(service, name, "greeting==1.0")).status_code == 200
    (environment,) = environments(service)
    (packages / "greeting-1.0-py3-none-any.whl").unlink()
    assert service.stop() == 0
    service.start()
    wait_until(lambda: service.ready_workers("one") == service.ready_workers("two") == [1, 1], what="the workflows")
    assert answer(service, "one") == answer(service, "two") == "1.0"
    assert environments(service) == [environment]
    assert service.text_of_log().count("installing libraries: greeting==1.0") == 1


@pytest.mark.slow
def test_failed_installation_is_a_failed_registration(service: Service) -> None:
    """It says what pip says, shows no path, and leaves nothing.

    The quick cases are in tests/integration/serving/models/local/test_environments.py.
    """
    url = write(service, "bad", "no-such-library==1")
    with nothing_left(service):
        refused = service.register(url)
    assert_error(
        refused,
        400,
        "WorkflowException",
        "Workflow bad has failed to register. Failures: [Workflow Node bad__m failed to register. Details: the "
        "libraries that bad.mar lists cannot be installed: Could not find a version that satisfies the requirement",
    )
    assert str(service.instance) not in refused.text
    assert environments(service) == []


def test_nothing_waits_for_pip_and_a_killed_runtime_leaves_nothing_of_it(
    service: Service, packages: Path, tmp_path: Path
) -> None:
    """Other workflows are asked and registered meanwhile; pip ends with the runtime, the next one removes the rest."""
    pid_file = tmp_path / "pid"
    make_sdist(packages, "slow", "1.0", first=hanging_build(pid_file))
    answers: list[int] = []
    url = write(service, "slow", "slow")
    registering = threading.Thread(target=lambda: answers.append(service.register(url).status_code))
    registering.start()
    try:
        wait_until(lambda: pid_file.exists() and pid_file.read_text(), timeout_s=60, what="the build")
        build = int(pid_file.read_text())
        assert service.predicts()
        assert service.register(write(service, "quick", "greeting")).status_code == 200
        assert answer(service, "quick") == "1.0"
        first, second = environments(service)
        assert first.name.startswith(".")
        os.kill(runtime_pid(service), signal.SIGKILL)
        make_sdist(packages, "slow", "1.0", first="raise SystemExit('no more of this')")
        wait_until(lambda: environments(service) == [second], timeout_s=60, what="the removal of the rest")
    finally:
        registering.join(120)
    assert answers == [400]
    wait_until(lambda: has_ended(build), what="the end of the build")
    wait_until(lambda: service.ready_workers("quick") == [1, 1], what="the other workflow")
    assert environments(service) == [second]
