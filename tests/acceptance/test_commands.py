"""Commands that call a running service: what they print, in each form, and how they end."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support.commands import call
from tests.support.deployments import prepared
from tests.support.factories import make_war
from tests.support.service import CHECKOUT, Service, wait_until
from wfmgmt.client import Client


@pytest.fixture(name="running", scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the workflow `seq`, which tests leave as they found it."""
    with prepared(tmp_path_factory.mktemp("commands") / "instance") as service:
        make_war(service.workflow_store, name="other")
        service.start()
        assert service.register("seq.war").status_code == 200
        yield service


def run(
    service: Service, *arguments: str, environment: Mapping[str, str] | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run a command with the settings of a service."""
    done = subprocess.run(
        [sys.executable, "-m", "wfmgmt.cli.main", *arguments],
        cwd=CHECKOUT,
        env={**service.environment, **(environment or {})},
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_workflow_is_registered_described_and_unregistered(running: Service) -> None:
    """The service of the instance is found by itself."""
    done = run(running, "register", "other.war", "--name", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Workflow mine has been registered and scaled successfully.\n"
    done = run(running, "list")
    assert (done.returncode, done.stdout) == (0, "NAME  URL\nmine  other.war\nseq   seq.war\n")
    done = run(running, "describe", "mine")
    assert done.returncode == 0
    about, nodes, figures, workers = done.stdout.split("\n\n")
    assert about.splitlines()[0].split() == ["Name:", "mine"]
    headings, first, second, third = nodes.splitlines()
    assert headings.split()[:4] == ["NODE", "KIND", "READY", "WORKERS"]
    assert [line.split()[:4] for line in (first, second, third)] == [
        ["pre_processing", "function", "1", "1-1"],
        ["m1", "model", "1", "1-1"],
        ["post_processing", "function", "1", "1-1"],
    ]
    assert figures.splitlines()[2].split() == ["m1", "0", "0", "0", "-", "-"]
    assert [line.split()[0] for line in workers.splitlines()] == ["NODE", "pre_processing", "m1", "post_processing"]
    done = run(running, "unregister", "mine")
    assert (done.returncode, done.stdout) == (0, 'Workflow "mine" unregistered\n')
    assert running.names() == ["seq"]


def test_json_is_what_the_service_answered(running: Service) -> None:
    """Byte for byte, errors too; what is measured for a description is measured again after a second."""

    def is_answer(path: str, *arguments: str) -> bool:
        return (
            call(running, *arguments, "-o", "json").stdout == requests.get(running.management + path, timeout=10).text
        )

    assert is_answer("/workflows?after=&limit=1000", "list")
    wait_until(lambda: is_answer("/workflows/seq", "describe", "seq"), timeout_s=30, what="the same figures")
    done = run(running, "describe", "nosuch", "-o", "json")
    assert json.loads(done.stdout)["type"] == "WorkflowNotFoundException"
    assert (done.returncode, done.stderr) == (4, "wfmgmt: Workflow not found: nosuch\n")


def test_names_are_for_other_commands(running: Service) -> None:
    """One a line, and nothing else."""
    assert call(running, "list", "-o", "name").stdout == "seq\n"
    assert call(running, "register", "other.war", "-o", "name").stdout == "other\n"
    assert call(running, "unregister", "other", "-o", "name").stdout == "other\n"


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        (["-d", "body=hello"], b"", "hello"),
        (["-F", "body=hello"], b"", "hello"),
        (["-F", "body=@{file}"], b"", "from a file"),
        (["-T", "{file}"], b"", "from a file"),
        (["-T", "-"], b"from a pipe", "from a pipe"),
        (["-d", "@{file}", "-H", "Content-Type: text/plain"], b"", "from a file"),
    ],
    ids=["form", "parts", "file in a part", "file", "pipe", "file of another type"],
)
def test_prediction_sends_what_curl_would(
    running: Service, tmp_path: Path, arguments: list[str], given: bytes, expected: str
) -> None:
    """And prints the bytes of the answer; the command that it names for curl gets the same ones."""
    (tmp_path / "file").write_text("from a file")
    arguments = [each.format(file=tmp_path / "file") for each in arguments]
    command = partial(run, given=given) if given else call  # Only another process has a standard input of its own.
    done = command(running, "predict", "seq", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    named = command(running, "predict", "seq", *arguments, "--curl")
    curl = subprocess.run(["bash", "-c", named.stdout], input=given, check=True, capture_output=True)
    assert curl.stdout.decode() == expected, named.stdout


def test_trace_is_on_standard_error(running: Service) -> None:
    """So that the answer stays what it is."""
    done = call(running, "predict", "seq", "-d", "body=x", "--trace")
    assert (done.returncode, done.stdout) == (0, "x")
    assert list(json.loads(done.stderr)) == ["pre_processing", "m1", "post_processing"]


def test_curl_command_does_the_same(running: Service) -> None:
    """With everything quoted, and the token left in the environment."""
    done = call(running, "describe", "seq", "--curl", environment={"WFMGMT_TOKEN": "wfm_secret"})
    assert done.stdout == f'curl {running.management}/workflows/seq -H "Authorization: Bearer $WFMGMT_TOKEN"\n'
    done = call(running, "register", "other.war", "--name", "mine", "--curl")
    assert done.stdout == f"curl -X POST '{running.management}/workflows?url=other.war&workflow_name=mine'\n"
    answer = subprocess.run(["bash", "-c", done.stdout], check=True, capture_output=True, text=True).stdout
    assert "mine has been registered" in answer
    assert call(running, "unregister", "mine").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "nosuch"], 4, "Workflow not found: nosuch"),
        (["register", "nosuch.war"], 4, "Workflow not found in workflow store: nosuch.war"),
        (["register", "seq.war"], 1, "Workflow seq is already registered."),
        (["register", "seq.war", "--startup-timeout", "0"], 1, "Parameter startup_timeout: expected"),
        (["predict", "nosuch"], 4, "Workflow not found: nosuch"),
        (["predict", "seq", "-T", "/nosuch"], 2, "/nosuch: No such file or directory"),
        (["predict", "seq", "-F", "x"], 2, "--form: expected K=V or K=@FILE, got 'x'"),
        (["list", "--url", "8081"], 2, "expected the address of a service, like http://127.0.0.1:8081, got '8081'"),
        (["list", "--url", "http://127.0.0.1:1"], 3, "Connection refused"),
        (["predict", "seq", "--url", "http://127.0.0.1:1"], 2, "--inference-url or WFMGMT_INFERENCE_URL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_failure_has_its_code_and_one_line(running: Service, arguments: list[str], code: int, message: str) -> None:
    """What was wrong, on standard error."""
    done = call(running, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("wfmgmt: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_environment_names_the_service(running: Service, tmp_path: Path) -> None:
    """From anywhere; local commands and the service do not mind these variables."""
    elsewhere = {
        "WFMGMT_INSTANCE": str(tmp_path / "elsewhere"),
        "WFMGMT_URL": running.management,
        "WFMGMT_INFERENCE_URL": running.inference,
    }
    assert run(running, "list", "-o", "name", environment=elsewhere).stdout == "seq\n"
    assert run(running, "predict", "seq", "-d", "body=x", environment=elsewhere).stdout == "x"
    with_token = {**elsewhere, "WFMGMT_TOKEN": "wfm_secret"}
    assert run(running, "migrate", environment=with_token).returncode == 0
    assert "Token Authorization failed" in call(running, "list", environment=with_token).stderr


def test_instance_without_a_service_is_unreachable(running: Service, tmp_path: Path) -> None:
    """Also one whose service has ended: what it wrote down may be the address of another service by now."""
    here = {"WFMGMT_INSTANCE": str(tmp_path)}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "deployment.lock").touch()
    (tmp_path / "run" / "management.address").write_text(running.management.removeprefix("http://"))
    for _ in range(2):
        done = call(running, "list", environment=here)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"No service runs in {tmp_path}; name another one with --url or WFMGMT_URL." in done.stderr
        (tmp_path / "run" / "deployment.lock").unlink(missing_ok=True)


def test_closed_pipe_is_no_failure(running: Service) -> None:
    """As with `wfmgmt list | head`."""
    piped = f"{sys.executable} -m wfmgmt.cli.main describe seq -o json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", piped], cwd=CHECKOUT, env=running.environment, check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_terminal_gets_bold_headings_that_fit(running: Service) -> None:
    """And no more than its width."""
    main_side, other_side = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "wfmgmt.cli.main", "describe", "seq"],
            cwd=CHECKOUT,
            env={**running.environment, "COLUMNS": "40"},
            stdout=other_side,
        )
        os.close(other_side)
        printed = b""
        while chunk := _read(main_side):
            printed += chunk
        assert process.wait(30) == 0
    finally:
        os.close(main_side)
    headings, *_ = (line for line in printed.decode().splitlines() if "NODE" in line)
    assert headings.startswith("\x1b[1mNODE")
    assert headings.endswith("…\x1b[0m")
    assert len(headings) == 40 + len("\x1b[1m\x1b[0m")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # The other side is closed.
        return b""


def test_client_finds_what_commands_made(running: Service) -> None:
    """The same service, by way of Python."""
    with Client(running.management, inference_url=running.inference) as client:
        assert client.wait_until_ready("seq", 30).is_ready
        predicted = client.predict("seq", b"hello", trace=True)
        assert (predicted.text, json.loads(predicted.trace or "")["m1"]["attempts"]) == ("hello", 1)
        assert client.ping().status == "Healthy"
        assert [each.workflow_name for each in client.list()] == ["seq"]
