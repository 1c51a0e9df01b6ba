"""What each rule finds in facts, and the sentence that sums it up."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from wfmgmt.domain.audit import Origin
from wfmgmt.domain.explaining.facts import ExplainedState, Facts, FoundDrift, LastLine, NodeFacts
from wfmgmt.domain.explaining.rules import problems
from wfmgmt.domain.explaining.words import duration, saturation, summary, workers_up
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.operations import Operation, OperationError, OperationKind, OperationPhase, OperationState, Progress
from wfmgmt.domain.releases import Release, ReleaseKind, Route, RoutingTable, Step
from wfmgmt.domain.workflow import NodeSettings

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEFORE = "2026-01-31T11:00:00.000000Z"
NODE = NodeFacts(
    name="m1",
    settings=NodeSettings(max_workers=2),
    ready=2,
    wanted=2,
    queued=0,
    requests=60,
    failures=0,
    p50_ms=1.0,
    p99_ms=9.0,
    store_file="same",
)
TABLE = RoutingTable(routes=(Route(version="2.0", weight=10), Route(version="1.0", weight=90)))
RELEASE = Release(
    number=7,
    at=BEFORE,
    actor="ann",
    reason="why",
    kind=ReleaseKind.TRAFFIC,
    previous=6,
    table=RoutingTable.all_to("1.0"),
)
FACTS = Facts(
    workflow="seq",
    version="1.0",
    state=ExplainedState.READY,
    now=NOW,
    nodes=(NODE,),
    release=RELEASE,
    enforced_release=7,
    archive="seq.war",
    archive_file="same",
    free_bytes=10**12,
)
STEPS = (Step(weight=10, for_s=60), Step(weight=100))


def operation(**changes: Any) -> Operation:
    """Return a registration of the version 1.0."""
    values: dict[str, Any] = {
        "number": 1,
        "uid": "0a",
        "kind": OperationKind.REGISTER,
        "workflow": "seq",
        "version": "1.0",
        "url": "seq.war",
        "request": {},
        "state": OperationState.RUNNING,
        "progress": Progress(phase=OperationPhase.LOADING),
        "result": None,
        "error": None,
        "origin": Origin(actor="ann"),
        "lease": None,
        "created_at": BEFORE,
        "started_at": BEFORE,
        "ended_at": None,
        "attempts": 1,
        "cancelled_by": None,
        "receipt": None,
    }
    return Operation(**{**values, **changes})


def with_node(state: ExplainedState = ExplainedState.READY, *, fault: Fault = Fault.MODEL, **changes: Any) -> Facts:
    """Return the facts with other ones about the node."""
    return replace(FACTS, state=state, fault=fault, nodes=(replace(NODE, **changes),))


def with_release(kind: ReleaseKind = ReleaseKind.TRAFFIC, **table: Any) -> Facts:
    """Return the facts with another release."""
    return replace(FACTS, release=replace(RELEASE, kind=kind, table=replace(TABLE, **table)))


FAILED = OperationError(type="InvalidArchive", message="no manifest")


def gone(minutes: int) -> LastLine:
    """Return the line about a worker that ended by itself so long ago."""
    at = f"2026-01-31T11:{60 - minutes:02}:00.000Z"
    return LastLine(at=at, pid=7, level="warning", text="worker gone: exited with code 7")


def drift(kind: str) -> FoundDrift:
    """Return what was found at a model server."""
    return FoundDrift(at=BEFORE, is_of_settings=kind == "settings", text=f"http://t: {kind}")


ERROR = LastLine(at=BEFORE, pid=7, level="error", text="prediction failed: ValueError: bad\nTraceback")
#: Facts, and parts of what is so, since when, and what to do.
CASES: dict[str, tuple[Facts, str, str | None, str]] = {
    "silent": (
        replace(FACTS, runtime_silence="The runtime is down."),
        "The runtime is down.",
        None,
        "restart the service",
    ),
    "catalog": (replace(FACTS, runtime_problem="It is locked."), "It is locked.", None, "WFMGMT_DATABASE_URL"),
    "disk": (replace(FACTS, free_bytes=12 * 1024**2), "Only 12 MiB are free", None, "Free space there"),
    "failed": (
        with_node(
            ExplainedState.FAILED,
            error="ValueError: bad",
            lines=[LastLine(at=BEFORE, pid=None, level="warning", text="not loaded: ValueError: bad")],
        ),
        "It was not loaded: ValueError: bad",
        BEFORE,
        "wfmgmt logs seq/1.0 --node m1",
    ),
    "import": (
        with_node(ExplainedState.FAILED, error="ModuleNotFoundError: No module named 'torch'"),
        "No module named 'torch'",
        None,
        "pip install",
    ),
    "startup": (
        with_node(ExplainedState.FAILED, error="not ready within startup_timeout of 5 s"),
        "startup_timeout",
        None,
        "--startup-timeout SECONDS",
    ),
    "space": (
        replace(with_node(ExplainedState.FAILED, error="no space"), is_out_of_space=True),
        "no space",
        None,
        "Free space on the disk",
    ),
    "room": (with_node(ExplainedState.FAILED, fault=Fault.NO_ROOM, error="x"), "x", None, "WFMGMT_MAX_WORKERS"),
    "loading": (
        replace(FACTS, state=ExplainedState.LOADING, startup_timeout_s=120),
        "workers are coming up",
        None,
        "Each has 120 s",
    ),
    "settings": (
        replace(FACTS, unreached="version 1.0: m1: not ready within startup_timeout of 5 s"),
        "is not in force: version 1.0: m1: not ready within startup_timeout of 5 s.",
        None,
        "wfmgmt register ARCHIVE --name seq --version NEW --startup-timeout SECONDS",
    ),
    "missing": (
        with_node(
            ready=1,
            error="worker was killed by SIGKILL",
            lines=[LastLine(at=BEFORE, pid=7, level="warning", text="worker gone: was killed by SIGKILL")],
        ),
        "1 of 2 workers up: worker was killed by SIGKILL.",
        BEFORE,
        "dmesg",
    ),
    "starting": (
        with_node(ready=0, wanted=1, lines=[gone(30)]),
        "0 of 1 worker up",
        None,
        "wfmgmt logs seq/1.0 --node m1",
    ),
    "failing": (
        with_node(failures=12, lines=[ERROR]),
        f"12 of 60 attempts failed in the last minute. The last one at {BEFORE}: prediction failed: ValueError: bad",
        None,
        "wfmgmt rollback seq",
    ),
    "timeouts": (
        with_node(
            failures=1,
            requests=1,
            overridden=["responseTimeout"],
            lines=[
                replace(ERROR, text="prediction failed: no answer within timeout-ms of 10 ms; its worker was killed")
            ],
        ),
        "1 of 1 attempt failed",
        None,
        "Other than in the spec: responseTimeout; back to it: wfmgmt update seq/1.0 --node m1 --reset.",
    ),
    "no worker": (
        with_node(
            failures=1,
            requests=1,
            lines=[
                replace(ERROR, level="warning", text="prediction not taken: m1 has no worker: TorchServe at http://t")
            ],
        ),
        "m1 has no worker",
        None,
        "requests go on once one is",
    ),
    "server": (
        with_node(ready=0, wanted=1, error="TorchServe at http://t answered 500"),
        "0 of 1 worker up: TorchServe at http://t answered 500.",
        None,
        "Read the log of that model server.",
    ),
    "memory": (
        with_node(failures=1, requests=1, lines=[replace(ERROR, text="prediction failed: MemoryError")]),
        "MemoryError",
        None,
        "Raise WFMGMT_WORKER_MEMORY_MB",
    ),
    "loop": (
        with_node(lines=[gone(3), LastLine(at=BEFORE, pid=8, level="info", text="worker up after 1 s"), gone(1)]),
        "Workers end again and again: 2 lately, the last one at 2026-01-31T11:59:00.000Z: exited with code 7.",
        "2026-01-31T11:57:00.000Z",
        "wfmgmt logs seq/1.0 --node m1",
    ),
    "loop that is down": (
        with_node(ready=1, error="worker exited with code 7", lines=[gone(3), gone(1)]),
        "1 of 2 workers up: worker exited with code 7. Workers ended 2 times since 2026-01-31T11:57:00.000Z.",
        "2026-01-31T11:59:00.000Z",
        "wfmgmt logs seq/1.0 --node m1",
    ),
    "not in force": (
        replace(FACTS, unreached="version 1.0: m1: WFMGMT_MAX_WORKERS allows 40", changed_at=BEFORE),
        "What was changed last is not in force: version 1.0: m1: WFMGMT_MAX_WORKERS allows 40.",
        BEFORE,
        "Raise WFMGMT_MAX_WORKERS",
    ),
    "saturated": (
        with_node(queued=37, busy_s=40.0),
        "2 of 2 workers busy for 40 s, 37 waiting. A new request waits about 37 s.",
        "2026-01-31T11:59:20Z",
        "wfmgmt scale seq/1.0 --node m1 --max 4",
    ),
    "hanging": (with_node(queued=1, busy_s=40.0, requests=0), "the handler may hang", "2026-01-31T11:59:20Z", "scale"),
    "full": (
        with_node(
            queued=100,
            busy_s=40.0,
            requests=64,
            failures=4,
            lines=[replace(ERROR, level="warning", text="prediction not taken: 100 requests wait (WFMGMT_QUEUE_SIZE)")],
        ),
        "100 waiting. A new request waits about 100 s. The queue is full, and further requests get a 503",
        "2026-01-31T11:59:20Z",
        "scale",
    ),
    "not grown": (
        with_node(queued=37, busy_s=40.0, ready=1, wanted=1),
        "1 of 1 worker busy",
        "2026-01-31T11:59:20Z",
        "WFMGMT_AUTOSCALE",
    ),
    "slow": (with_node(p99_ms=9_500.0), "took 10 s, and timeout-ms allows a run of 10 s", None, "--timeout-ms"),
    "route": (
        replace(FACTS, failed_routes={"2.0": "m1: bad"}),
        "Version 2.0, which the current release names, did not come up: m1: bad",
        None,
        "wfmgmt explain seq/2.0",
    ),
    "late": (replace(FACTS, enforced_release=6), "Release 7 is not in force yet", BEFORE, "wfmgmt rollback seq"),
    "guard": (with_release(ReleaseKind.GUARD), "A guard gave 1.0 all requests back: why", BEFORE, "traffic seq NEW=10"),
    "paused": (
        with_release(steps=STEPS, is_paused=True),
        "The rollout of 2.0 is paused at 10 %, by ann.",
        BEFORE,
        "wfmgmt rollout seq resume",
    ),
    "overdue": (
        with_release(steps=STEPS),
        "The next step of the rollout of 2.0 is due",
        "2026-01-31T11:01:00Z",
        "promote",
    ),
    "drift": (replace(FACTS, drift=drift("settings")), "http://t: settings", BEFORE, "wfmgmt reconcile"),
    "registering": (
        replace(FACTS, state=ExplainedState.REGISTERING, operations=(operation(),)),
        "Its registration by ann is not done: it is loading.",
        BEFORE,
        "wfmgmt wait 0a",
    ),
    "queued": (
        replace(FACTS, state=ExplainedState.REGISTERING, operations=(operation(progress=Progress()),)),
        "waits for its turn",
        BEFORE,
        "wfmgmt cancel 0a",
    ),
    "registration": (
        replace(FACTS, failed_operation=operation(state=OperationState.FAILED, error=FAILED, ended_at=BEFORE)),
        "The operation register of version 1.0 by ann failed: no manifest",
        BEFORE,
        "wfmgmt wait 0a -o json",
    ),
    "changed": (
        replace(FACTS, archive_file="changed"),
        "The archive seq.war in the store has changed",
        None,
        "wfmgmt register",
    ),
    "gone": (with_node(store_file="gone"), "Its archive in the store is gone", None, "has kept it"),
}


@pytest.mark.parametrize("case", CASES)
def test_rule_finds_its_problem(case: str) -> None:
    """And no other rule finds another one; the hint names the workflow, the node, and the command or setting."""
    facts, what, since, hint = CASES[case]
    (problem,) = problems(facts)
    assert what in problem.what
    assert problem.since == since
    assert hint in problem.hint
    assert "{" not in problem.hint
    assert summary(facts, [problem]).count(".") >= 1


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        with_node(queued=1, busy_s=600.0, requests=60_000),
        with_node(queued=37, busy_s=1.0),
        with_node(queued=0, busy_s=600.0),
        with_node(failures=1, requests=1000),
        with_node(lines=[gone(1)]),
        with_node(lines=[gone(50), gone(55), replace(gone(1), level="info", text="worker gone: idle for 60 s")]),
        with_node(queued=None, requests=None, failures=None, p50_ms=None, p99_ms=None),
        replace(FACTS, state=ExplainedState.PARKED, enforced_release=None),
        replace(FACTS, drift=drift("missing")),
        with_release(steps=(Step(weight=10, for_s=3600), Step(weight=100))),
    ],
    ids=[
        "ready",
        "quick",
        "peak",
        "used",
        "few failures",
        "one end",
        "ends long ago",
        "unmeasured",
        "parked",
        "drift that is over",
        "rollout",
    ],
)
def test_what_is_as_it_should_be_is_no_problem(facts: Facts) -> None:
    """The summary says so."""
    assert problems(facts) == ()
    assert summary(facts, ()).endswith("; nothing is wrong.")


def test_model_that_is_missing_at_its_server_is_said_while_workers_are_missing() -> None:
    """Whether it is there again is seen by its workers, also after a restart, which records no end."""
    found = problems(replace(with_node(ready=0, wanted=1), drift=drift("missing")))
    assert [each.what for each in found][1:] == ["A model server differs from what it should hold: http://t: missing."]


def test_summary_has_the_first_problem_and_counts_the_others() -> None:
    """What explains others comes first."""
    facts = replace(with_node(queued=37, busy_s=40.0), runtime_silence="The runtime is down.")
    text = summary(facts, problems(facts))
    assert text.startswith("seq 1.0 is ready; The runtime is down.")
    assert text.endswith("(and 1 other problem).")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250 ms"), (40, "40 s"), (600, "10 min"), (10_800, "3 h"), (864_000, "10 days")]
)
def test_durations_are_in_their_largest_unit(seconds: float, text: str) -> None:
    """As one would say them."""
    assert duration(seconds) == text


def test_saturation_is_said_as_far_as_it_is_known() -> None:
    """Workers of TorchServe do not say whether they are busy."""
    assert saturation(replace(NODE, queued=None)) is None
    assert saturation(NODE) == "no request waits"
    assert saturation(replace(NODE, queued=2)) == "2 workers up, 2 waiting"


def test_workers_that_still_end_are_named_as_more_than_wanted() -> None:
    """After fewer were asked for."""
    assert [workers_up(*each) for each in ((0, 1), (2, 2), (2, 1))] == [
        "0 of 1 worker up",
        "2 of 2 workers up",
        "2 workers up, 1 wanted",
    ]
