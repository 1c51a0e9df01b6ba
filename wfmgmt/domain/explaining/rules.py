"""The rules that find problems in facts: each a small function, in the order in which an operator should read them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from wfmgmt.domain.explaining.facts import ExplainedState, Facts, LastLine, NodeFacts, Problem
from wfmgmt.domain.explaining.hints import (
    FAILURE_HINTS,
    FAULT_HINTS,
    GONE_HINTS,
    REASON_HINTS,
    SPACE_HINT,
    filled,
    matching,
    override_hint,
)
from wfmgmt.domain.explaining.words import amount, duration, saturation, workers_up
from wfmgmt.domain.operations import OperationPhase
from wfmgmt.domain.releases import ReleaseKind
from wfmgmt.domain.rollouts import candidate, when_due

Rule = Callable[[Facts], Iterator[Problem]]

#: Workers that are busy for less, and waits that are shorter, are a peak.
MIN_BUSY_S, MIN_WAIT_S = 5.0, 0.1
#: Part of the attempts of a minute whose failure is a problem, and part of `timeout-ms` that is close to it.
MIN_FAILED, NEAR_TIMEOUT = 0.01, 0.8
MIN_FREE_BYTES = 256 * 1024 * 1024
#: How often workers end by themselves, and within which time, before that is said.
MIN_ENDS, ENDS_WITHIN = 2, timedelta(minutes=10)
#: How long a step of a rollout may be due before it is said.
MAX_OVERDUE = timedelta(seconds=30)
_UP = frozenset({ExplainedState.READY, ExplainedState.STANDBY})


def runtime_is_silent(facts: Facts) -> Iterator[Problem]:
    """The runtime does not answer, so that only the registry is known."""
    if facts.runtime_silence:
        yield Problem(
            what=f"{facts.runtime_silence} What is not in the registry is not known: workers, requests, log lines.",
            hint="The service replaces a runtime that ended at once, and one that hangs within a minute. If this "
            "lasts, look for 'the runtime' in the log of the service, then restart the service.",
        )


def runtime_cannot_serve(facts: Facts) -> Iterator[Problem]:
    """The runtime answers, but cannot read the registry."""
    if facts.runtime_problem and not facts.runtime_silence:
        yield Problem(
            what=facts.runtime_problem,
            hint="Check the database (WFMGMT_DATABASE_URL; a SQLite file is in the instance): is its disk full, does "
            "its server run? The runtime reads it again by itself.",
        )


def disk_is_full(facts: Facts) -> Iterator[Problem]:
    """The disk of the instance has little room left."""
    if facts.free_bytes is not None and facts.free_bytes < MIN_FREE_BYTES:
        yield Problem(
            what=f"Only {facts.free_bytes / 1024**2:.0f} MiB are free on the disk of the instance.",
            hint="Free space there: changes cannot be recorded and nothing be loaded once it is full (507). Archives "
            "that no version uses go after WFMGMT_ARCHIVES_KEEP_S.",
        )


def load_failed(facts: Facts) -> Iterator[Problem]:
    """Nodes did not come up."""
    if facts.state is not ExplainedState.FAILED:
        return
    for node in facts.nodes:
        if node.error is not None:
            hint = SPACE_HINT if facts.is_out_of_space else matching(REASON_HINTS, node.error)
            yield Problem(
                node=node.name,
                what=f"It was not loaded: {node.error}",
                since=_last(node.warnings("not loaded: ")),
                hint=filled(hint or FAULT_HINTS[facts.fault], facts, node),
            )


def loading_goes_on(facts: Facts) -> Iterator[Problem]:
    """Workers are coming up."""
    if facts.state is ExplainedState.LOADING and not facts.runtime_silence:
        limit = "" if facts.startup_timeout_s is None else f" Each has {facts.startup_timeout_s} s for that."
        yield Problem(
            what="Its workers are coming up, and requests wait for them.",
            hint=f"Wait, and look again.{limit} What they do meanwhile: wfmgmt logs {facts.label}.",
        )


def workers_are_missing(facts: Facts) -> Iterator[Problem]:
    """Workers of a version that is loaded are not there."""
    for node in facts.nodes if facts.state in _UP else ():
        if node.ready < node.wanted:
            reason = node.error or "the missing ones are being started"
            ends = _recent_ends(facts, node)
            lines = node.warnings("worker gone: ", "worker not started: ") if node.error else ()
            again = f" Workers ended {len(ends)} times since {ends[0].at}." if len(ends) >= MIN_ENDS else ""
            yield Problem(
                node=node.name,
                what=f"{workers_up(node.ready, node.wanted)}: {reason.removesuffix('.')}.{again}",
                since=_last(lines),
                hint=filled(matching(GONE_HINTS, reason) or "", facts, node),
            )


def workers_keep_ending(facts: Facts) -> Iterator[Problem]:
    """Workers are up, but they end again and again, by themselves and not by requests that fail."""
    for node in facts.nodes if facts.state in _UP else ():
        ends = _recent_ends(facts, node)
        if node.ready >= node.wanted and not node.failures and len(ends) >= MIN_ENDS:
            reason = ends[-1].message.removeprefix("worker gone: ")
            yield Problem(
                node=node.name,
                what=f"Workers end again and again: {len(ends)} lately, the last one at {ends[-1].at}: {reason}.",
                since=ends[0].at,
                hint=filled(matching(GONE_HINTS, reason) or "", facts, node),
            )


def _recent_ends(facts: Facts, node: NodeFacts) -> list[LastLine]:
    """Return the lines about workers that ended by themselves in the last minutes."""
    ends = node.warnings("worker gone: ")
    return [line for line in ends if facts.now - datetime.fromisoformat(line.at) <= ENDS_WITHIN]


def _last(lines: Sequence[LastLine]) -> str | None:
    return lines[-1].at if lines else None


def settings_are_late(facts: Facts) -> Iterator[Problem]:
    """Settings that were changed are not in force."""
    if facts.unreached:
        hint = matching(REASON_HINTS, facts.unreached) or (
            "The runtime tries again by itself, with pauses of up to 5 minutes; to do without the change: "
            "wfmgmt update {label} --node NODE --reset."
        )
        yield Problem(
            what=f"What was changed last is not in force: {facts.unreached.removesuffix('.')}.",
            since=facts.changed_at,
            hint=filled(hint, facts),
        )


def node_is_saturated(facts: Facts) -> Iterator[Problem]:
    """Requests wait for workers that are all busy, and have been for a while."""
    for node in facts.nodes if facts.state in _UP else ():
        wait_s = _expected_wait_s(facts, node)
        if not node.queued or wait_s < MIN_WAIT_S or (node.busy_s or MIN_BUSY_S) < MIN_BUSY_S:
            continue
        is_full, is_stuck = _is_full(facts, node), wait_s == float("inf")
        limit = duration(node.settings.timeout_ms / 1000)
        sentences = [
            f"{saturation(node)}.",
            f"None was answered in the last minute: the handler may hang, which ends after {limit} (timeout-ms)."
            if is_stuck
            else f"A new request waits about {duration(wait_s)}.",
            "The queue is full, and further requests get a 503 (WFMGMT_QUEUE_SIZE)." if is_full else "",
        ]
        hint = ("See what it does: wfmgmt logs {label}{node}. " if is_stuck else "") + _saturated_hint(node)
        yield Problem(
            node=node.name,
            what=" ".join(filter(None, sentences)),
            since=None if node.busy_s is None else _before(facts, node.busy_s),
            hint=filled(hint, facts, node) + override_hint(facts, node),
        )


def _is_full(facts: Facts, node: NodeFacts) -> bool:
    return (node.queued or 0) >= facts.queue_size


def _expected_wait_s(facts: Facts, node: NodeFacts) -> float:
    """Return how long a new request waits, by what was done in the last minute; refusals of a full queue are quick."""
    done = (node.requests or 0) - ((node.failures or 0) if _is_full(facts, node) else 0)
    return 60 * (node.queued or 0) / done if done > 0 else float("inf")


def _saturated_hint(node: NodeFacts) -> str:
    most = node.settings.max_workers
    more = "Allow more workers, if the host has cores and memory for them: wfmgmt scale {label}{node} --max "
    if node.ready < most:
        more = (
            f"Up to {most} workers may come by themselves (WFMGMT_AUTOSCALE); wfmgmt logs {{label}}{{node}} says why "
            "they do not. Have them always: wfmgmt scale {label}{node} --min "
        )
    batch = "" if node.settings.batch_size > 1 else " Or larger batches: wfmgmt update {label}{node} --batch-size 8."
    return f"{more}{max(2 * node.ready, 2) if node.ready >= most else most}.{batch}"


def attempts_fail(facts: Facts) -> Iterator[Problem]:
    """A part of the attempts of the last minute failed."""
    for node in facts.nodes:
        last = node.last_failure
        if not node.failures or not node.requests or node.failures < MIN_FAILED * node.requests:
            continue
        if last is not None and "WFMGMT_QUEUE_SIZE" in last.message and _is_full(facts, node):
            continue  # That the node is saturated says it all.
        error = "" if last is None else f" The last one at {last.at}: {last.message}"
        yield Problem(
            node=node.name,
            what=f"{node.failures} of {amount(node.requests, 'attempt')} failed in the last minute.{error}",
            hint=filled(matching(FAILURE_HINTS, error) or "", facts, node) + override_hint(facts, node),
        )


def node_is_near_its_timeout(facts: Facts) -> Iterator[Problem]:
    """Attempts take nearly as long as they may."""
    for node in facts.nodes:
        limit_ms = node.settings.timeout_ms
        if node.p99_ms is not None and node.p99_ms >= NEAR_TIMEOUT * limit_ms and not node.failures:
            yield Problem(
                node=node.name,
                what=f"The slowest of 100 attempts took {duration(node.p99_ms / 1000)}, and timeout-ms allows a run of "
                f"{duration(limit_ms / 1000)}.",
                hint=filled("Allow more (wfmgmt update {label}{node} --timeout-ms MS), or more workers.", facts, node)
                + override_hint(facts, node),
            )


def routes_failed(facts: Facts) -> Iterator[Problem]:
    """Other versions that get requests did not come up."""
    for version, reason in facts.failed_routes.items():
        yield Problem(
            what=f"Version {version}, which the current release names, did not come up: {reason}",
            hint=f"wfmgmt explain {facts.workflow}/{version}; to do without it: wfmgmt rollback {facts.workflow}.",
        )


def release_is_late(facts: Facts) -> Iterator[Problem]:
    """The current release is not in force yet."""
    release, enforced = facts.release, facts.enforced_release
    if release is not None and enforced is not None and enforced != release.number:
        yield Problem(
            what=f"Release {release.number} is not in force yet; requests go by release {enforced}.",
            since=release.at,
            hint="It comes into force once all that it names is loaded. What is not is among these problems; to stay "
            f"with the old one: wfmgmt rollback {facts.workflow}.",
        )


def guard_tripped(facts: Facts) -> Iterator[Problem]:
    """A guard has taken a candidate's share back, and nothing was changed since."""
    release = facts.release
    if release is not None and release.kind is ReleaseKind.GUARD:
        yield Problem(
            what=f"A guard gave {release.table.default} all requests back: {release.reason}",
            since=release.at,
            hint=f"Find out what the candidate did: wfmgmt explain {facts.workflow}/VERSION. Register a corrected "
            f"version, then give that a share: wfmgmt traffic {facts.workflow} NEW=10.",
        )


def rollout_is_paused(facts: Facts) -> Iterator[Problem]:
    """A rollout takes no step until it is resumed."""
    release = facts.release
    if release is not None and release.table.is_paused:
        yield Problem(
            what=f"The rollout of {candidate(release.table)} is paused at {release.table.routes[0].weight} %, by "
            f"{release.actor}.",
            since=release.at,
            hint=f"wfmgmt rollout {facts.workflow} resume, promote (all at once) or abort.",
        )


def rollout_is_late(facts: Facts) -> Iterator[Problem]:
    """A step of a rollout is due and not taken, since the candidate had too few requests."""
    due = None if facts.release is None else when_due(facts.release)
    if facts.release is not None and due is not None and facts.now - due > MAX_OVERDUE:
        yield Problem(
            what=f"The next step of the rollout of {candidate(facts.release.table)} is due, and not taken: it had too "
            "few requests, or is not up.",
            since=due.strftime("%Y-%m-%dT%H:%M:%SZ"),
            hint=f"wfmgmt traffic {facts.workflow} shows its requests. Without waiting: wfmgmt rollout "
            f"{facts.workflow} promote; or lower minRequests of the guard.",
        )


def drift_was_found(facts: Facts) -> Iterator[Problem]:
    """A model server differs from what it should hold, as far as is seen: the end of that may be nowhere recorded."""
    drift = facts.drift
    is_up = facts.state in _UP and all(node.ready >= node.wanted for node in facts.nodes)
    if drift is not None and (drift.is_of_settings or not is_up):
        yield Problem(
            what=f"A model server differs from what it should hold: {drift.text}.",
            since=drift.at,
            hint="Once it is reached: wfmgmt reconcile (with --dry-run it only says what it would do).",
        )


def registration_waits(facts: Facts) -> Iterator[Problem]:
    """The registration of this version is queued or under way."""
    for operation in facts.operations:
        if facts.state is ExplainedState.REGISTERING and operation.version == facts.version:
            phase = operation.progress.phase
            at = "waits for its turn (WFMGMT_OPERATIONS)" if phase is None else f"is {phase.value}"
            if phase is OperationPhase.FETCHING:
                at += f" {operation.url or 'the archive'}, {operation.progress.done_bytes:,} bytes so far"
            yield Problem(
                what=f"Its registration by {operation.origin.actor} is not done: it {at}.",
                since=operation.created_at,
                hint=f"wfmgmt wait {operation.uid} follows it, wfmgmt cancel {operation.uid} ends it.",
            )


def registration_failed(facts: Facts) -> Iterator[Problem]:
    """The last registration of a version failed, so what an operator waits for may not be there."""
    operation = facts.failed_operation
    if operation is not None and operation.error is not None:
        yield Problem(
            what=f"The operation {operation.kind.value} of version {operation.version} by {operation.origin.actor} "
            f"failed: {operation.error.message}",
            since=operation.ended_at,
            hint=f"Correct that, and try again. All about it: wfmgmt wait {operation.uid} -o json.",
        )


def store_files_differ(facts: Facts) -> Iterator[Problem]:
    """Files in the stores are not what was registered from them, which changes nothing about what runs."""
    files = [
        (None, f"The archive {facts.archive}", facts.archive_file),
        *((each.name, "Its archive", each.store_file) for each in facts.nodes),
    ]
    for node, file, state in files:
        if state in {"changed", "gone"}:
            yield Problem(
                node=node,
                what=f"{file} in the store {'has changed' if state == 'changed' else 'is gone'} "
                "since it was registered. What runs is what was registered.",
                hint="Nothing, unless the new file should run: wfmgmt register ARCHIVE --name "
                f"{facts.workflow} --version NEW --set-default."
                if state == "changed"
                else "Nothing: the service has kept it. Put it back for other services that need it.",
            )


#: In the order in which problems are read: what explains others comes first.
RULES: tuple[Rule, ...] = (
    runtime_is_silent,
    runtime_cannot_serve,
    disk_is_full,
    registration_waits,
    load_failed,
    loading_goes_on,
    workers_are_missing,
    settings_are_late,
    workers_keep_ending,
    attempts_fail,
    node_is_saturated,
    node_is_near_its_timeout,
    routes_failed,
    release_is_late,
    guard_tripped,
    rollout_is_paused,
    rollout_is_late,
    drift_was_found,
    registration_failed,
    store_files_differ,
)


def problems(facts: Facts) -> tuple[Problem, ...]:
    """Return what all rules find."""
    return tuple(problem for rule in RULES for problem in rule(facts))


def _before(facts: Facts, seconds: float) -> str:
    return (facts.now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
