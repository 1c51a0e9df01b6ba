"""A workflow that is changed by commands alone, while it serves: versions, traffic, rollback, workers."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.support.commands import call
from tests.support.deployments import prepared
from tests.support.factories import WORKFLOW_HANDLER, make_war
from tests.support.fake_service import FakeService, Reply, Request
from tests.support.service import Service
from wfmgmt.client import Client, calls, errors
from wfmgmt.client.traffic import Guard, Route, RoutingTable, Step

Run = Callable[[str], tuple[int, str]]
NEWER = WORKFLOW_HANDLER.replace('[row["body"] for row in data]', '[b"newer " + row["body"] for row in data]', 1)


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with prepared(tmp_path_factory.mktemp("changed") / "instance") as service:
        make_war(service.workflow_store, file_name="newer.war", handler=NEWER)
        yield service.start()


@pytest.fixture(name="run")
def _run(service: Service) -> Iterator[Run]:
    """Run commands on two versions of `seq`, and unregister it in the end."""

    def run(line: str) -> tuple[int, str]:
        done = call(service, *line.split())
        return done.returncode, done.stdout + done.stderr

    assert run("register seq.war")[0] == 0
    assert run("register newer.war --name seq --version 2.0 -o name") == (0, "seq/2.0\n")
    yield run
    assert run("unregister seq")[0] == 0


def test_version_gets_traffic_and_loses_it(run: Run) -> None:
    """A share, all of it, and back; every step is a release."""
    assert run("predict seq -d body=x") == (0, "x")
    assert run("predict seq/2.0 -d body=x") == (0, "newer x")
    assert run("traffic seq 2.0=100 --reason new") == (0, 'Release 2 is in force for workflow "seq"\n')
    assert run("predict seq -d body=x") == (0, "newer x")
    assert run("rollback seq") == (0, 'Release 3 is in force for workflow "seq"\n')
    assert run("predict seq -d body=x") == (0, "x")
    code, printed = run("set-default seq 2.0")
    assert (code, printed) == (0, 'Default version successfully updated for workflow "seq" to "2.0"\n')
    code, printed = run("releases seq")
    assert [line.split()[4:] for line in printed.splitlines()[1:]] == [
        ["set-default", "2.0=100", "-"],
        ["rollback", "1.0=100", "-"],
        ["traffic", "2.0=100", "new"],
        ["register", "1.0=100", "-"],
    ]
    code, printed = run("versions seq")
    assert [line.split()[:2] for line in printed.splitlines()[1:]] == [["1.0", "0"], ["2.0", "100"]]


def test_dry_run_says_what_is_then_done(run: Run) -> None:
    """And nothing is done before; its fingerprint is good for one change."""
    code, printed = run("plan set-default seq 2.0")
    assert (code, run("set-default seq 2.0 --dry-run")) == (5, (5, printed))
    assert "routes: 1.0=100 -> 2.0=100" in printed
    fingerprint = re.findall(r"fingerprint: (\S+)", printed)[0]
    assert run("predict seq -d body=x") == (0, "x")
    assert run(f"set-default seq 2.0 --plan {fingerprint}")[0] == 0
    assert run("rollback seq")[0] == 0
    code, printed = run(f"set-default seq 2.0 --plan {fingerprint}")
    assert code == 1, printed
    assert run("plan set-default seq 1.0")[0] == 0
    code, printed = run("diff seq 1.0 2.0")
    assert (code, printed.splitlines()[0]) == (5, "archive.file: seq.war -> newer.war")
    assert run("diff seq 1.0 1.0") == (0, "nothing differs\n")


def test_workers_and_settings_change_while_it_serves(run: Run, service: Service) -> None:
    """The command ends when the workers are up; `--reset` brings the spec back."""
    assert run("scale seq --node m1 --min 2 --max 2")[0] == 0
    assert service.describe("seq")["nodes"][1]["readyWorkers"] == 2
    assert run("update seq --node m1 --batch-size 8 --max-batch-delay 5")[0] == 0
    node = service.describe("seq")["nodes"][1]
    assert (node["batchSize"], node["maxBatchDelay"], len(node["overridden"])) == (8, 5, 4)
    assert run("update seq --node m1 --reset")[0] == 0
    assert service.describe("seq")["nodes"][1]["overridden"] == []
    code, printed = run("scale seq --max 3 --no-wait")
    assert (code, printed.rpartition(" ")[0]) == (0, "Processing worker updates...")
    code, ended = run(f"wait {printed.split()[-1]}")
    assert (code, ended.splitlines()[-1]) == (0, "scale seq 1.0 succeeded")


#: What is refused, with which exit code, and what its one line has.
REFUSED = {
    "set-default seq 9": (4, "Workflow version: 9 does not exist for workflow: seq"),
    "describe seq/9": (4, "Workflow version: 9 does not exist for workflow: seq"),
    "scale seq --node m9 --min 1": (4, "m9"),
    "rollback seq --to 99": (4, "99"),
    "rollback seq": (1, "seq"),
    "traffic seq 1.0=90 2.0=9": (1, "99"),
    "unregister seq/1.0": (1, "100 % of the requests"),
    "scale seq --min 2 --if-revision 1": (1, "has revision 2"),
    "rollout seq pause": (1, "no rollout to pause"),
}


def test_refusal_names_what_is_wrong(run: Run) -> None:
    """In one line, and nothing has changed."""
    for line, (code, message) in REFUSED.items():
        found, printed = run(line)
        assert (found, printed.count("\n")) == (code, 1), printed
        assert message in printed
    assert json.loads(run("describe seq -o json")[1])[0]["revision"] == 2


def test_client_changes_what_commands_show(run: Run, service: Service) -> None:
    """A whole routing table with a guard and steps, conditions, and the replay of an answer."""
    with Client(service.management, inference_url=service.inference) as client:
        table = RoutingTable(
            routes=(Route(version="2.0", weight=10), Route(version="1.0", weight=90)),
            guard=Guard(max_error_rate=0.05),
            steps=(Step(weight=10, for_seconds=600), Step(weight=100)),
        )
        released = client.set_traffic("seq", table, reason="canary")
        assert released.release.guard == Guard(window_seconds=60, min_requests=50, max_error_rate=0.05)
        assert client.traffic("seq").steps == table.steps
        assert "Steps:   10:600s 100" in run("traffic seq")[1]
        revision = client.describe("seq", version="2.0").revision
        assert client.rollout("seq", "promote", if_revision=revision).release.routes == (
            Route(version="2.0", weight=100),
        )
        with pytest.raises(errors.PreconditionFailed):
            client.set_default("seq", "1.0", if_revision=revision)
        assert client.predict("seq", b"x").version == "2.0"
        first = client.rollback("seq", idempotency_key="once")
        assert client.rollback("seq", idempotency_key="once") == first
        with pytest.raises(errors.IdempotencyKeyReused):
            client.rollback("seq", to=1, idempotency_key="once")
        assert client.plan(calls.scale("seq", max_workers=4)).workers.after > 0
        assert [each.version for each in client.versions("seq")] == ["1.0", "2.0"]


def test_change_whose_answer_was_lost_is_made_once(run: Run, service: Service) -> None:
    """The service has made it; the second attempt, under the same key, gets the answer of the first."""
    answers: list[requests.Response] = []

    def forward(request: Request) -> Reply | None:
        url = f"{service.management}{request.path}"
        headers = {"Idempotency-Key": request.headers["idempotency-key"]}
        answers.append(requests.request(request.method, url, params=request.query, headers=headers, timeout=30))
        return Reply(body=answers[-1].content) if len(answers) > 1 else None

    with FakeService(forward) as losing, Client(losing.url) as client:
        assert client.set_share("seq", "2.0", 100).release.number == 2
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    assert run("releases seq -o name") == (0, "2\n1\n")


def test_curl_command_changes_the_traffic(run: Run, service: Service) -> None:
    """What `--curl` prints is understood by the service."""
    code, printed = run("traffic seq 1.0=50 2.0=50 --curl")
    assert code == 0
    body = re.findall(r"-d '(.*?)'", printed)[0]
    answer = requests.put(f"{service.management}/workflows/seq/traffic", json=json.loads(body), timeout=30)
    assert answer.status_code == 200, answer.text
    assert "2.0=50 1.0=50" in run("releases seq")[1]
