"""Declared state through real web workers: the commands, large files, and an application whose processes are killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.processes import web_workers
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import loading_worker, make_slow_workflow

SEQ = """\
wfmgmt: 1
workflows:
  seq:
    versions: {"1.0": {url: seq.war}, "2.0": {url: seq.war}}
    traffic: {"1.0": 60, "2.0": 40}
    nodes: {m1: {max-workers: 2}}
"""


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("d")) as service:
        make_war(service.workflow_store)
        make_mar(service.model_store)
        yield service


def run(service: Service, *arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit code and what it printed."""
    done = service.command(*arguments, "--url", service.management)
    return done.returncode, done.stdout + done.stderr


def test_commands_bring_workflows_to_what_files_declare(service: Service, tmp_path: Path) -> None:
    """A folder of them, of which a broken one is named with its line; what is changed by hand is found."""
    (tmp_path / "seq.yaml").write_text(SEQ)
    bad = tmp_path / "bad.yml"
    bad.write_text("wfmgmt: 1\nworkflows:\n  other: {version: {}}\n")
    code, text = run(service, "apply", "-f", str(tmp_path))
    assert (code, "bad.yml, line 3: workflows.other.version: there is no such key" in text) == (1, True), text
    bad.unlink()

    assert run(service, "diff", "-f", str(tmp_path))[0] == 5
    code, text = run(service, "apply", "-f", str(tmp_path))
    assert (code, text.splitlines()[0], text.splitlines()[-1]) == (0, "create seq", "0 as declared, 1 not"), text
    assert run(service, "apply", "-f", str(tmp_path)) == (0, "1 as declared, 0 not\n")
    assert run(service, "diff", "-f", str(tmp_path))[0] == 0
    assert service.predicts()

    assert run(service, "drift") == (0, "nothing drifted\n")
    assert run(service, "scale", "seq", "--max", "4")[0] == 0
    code, text = run(service, "drift")
    assert (code, "versions[1.0].nodes.m1.maxWorkers" in text) == (5, True), text
    assert run(service, "apply", "-f", str(tmp_path / "seq.yaml"), "--dry-run")[0] == 5
    assert run(service, "apply", "-f", str(tmp_path / "seq.yaml"))[0] == 0
    assert run(service, "drift")[0] == 0


def test_long_declaration_is_read_while_it_arrives(service: Service) -> None:
    """Other bodies have a limit of 64 KiB."""
    long = SEQ + "# more\n" * 20_000
    answer = requests.post(f"{service.management}/apply", params={"dry_run": "true"}, data=long.encode(), timeout=60)
    assert (answer.status_code, len(answer.json()["results"])) == (200, 1), answer.text


def test_application_goes_on_when_its_processes_are_killed(service: Service, tmp_path: Path) -> None:
    """It begins again, and what it had accepted already is not done twice."""
    gate = make_slow_workflow(service, tmp_path / "gate")
    text = 'wfmgmt: 1\nworkflows:\n  slow: {versions: {"1.0": {url: slow.war}}}\n'
    parameters = {"source": "slow", "synchronous": "false"}
    accepted = requests.post(f"{service.management}/apply", params=parameters, data=text, timeout=60)
    assert accepted.status_code == 202, accepted.text
    loading_worker(gate)
    for process in web_workers(service):
        os.kill(process, signal.SIGKILL)
    gate.unlink()

    def state() -> str:
        try:
            answer = requests.get(f"{service.management}{accepted.json()['operation']}", timeout=30)
        except requests.ConnectionError:  # All web workers may be starting.
            return ""
        return str(answer.json()["state"])

    wait_until(lambda: state() in {"succeeded", "failed"}, timeout_s=90, what="the end of the application")
    done = requests.post(f"{service.management}/apply", params={"source": "slow"}, data=text, timeout=60)
    assert (done.status_code, service.describe("slow")["version"]) == (200, "1.0"), done.text
    again = requests.post(f"{service.management}/apply", params={"source": "slow"}, data=text, timeout=60)
    assert [each["action"] for each in again.json()["results"]] == ["none"]
    assert service.unregister("slow").status_code == 200
