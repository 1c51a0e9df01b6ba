"""What a running service says about a workflow that is ready, fails, is saturated, or whose runtime hangs."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid
from tests.support.service import Service, wait_until

MODEL = """
import fcntl, pathlib

def handle(data, context):
    if data is None:
        return None
    body = bytes(data[0]["body"])
    if body == b"bad":
        raise ValueError("bad weather")
    if body:
        with pathlib.Path(body.decode()).open() as held:
            fcntl.flock(held, fcntl.LOCK_SH)
    return [body]
"""
SPEC = """\
models:
  m1: {url: m1.mar, retry-attempts: 0, timeout-ms: 60000}
dag:
  m1: []
"""


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("x"), max_workers=4) as service:
        make_war(service.workflow_store, spec=SPEC)
        make_mar(service.model_store, source=MODEL)
        assert service.register("seq.war").status_code == 200
        yield service


def explain(service: Service, name: str = "seq") -> dict[str, Any]:
    """Return the explanation of a workflow."""
    answer = requests.get(f"{service.management}/workflows/{name}/explain", timeout=30)
    assert answer.status_code == 200, answer.text
    explained: dict[str, Any] = answer.json()
    return explained


def problem(service: Service, what: str) -> dict[str, Any] | None:
    """Return the problem that says this, if there is one."""
    return next((each for each in explain(service)["problems"] if what in each["what"]), None)


def predict(service: Service, body: bytes) -> int:
    """Return the status of a prediction."""
    return requests.post(f"{service.inference}/wfpredict/seq", data=body, timeout=60).status_code


def test_nothing_is_wrong_with_what_is_ready(service: Service) -> None:
    """The command says so, too, and who made the last change."""
    wait_until(lambda: explain(service)["state"] == "ready", what="the workflow")
    assert explain(service)["summary"] == "seq 1.0 is ready; nothing is wrong."
    done = service.command("explain", "seq", "--url", service.management)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("seq 1.0 is ready; nothing is wrong.\n")
    assert "Last change: register by anonymous at " in done.stdout


def test_failing_model_is_named_with_its_last_error(service: Service) -> None:
    """And with the command that shows its traceback."""
    assert predict(service, b"bad") == 500
    found = wait_until(lambda: problem(service, "failed in the last minute"), what="the failure")
    assert found["node"] == "m1"
    assert "ValueError: bad weather" in found["what"]
    assert "wfmgmt logs seq/1.0 --node m1" in found["hint"]


def test_workers_that_may_not_come_are_named_with_the_setting(service: Service) -> None:
    """The change is written, and not in force."""
    path = f"{service.management}/workflows/seq"
    change: dict[str, int | str] = {"min_worker": 9, "max_worker": 9, "synchronous": "true", "timeout": 1}
    assert requests.put(path, params=change, timeout=30).status_code == 206
    found = wait_until(lambda: problem(service, "is not in force"), what="the problem")
    assert "WFMGMT_MAX_WORKERS allows 4" in found["what"]
    assert found["hint"].startswith("Raise WFMGMT_MAX_WORKERS")
    assert found["since"] == explain(service)["lastChange"]["at"]
    change = {"min_worker": 1, "max_worker": 1, "synchronous": "true"}
    assert requests.put(path, params=change, timeout=30).status_code == 200
    assert problem(service, "is not in force") is None


def test_load_that_fails_is_explained_with_the_module_that_is_missing(service: Service, tmp_path: Path) -> None:
    """Since when, and what to do; the first line of the text says why."""
    flag = tmp_path / "gone"
    source = f"import pathlib\nif pathlib.Path({str(flag)!r}).exists():\n    import nosuch_module\n{MODEL}"
    make_mar(service.model_store, name="m2", source=source)
    make_war(service.workflow_store, name="late", spec=SPEC.replace("m1.mar", "m2.mar"))
    assert service.register("late.war").status_code == 200
    flag.touch()
    os.kill(runtime_pid(service), signal.SIGKILL)
    wait_until(lambda: explain(service, "late")["state"] == "failed", timeout_s=30, what="the load")
    explained = explain(service, "late")
    (found,) = explained["problems"]
    assert (found["node"], found["since"] is not None) == ("m1", True)
    assert found["what"].startswith("It was not loaded: ModuleNotFoundError: No module named 'nosuch_module'")
    assert found["hint"].startswith("Install the module into the environment of the service (pip install …)")
    assert any("import nosuch_module" in line["text"] for line in explained["nodes"][0]["lines"])
    said = service.command("explain", "late", "--url", service.management).stdout
    assert said.startswith("late 1.0 is not loaded and cannot answer; m1: It was not loaded: ModuleNotFoundError")
    assert service.unregister("late").status_code == 200
    wait_until(lambda: explain(service)["state"] == "ready", timeout_s=30, what="the other workflow")


@pytest.mark.slow  # Workers have to be busy for five seconds; the rule itself has unit tests.
def test_saturated_model_is_named_with_its_queue(service: Service, tmp_path: Path) -> None:
    """For how long it has been busy, and how many wait."""
    path = tmp_path / "held"
    with ThreadPoolExecutor(3) as clients:
        with path.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            answers = [clients.submit(predict, service, str(path).encode()) for _ in range(3)]
            found = wait_until(lambda: problem(service, "1 of 1 worker busy"), timeout_s=30, what="the saturation")
        assert [each.result() for each in answers] == [200] * 3
    assert (found["node"], "2 waiting" in found["what"]) == ("m1", True)
    assert "wfmgmt scale seq/1.0 --node m1 --max 2" in found["hint"]


def test_runtime_that_hangs_is_the_first_problem(service: Service) -> None:
    """The explanation comes all the same."""
    before = explain(service)["lastChange"]
    runtime = runtime_pid(service)
    os.kill(runtime, signal.SIGSTOP)
    try:
        found = explain(service)
        assert found["problems"][0]["what"].startswith("The runtime does not answer.")
        assert found["lastChange"] == before
    finally:
        with contextlib.suppress(ProcessLookupError):  # It may have been replaced.
            os.kill(runtime, signal.SIGCONT)
    wait_until(lambda: problem(service, "The runtime") is None, timeout_s=30, what="the runtime")
