"""The command that imports what a TorchServe has, with a service that runs and one that does not."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.commands import call
from tests.support.deployments import deployed
from tests.support.evidence import rows
from tests.support.factories import SEQUENTIAL_SPEC, make_mar, make_war
from tests.support.listed_workflows import listing
from tests.support.scripted_server import ScriptedServer, answer
from tests.support.service import CHECKOUT, Service, stored_files, wait_until
from tests.support.slow_workflow import make_slow_workflow
from tests.support.web_files import web_files
from wfmgmt.errors import UrlNotAllowed
from wfmgmt.management import Services
from wfmgmt.settings import Settings

URLS = {"first": "first.war", "second": "renamed.war", "third": "third.war"}


@pytest.fixture(name="theirs")
def _theirs(tmp_path: Path) -> Path:
    """The stores of a TorchServe with two whole workflows and one whose model is missing."""
    for store in ("workflows", "models"):
        (tmp_path / store).mkdir()
    make_war(tmp_path / "workflows", name="first")
    make_war(tmp_path / "workflows", name="other", file_name="renamed.war")
    make_war(tmp_path / "workflows", name="third", spec=SEQUENTIAL_SPEC.replace("m1.mar", "absent.mar"))
    make_mar(tmp_path / "models")
    return tmp_path


@pytest.fixture(name="torchserve")
def _torchserve() -> Iterator[str]:
    """The management address of a TorchServe that lists the three; its description of the first is of another time."""
    figures = {"first": {"maxWorkers": 2, "workflowDag": "{m1=[post_processing], pre_processing=[m1]}"}}
    with ScriptedServer(listing(URLS, figures=figures, page_size=2)) as server:
        yield server.url("")


@pytest.fixture(name="deployment", scope="module")
def _deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("t"), allowed_urls=r"http://127\.0\.0\.1:\d+/open/.*") as service:
        yield service


@pytest.fixture(name="service")
def _service(deployment: Service) -> Iterator[Service]:
    """Return the deployment, which has nothing registered and nothing in its stores before and after each test."""
    yield deployment
    for name in deployment.names():
        assert deployment.unregister(name).status_code == 200
    for path in stored(deployment):
        path.unlink()


def stored(service: Service) -> list[Path]:
    """List the files in the stores of a service, hidden ones too."""
    return [path for store in (service.workflow_store, service.model_store) for path in stored_files(store)]


@pytest.fixture(name="run_import")
def _run_import(service: Service, theirs: Path, torchserve: str) -> Callable[..., tuple[int, list[str]]]:
    """Run the command with the stores of that TorchServe; return its exit code and what it printed."""
    stores = ("--workflow-store", str(theirs / "workflows"), "--model-store", str(theirs / "models"))

    def run(*arguments: str) -> tuple[int, list[str]]:
        done = call(service, "import-torchserve", torchserve, *stores, *arguments)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return run


def test_workflows_are_imported_once_and_answer(
    service: Service, run_import: Callable[..., tuple[int, list[str]]]
) -> None:
    """Under their names and from the same files; what cannot be is said, and a second run has nothing to do."""
    assert run_import() == (
        1,
        [
            "first: registered",
            "  first.war copied into the workflow store",
            "  m1.mar copied into the model store",
            "  maxWorkers: 2 there, 1 here",
            "second: registered",
            "  renamed.war copied into the workflow store",
            "third: not imported: 'absent.mar' is not in the model store, nor in that of TorchServe",
            "2 registered, 0 here already, 1 not imported",
        ],
    )
    assert service.names() == ["first", "second"]
    for name in ("first", "second"):
        answered = requests.post(f"{service.inference}/wfpredict/{name}", data=b"hello", timeout=10)
        assert (answered.status_code, answered.content) == (200, b"hello")
    again = run_import("--workflow", "first", "--workflow", "second")
    assert again == (
        0,
        [
            "first: is here already",
            "  maxWorkers: 2 there, 1 here",
            "second: is here already",
            "0 registered, 2 here already, 0 not imported",
        ],
    )
    events = rows(
        service, "SELECT action, workflow, outcome FROM audit_event WHERE actor LIKE 'cli:%' ORDER BY workflow"
    )
    assert events == [("register", "first", "succeeded"), ("register", "second", "succeeded")]


def test_dry_run_says_what_would_be_done_and_does_nothing(
    service: Service, run_import: Callable[..., tuple[int, list[str]]]
) -> None:
    """No file is copied, nothing is registered or recorded."""
    before = rows(service, "SELECT count(*) FROM audit_event")
    assert run_import("--dry-run", "--workflow", "second") == (
        0,
        [
            "second: would be registered",
            "  renamed.war would be copied into the workflow store",
            "  m1.mar would be copied into the model store",
            "1 to register, 0 here already, 0 not imported",
        ],
    )
    assert (service.names(), stored(service)) == ([], [])
    assert rows(service, "SELECT count(*) FROM audit_event") == before


def test_workflow_whose_workers_do_not_come_up_leaves_nothing(
    service: Service, theirs: Path, run_import: Callable[..., tuple[int, list[str]]]
) -> None:
    """Its copies are removed; the handler's own error is printed, on one line."""
    make_mar(theirs / "models", source="raise RuntimeError('no\\x1b[31m card\\nat all')\n")
    code, lines = run_import("--workflow", "first")
    assert code == 1
    assert len(lines) == 2
    assert lines[0].startswith("first: not imported: Workflow first has failed to register.")
    assert "no [31m card at all" in lines[0]
    assert (service.names(), stored(service)) == ([], [])


def test_workflow_that_was_downloaded_is_downloaded_again(service: Service, theirs: Path) -> None:
    """By the registration, with its own rules for addresses; a second run finds it here."""
    make_mar(service.model_store)
    with web_files() as web:
        url = web.put("/open/first.war", theirs / "workflows" / "first.war")
        closed = web.url("/closed/x.war")
        with ScriptedServer(listing({"first": url, "second": closed})) as server:
            done = [call(service, "import-torchserve", server.url("")) for _ in range(2)]
        assert web.asked == ["/open/first.war"]
    refusal = UrlNotAllowed(closed, "it has to match one of the patterns in WFMGMT_ALLOWED_URLS")
    assert [each.returncode for each in done] == [1, 1]
    assert done[0].stdout.splitlines() == [
        "first: registered",
        f"  downloaded from {url}",
        f"second: not imported: {refusal}",
        "1 registered, 0 here already, 1 not imported",
    ]
    assert done[1].stdout.splitlines()[:2] == [
        "first: is here already",
        "  registered from the same address; what lies there now was not looked at",
    ]


def test_runtime_that_is_down_is_reported_once(tmp_path: Path, theirs: Path, torchserve: str) -> None:
    """Nothing is tried, since nothing could be loaded."""
    service = Service(tmp_path / "instance")
    assert call(service, "migrate").returncode == 0
    stores = ("--workflow-store", str(theirs / "workflows"), "--model-store", str(theirs / "models"))
    done = service.command("import-torchserve", torchserve, *stores)
    assert (done.returncode, done.stdout) == (1, "0 registered, 0 here already, 0 not imported\n")
    assert done.stderr.count("The runtime is down") == len(done.stderr.splitlines()) == 1
    assert stored(service) == []


def test_import_refuses_a_server_or_option_in_one_line(service: Service) -> None:
    """What answers is no TorchServe, or a file is missing; neither ends in a traceback."""
    with ScriptedServer(answer(b"<html></html>")) as server:
        done = service.command("import-torchserve", server.url(""))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"wfmgmt: TorchServe at {server.url('')} answered with status 200 and no JSON; "
            "is it the management address of a TorchServe?\n"
        )
        for option in ("--workflow-store", "--key-file", "--ca-bundle"):
            done = call(service, "import-torchserve", server.url(""), option, "/nowhere")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("wfmgmt: ")
            assert "/nowhere" in done.stderr
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)], ids=str)
def test_command_that_is_ended_half_way_leaves_nothing(
    service: Service, theirs: Path, tmp_path: Path, number: int, code: int
) -> None:
    """The service undoes the registration, and the copies are swept away after that."""
    gate = make_slow_workflow(service, tmp_path / "gate")
    for archive in stored(service):
        archive.rename(theirs / {".war": "workflows", ".mar": "models"}[archive.suffix] / archive.name)
    stores = ("--workflow-store", str(theirs / "workflows"), "--model-store", str(theirs / "models"))
    # The tests may run in the background of a shell, which has its commands ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "wfmgmt.cli.main", "import-torchserve"]
    with ScriptedServer(listing({"slow": "slow.war"})) as server:
        process = subprocess.Popen(
            [*command, server.url(""), *stores],
            cwd=CHECKOUT,
            env=service.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: rows(service, "SELECT 1 FROM v_workflow WHERE status = 'registering'"), what="the claim")
            assert {path.name for path in stored(service)} >= {"slow.war", "slow.mar"}
            process.send_signal(number)
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()
            gate.unlink()
    assert (process.returncode, errors) == (code, "wfmgmt: interrupted\n" if number == signal.SIGINT else "")
    wait_until(lambda: not rows(service, "SELECT 1 FROM workflow"), what="the end of the registration")
    services = Services(Settings.load(service.environment))
    services.removal.sweep()
    services.registry.close()
    assert stored(service) == []
