"""What each command sends, and what it prints, against a service that answers as the API says."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_service import FakeService, Reply, Request, error
from wfmgmt.cli.main import main
from wfmgmt.client import Client

ROUTES = [{"version": "2.0", "weight": 10}, {"version": "1.0", "weight": 90}]
RELEASE = {
    "number": 7,
    "at": "2026-11-23T20:53:36.386429Z",
    "actor": "anonymous",
    "reason": "new tokenizer",
    "previous": 6,
    "kind": "traffic",
    "routes": ROUTES,
    "mirror": None,
    "sticky": None,
    "guard": None,
    "steps": None,
    "paused": False,
}
RELEASED = {"status": "Workflow seq has been changed.", "release": RELEASE}
PLAN = {
    "action": "update",
    "workflow": "seq",
    "version": "2.0",
    "fingerprint": "p-0123456789abcdef",
    "archive": None,
    "changes": [
        {"path": "nodes.m1.maxWorkers", "before": 2, "after": 4},
        {"path": "routes[2.0]", "before": None, "after": 10},
    ],
    "models": [],
    "functions": [],
    "workers": {"now": 6, "after": 9},
    "routes": {"before": {"1.0": 100}, "after": {"1.0": 90, "2.0": 10}},
    "unknown": [],
    "warnings": ["This is\x1b[31m more than there are cores."],
}
EMPTY_PLAN = {**PLAN, "action": "none", "changes": []}
DIFF = {
    "workflow": "seq",
    "from": "1.0",
    "to": "2.0",
    "nodes": {"added": ["new"], "removed": ["old"]},
    "edges": {"added": [["m1", "new"]], "removed": [["m1", "old"]]},
    "changes": [{"path": "nodes.m1.model.sha256", "before": "0a", "after": None}],
}
NO_DIFF = {**DIFF, "nodes": {"added": [], "removed": []}, "edges": {"added": [], "removed": []}, "changes": []}
TABLE = {
    "routes": [{"version": "1.0", "weight": 90}, {"version": "2.0", "weight": 10}],
    "mirror": {"version": "3.0", "percent": 5},
    "sticky": {"header": "x-user-id"},
    "guard": {"windowSeconds": 60, "maxErrorRate": 0.05},
}

FIGURES = {"requests": 120, "failures": 3, "p50Ms": 1.5, "p99Ms": 20.0}
NO_FIGURES = {"requests": 0, "failures": 0, "p50Ms": None, "p99Ms": None}
VERSION_FIGURES = {**FIGURES, "inFlight": 4, "pinned": NO_FIGURES, "mirrored": {**NO_FIGURES, "dropped": 0}}
TRAFFIC = {
    "workflow": "seq",
    "revision": 9,
    "release": 7,
    **TABLE,
    "routes": ROUTES,
    "steps": [{"weight": 10, "forSeconds": 300}, {"weight": 100}],
    "paused": True,
    "inForce": {"revision": 8, "release": 6},
    "figures": {"2.0": VERSION_FIGURES, "3.0": VERSION_FIGURES},
}
VERSION = {
    "workflowName": "seq",
    "workflowUrl": "seq.war",
    "minWorkers": 1,
    "maxWorkers": 1,
    "batchSize": 1,
    "maxBatchDelay": 50,
    "workflowDag": "{m1=[]}",
    "nodes": [
        {
            "name": "m1",
            "kind": "model",
            "url": "m1.mar",
            "digest": "0a",
            "minWorkers": 1,
            "maxWorkers": 2,
            "batchSize": 8,
            "maxBatchDelay": 50,
            "retryAttempts": 1,
            "timeoutMs": 1000,
            "threads": 2,
            "readyWorkers": 1,
            "error": None,
            "overridden": ["batchSize", "maxWorkers"],
            "workers": [
                {"pid": 11, "startedAt": "2026-11-23T20:53:36.386429Z", "pssBytes": 12_345_678, "threads": 3},
                {"pid": 12, "startedAt": "2026-11-23T20:53:37.386429Z", "pssBytes": None, "threads": None},
            ],
            "requests": 120,
            "failures": 3,
            "queued": 0,
            "p50Ms": 1.5,
            "p99Ms": None,
            "storeFile": "gone",
        }
    ],
    "registeredAt": "2026-11-23T20:53:36.386429Z",
    "archiveSha256": "0a",
    "version": "1.0",
    "default": True,
    "revision": 9,
    "release": 7,
    "routes": ROUTES,
    "state": "ready",
    "storeFile": "same",
}


def ask(arguments: list[str], reply: Reply, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str, list[Request]]:
    """Run a command against a service that gives one answer; return its code, what it prints, and what it sent."""
    with FakeService(lambda _: reply) as service:
        code = main([*arguments, "--url", service.url])
    printed = capfd.readouterr()
    return code, printed.out, printed.err, service.requests


CHANGES = {
    "register a.war --name seq --version 2.0": ("POST /workflows", "url=a.war workflow_name=seq version=2.0", None),
    "register a.war --version 2.0 --set-default": ("POST /workflows", "url=a.war version=2.0 set_default=true", None),
    "unregister seq": ("DELETE /workflows/seq", "", None),
    "unregister seq/1.0 --reason old": ("DELETE /workflows/seq/1.0", "reason=old", None),
    "set-default seq 2.0": ("PUT /workflows/seq/2.0/set-default", "", None),
    "traffic seq 2.0=10": ("PUT /workflows/seq/traffic", "version=2.0 weight=10", None),
    "traffic seq 2.0=100": ("PUT /workflows/seq/traffic", "", {"routes": [{"version": "2.0", "weight": 100}]}),
    "traffic seq 1.0=90 2.0=10 --mirror 3.0=5 --sticky x-user-id --guard windowSeconds=60 maxErrorRate=0.05": (
        "PUT /workflows/seq/traffic",
        "",
        TABLE,
    ),
    "traffic seq -f {file} --reason r": ("PUT /workflows/seq/traffic", "reason=r", TABLE),
    "rollout seq promote": ("POST /workflows/seq/rollout", "action=promote", None),
    "rollback seq": ("POST /workflows/seq/rollback", "", None),
    "rollback seq --to 5 --plan p-1": ("POST /workflows/seq/rollback", "to=5 plan=p-1", None),
    "scale seq --min 1 --max 4": ("PUT /workflows/seq", "min_worker=1 max_worker=4 synchronous=true", None),
    "scale seq/2.0 --node m1 --max 4 --no-wait": (
        "PUT /workflows/seq/2.0/nodes/m1",
        "max_worker=4 synchronous=false",
        None,
    ),
    "scale seq --min 1 --timeout 9": ("PUT /workflows/seq", "min_worker=1 synchronous=true timeout=9", None),
    "update seq --node m1 --batch-size 8 --max-batch-delay 5 --timeout-ms 900 --retry-attempts 0": (
        "PUT /workflows/seq/nodes/m1",
        "batch_size=8 max_batch_delay=5 timeout_ms=900 retry_attempts=0",
        None,
    ),
    "update seq/2.0 --node m1 --reset": ("DELETE /workflows/seq/2.0/nodes/m1/overrides", "", None),
}


@pytest.mark.parametrize("arguments", CHANGES)
def test_change_sends_what_the_api_says(arguments: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Path, parameters and body; it says in a line what was done, and its names are for other commands."""
    (tmp_path / "table.json").write_text(json.dumps(TABLE))
    words = arguments.format(file=tmp_path / "table.json").split()
    code, out, err, (request,) = ask([*words, "--if-revision", "3"], Reply(body=RELEASED), capfd)
    assert (code, err) == (0, "")
    assert out.startswith("Workflow seq has been changed.")
    query = dict(sorted(request.query.items()))
    line, parameters, body = CHANGES[arguments]
    assert request.line == line
    assert query == dict(sorted(each.split("=") for each in parameters.split()))
    assert (request.json if request.body else None) == body
    assert request.headers["if-match"] == '"3"'
    assert request.headers["idempotency-key"]
    code, out, _, _ = ask([*words, "-o", "name"], Reply(body=RELEASED), capfd)
    assert (code, out.strip().split("/")[0]) == (0, "seq")


#: What is sent, what comes back, how the command ends, and what it prints.
LOG_LINES = [
    {"at": "2026-11-23T20:53:36.1Z", "node": "m1", "pid": 7, "level": "info", "text": "worker up after 0.10 s"},
    {
        "at": "2026-11-23T20:53:37.2Z",
        "node": "m1",
        "pid": None,
        "level": "error",
        "text": "prediction failed: \x1b[2J\nTraceback\n  File\n",
    },
]
SHOWN: dict[str, tuple[str, Any, int, str]] = {
    "traffic seq": (
        "GET /workflows/seq/traffic",
        TRAFFIC,
        0,
        """\
Release: 7 (not in force yet)
Mirror:  3.0=5
Sticky:  x-user-id
Guard:   windowSeconds=60 maxErrorRate=0.05
Steps:   10:300s 100 (paused)

VERSION  WEIGHT  REQUESTS  FAILURES  P50    P99   INFLIGHT  PINNED  COPIES  DROPPED
2.0      10      120       3         1.5ms  20ms  4         0       0       0
1.0      90      -         -         -      -     -         -       -       -
3.0      0       120       3         1.5ms  20ms  4         0       0       0
""",
    ),
    "traffic seq -o name": ("GET /workflows/seq/traffic", TRAFFIC, 0, "seq/2.0\nseq/1.0\n"),
    "versions seq": (
        "GET /workflows/seq/all",
        [VERSION, {**VERSION, "version": "2.0", "state": "standby"}],
        0,
        """\
VERSION  WEIGHT  STATE    REGISTERED           ARCHIVE
1.0      90      ready    2026-11-23 20:53:36  seq.war
2.0      10      standby  2026-11-23 20:53:36  seq.war
""",
    ),
    "versions seq -o name": ("GET /workflows/seq/all", [VERSION], 0, "seq/1.0\n"),
    "describe seq/1.0": (
        "GET /workflows/seq/1.0",
        [VERSION],
        0,
        """\
Name:       seq
Version:    1.0 (ready, default)
Revision:   9
Release:    7: 2.0=10 1.0=90
Archive:    seq.war
SHA256:     0a
Registered: 2026-11-23 20:53:36 UTC
Graph:      {m1=[]}

NODE  KIND   READY  WORKERS  THREADS  BATCH  DELAY  TIMEOUT  RETRIES  CHANGED                ARCHIVE        ERROR
m1    model  1      1-2      2        8      50ms   1000ms   1        batchSize maxWorkers  m1.mar (gone)  -

NODE  REQUESTS  FAILURES  QUEUED  P50    P99
m1    120       3         0       1.5ms  -

NODE  PID  STARTED              MEMORY  THREADS
m1    11   2026-11-23 20:53:36  12.3MB  3
m1    12   2026-11-23 20:53:37  -       -
""".replace("CHANGED                ARCHIVE", "CHANGED               ARCHIVE"),
    ),
    "releases seq": (
        "GET /workflows/seq/releases",
        {"releases": [RELEASE]},
        0,
        """\
RELEASE  MADE                 BY         KIND     ROUTES         REASON
7        2026-11-23 20:53:36  anonymous  traffic  2.0=10 1.0=90  new tokenizer
""",
    ),
    "logs seq/2.0 --node m1 -n 3": (
        "GET /workflows/seq/2.0/logs",
        {"lines": LOG_LINES},
        0,
        """\
2026-11-23 20:53:36 INFO [m1 7] worker up after 0.10 s
2026-11-23 20:53:37 ERROR [m1] prediction failed: \\x1b[2J
    Traceback
      File
""",
    ),
    "graph seq/2.0": (
        "GET /workflows/seq/2.0/graph",
        "1  m → n\n│\n2  \x1b[2J\n".encode(),
        0,
        "1  m → n\n│\n2  \\x1b[2J\n",
    ),
    "graph seq --format svg": ("GET /workflows/seq/graph", b"<svg/>\n", 0, "<svg/>\n"),
    "graph seq -o name": ("GET /workflows/seq/graph", b"1  m\n", 0, "seq\n"),
    "diff seq 1.0 2.0": (
        "GET /workflows/seq/diff",
        DIFF,
        5,
        """\
- node old
+ node new
- edge m1 -> old
+ edge m1 -> new
nodes.m1.model.sha256: 0a -> null
""",
    ),
    "diff seq 1.0 1.0": ("GET /workflows/seq/diff", NO_DIFF, 0, "nothing differs\n"),
    "plan scale seq/2.0 --max 4": (
        "PUT /workflows/seq/2.0",
        PLAN,
        5,
        """\
update seq 2.0
  nodes.m1.maxWorkers: 2 -> 4
  workers: 6 -> 9
  routes: 1.0=100 -> 1.0=90 2.0=10
  warning: This is\\x1b[31m more than there are cores.
  fingerprint: p-0123456789abcdef
""",
    ),
    "rollback seq --dry-run": ("POST /workflows/seq/rollback", EMPTY_PLAN, 0, "seq 2.0: nothing would change\n"),
    "unregister seq --dry-run -o name": ("DELETE /workflows/seq", PLAN, 5, "seq/2.0\n"),
}


@pytest.mark.parametrize("arguments", SHOWN)
def test_answer_is_shown(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    """As text for people, with an exit code of its own when there are changes."""
    line, body, code, printed = SHOWN[arguments]
    found, out, err, (request,) = ask(arguments.split(), Reply(body=body), capfd)
    assert (found, out, err, request.line) == (code, printed, "", line)
    is_plan = arguments.startswith("plan ") or "--dry-run" in arguments
    assert request.query.get("dry_run") == ("true" if is_plan else None)
    assert "idempotency-key" not in request.headers


def _page(request: Request) -> Reply:
    """Answer two pages: of workflows, and of 1,002 releases."""
    if request.path == "/workflows":
        is_first = request.query["after"] == ""
        workflows = [{"workflowName": "a" if is_first else "bb", "workflowUrl": "a.war"}]
        return Reply(body={"workflows": workflows, **({"nextAfter": "a"} if is_first else {})})
    before = int(request.query.get("before", 1003))
    numbers = range(before - 1, max(0, before - 1 - int(request.query["limit"])), -1)
    return Reply(body={"releases": [{**RELEASE, "number": number} for number in numbers]})


@pytest.mark.parametrize(
    ("command", "rows"),
    [("list", ["NAME  URL", "a     a.war", "bb    a.war"]), ("releases seq -o name", [*map(str, range(1002, 0, -1))])],
)
def test_pages_are_one_answer(command: str, rows: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """With one line of headings, and columns as wide as the widest of all; JSON comes page after page."""
    with FakeService(_page) as service:
        assert main([*command.split(), "--url", service.url]) == 0
        assert capfd.readouterr().out.splitlines() == rows
        assert main([*command.split(), "--url", service.url, "-o", "json"]) == 0
        assert capfd.readouterr().out.count("\n}\n") == 2


def test_client_yields_releases_of_all_pages() -> None:
    """Each page is fetched when it is needed."""
    with FakeService(_page) as service, Client(service.url) as client:
        releases = client.releases("seq")
        assert next(releases).number == 1002
        assert len(service.requests) == 1
        assert [release.number for release in releases] == list(range(1001, 0, -1))
        assert len(service.requests) == 2


def test_workers_that_take_too_long_are_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """The service says that it goes on; the command was to wait."""
    reply = Reply(status=206, body={"status": "Workers scaling in progress..."})
    code, out, err, _ = ask(["scale", "seq", "--max", "4"], reply, capfd)
    assert (code, out, err) == (1, "", "wfmgmt: Workers scaling in progress...\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("traffic seq --sticky x-user-id", "a routing table is changed as a whole: name the shares, too"),
        ("traffic seq 2.0", "V=WEIGHT: expected a name and a number, like 2.0=10, got '2.0'"),
        ("traffic seq 2.0=much", "V=WEIGHT: expected a name and a number, like 2.0=10, got '2.0=much'"),
        ("traffic seq 1.0=100 --guard maxErrorRate=nan", "--guard: expected a name and a number"),
        ("traffic seq 1.0=100 -f {file}", "--file has a whole routing table; leave the rest out"),
        ("traffic seq -f {file}", "table.json: Expecting property name"),
        ("traffic seq -f /nosuch", "/nosuch: No such file or directory"),
        ("unregister seq/", "expected the name of a workflow, version or node, got ''"),
        ("unregister seq/.", "expected the name of a workflow, version or node, got '.'"),
        ("traffic seq --dry-run", "this changes nothing, so there is nothing to plan"),
        ("update seq --node m1", "give settings, or --reset, and not both"),
        ("update seq --node m1 --reset --batch-size 1", "give settings, or --reset, and not both"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    arguments: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is sent."""
    (tmp_path / "table.json").write_text("{")
    words = arguments.format(file=tmp_path / "table.json").split()
    code, out, err, requests = ask(words, Reply(body=RELEASED), capfd)
    assert (code, out, requests) == (2, "", [])
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", ["rollback seq/2.0", "update seq --batch-size 1", "rollout seq stop", "plan list"]
)
def test_wrong_usage_is_explained(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    """By the parser, with the usage of the command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    assert "usage: wfmgmt" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(412, "PreconditionFailedException", "Workflow seq has revision 4."), 1),
        (error(409, "StalePlanException", "Something else would be done."), 1),
        (error(404, "WorkflowVersionNotFoundException", "Workflow version: 9 does not exist for workflow: seq"), 4),
    ],
    ids=["revision", "plan", "version"],
)
def test_refusal_has_its_code(reply: Reply, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    """And the words of the service."""
    found, out, err, _ = ask(["set-default", "seq", "9"], reply, capfd)
    assert (found, out, err) == (code, "", f"wfmgmt: {reply.body['message']}\n")


def test_curl_command_has_the_table(capfd: pytest.CaptureFixture[str]) -> None:
    """Quoted for a shell; it has no key, by which a second run would do nothing."""
    arguments = ["traffic", "seq", "1.0=90", "2.0=10", "--if-revision", "3", "--reason", "it's new", "--curl"]
    code, out, _, requests = ask(arguments, Reply(body=RELEASED), capfd)
    assert (code, requests) == (0, [])
    assert """-X PUT -H 'If-Match: "3"' -H 'Content-Type: application/json' -d '{"routes": [""" in out
    assert "reason=it%27s%20new" in out
    assert "Idempotency" not in out
