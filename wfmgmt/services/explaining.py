"""Explanations of why a workflow is not ready or slow: the facts about it, and what follows from them."""

import shutil
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.figures_cache import ASKING_WAIT_S, MAX_ASKING, FiguresCache
from wfmgmt.control.messages import LogLine, NodeFigures, NodeReport
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.explaining.facts import ExplainedState, Facts, FoundDrift, LastLine, NodeFacts, Problem
from wfmgmt.domain.explaining.rules import problems
from wfmgmt.domain.explaining.words import summary
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.operations import Operation, OperationState
from wfmgmt.domain.plans import version_diff
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.workflow import SETTINGS, Node
from wfmgmt.errors import RuntimeUnavailable, VersionNotFound, WorkflowNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.records import LastChange, WorkflowDetail
from wfmgmt.registry.registry import Registry, utc_now
from wfmgmt.services.inspection import MAX_LAST_OPERATIONS, InspectedWorkflow, Inspection, name_failed

#: Lines of the log about each node, and about all of them.
LINES_PER_NODE, MAX_LINES = 5, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a version is as it is.

    Attributes:
        facts: What is known of it.
        summary: All of it in one sentence.
        problems: What is wrong, the most important first.
        last_change: The last change of the workflow; None when the audit trail has none.
        diff: What differs from the version registered before, as JSON; None without one.
    """

    facts: Facts
    summary: str
    problems: Sequence[Problem]
    last_change: LastChange | None = None
    diff: Mapping[str, object] | None = None


class _Recorded(NamedTuple):
    """What the registry says beside a description, in one transaction."""

    target: WorkflowTarget | None
    last_change: LastChange | None
    drift: LastChange | None
    operations: list[Operation]
    startup_timeout_s: int | None
    diff: Mapping[str, object] | None


_ASKED_BY_OTHERS = "The runtime is asked by others at this moment."


class Explaining:
    """Collects facts about workflows and explains them. Thread-safe.

    A runtime that hangs holds up the first explanations alone, and then is the first problem.

    Args:
        registry: The registry.
        inspection: Describes workflows.
        status: What the runtime reported.
        figures: What it measured.
        runtime: Has the last lines of the log; with a short time-out.
        instance: Whose disk has to have room.
        queue_size: Requests that may wait for a node.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        inspection: Inspection,
        status: StatusCache,
        figures: FiguresCache,
        runtime: RuntimeClient,
        instance: Path,
        queue_size: int,
    ) -> None:
        self._registry = registry
        self._inspection = inspection
        self._status = status
        self._figures = figures
        self._runtime = runtime
        self._instance = instance
        self._queue_size = queue_size
        self._asking = threading.BoundedSemaphore(MAX_ASKING)
        self._silence = _ASKED_BY_OTHERS

    def explain(self, name: str, version: str | None = None) -> Explanation:
        """Explain one version of a workflow, its default one unless given; also one that is being registered.

        Raises:
            WorkflowNotFound: There is no such workflow; if its last registration failed, the error says so.
            VersionNotFound: It has no such version; likewise.
        """
        try:
            inspected = self._inspection.describe(name, version)
        except (WorkflowNotFound, VersionNotFound) as error:
            return self._explain_registration(name, version, error)
        recorded = self._recorded(inspected)
        facts = self._facts(inspected, recorded)
        found = problems(facts)
        return Explanation(
            facts=facts,
            summary=summary(facts, found),
            problems=found,
            last_change=recorded.last_change,
            diff=recorded.diff,
        )

    def _explain_registration(
        self, name: str, version: str | None, error: WorkflowNotFound | VersionNotFound
    ) -> Explanation:
        """Explain a version whose registration is under way, or say what became of the last one."""
        with self._registry.read() as reader:
            operations = reader.operations.page(limit=MAX_LAST_OPERATIONS, workflow=name)
            last_change = reader.last_change(name)
        operations = [each for each in operations if version in (None, each.version)]
        under_way = [each for each in operations if not each.state.is_done]
        if not under_way:
            name_failed(error, operations)
            raise error
        operation = under_way[0]
        nodes = tuple(
            NodeFacts(name=node, ready=progress.ready, wanted=progress.wanted)
            for node, progress in operation.progress.nodes.items()
        )
        facts = Facts(
            workflow=name,
            version=operation.version,
            state=ExplainedState.REGISTERING,
            now=utc_now(),
            nodes=nodes,
            operations=under_way,
            free_bytes=self._free_bytes(),
        )
        found = problems(facts)
        return Explanation(facts=facts, summary=summary(facts, found), problems=found, last_change=last_change)

    def _recorded(self, inspected: InspectedWorkflow) -> _Recorded:
        workflow = inspected.workflow
        with self._registry.read() as reader:
            target = reader.target(workflow.name)
            requests = list(reader.load_requests([workflow.key.uid]))
            return _Recorded(
                target=target,
                last_change=reader.last_change(workflow.name),
                drift=reader.standing_drift(workflow.name),
                operations=reader.operations.page(limit=MAX_LAST_OPERATIONS, workflow=workflow.name),
                startup_timeout_s=requests[0].startup_timeout_s if requests else None,
                diff=_diff(reader, target, workflow.version),
            )

    def _facts(self, inspected: InspectedWorkflow, recorded: _Recorded) -> Facts:
        workflow, report = inspected.workflow, inspected.report
        is_silent = self._status.is_silent
        figures = None if is_silent else self._figures.report(workflow.workflow_uid, workflow.version)
        lines, silence = self._last_lines(workflow.name, workflow.version)
        is_loaded = report is not None and report.state.is_loaded
        unfinished = [each for each in recorded.operations if not each.state.is_done]
        is_unknown = bool(silence) and report is None and workflow.version in workflow.release.table.versions
        measured = {} if inspected.figures is None else inspected.figures.nodes
        reports = {} if report is None else report.nodes
        failures = {} if report is None else report.failures
        models = workflow.models
        return Facts(
            workflow=workflow.name,
            version=workflow.version,
            state=ExplainedState.UNKNOWN if is_unknown else ExplainedState(inspected.state.value),
            now=utc_now(),
            nodes=tuple(
                _node_facts(
                    node,
                    report=reports.get(node.name, NodeReport(kind=node.kind)),
                    failure=failures.get(node.name),
                    figures=measured.get(node.name),
                    store_file=inspected.store_files[models[node.name]].value if node.name in models else None,
                    lines=lines.get(node.name, ()),
                )
                for node in workflow.nodes
            ),
            release=workflow.release,
            is_default=workflow.is_default,
            runtime_silence=silence,
            runtime_problem=self._status.problem(),
            fault=Fault.MODEL if report is None else report.fault,
            is_out_of_space=report is not None and report.is_out_of_space,
            startup_timeout_s=recorded.startup_timeout_s,
            enforced_release=None if figures is None else figures.release,
            unreached=self._unreached(workflow) if is_loaded and not silence else "",
            failed_routes=self._failed_routes(inspected, recorded.target),
            queue_size=self._queue_size,
            archive=workflow.archive.file,
            archive_file=inspected.store_files[workflow.archive].value,
            changed_at=None if recorded.last_change is None else recorded.last_change.at,
            drift=None if recorded.drift is None else _drift(recorded.drift),
            operations=unfinished,
            failed_operation=_failed_since(recorded.operations, recorded.last_change),
            free_bytes=self._free_bytes(),
        )

    def _last_lines(self, name: str, version: str) -> tuple[Mapping[str, Sequence[LastLine]], str]:
        """Return the last lines about each node, and why the runtime does not give them; that is empty when it does."""
        by_node: dict[str, list[LastLine]] = defaultdict(list)
        if self._status.is_silent:
            return by_node, self._status.problem()
        if not self._asking.acquire(timeout=ASKING_WAIT_S):
            return by_node, self._silence
        try:
            report = self._runtime.last_lines(name, version, per_node=LINES_PER_NODE, lines=MAX_LINES)
        except RuntimeUnavailable as error:
            self._silence = str(error)
            return by_node, str(error)
        finally:
            self._asking.release()
        self._silence = _ASKED_BY_OTHERS
        for line in report.lines:
            by_node[line.node].append(_last_line(line))
        return by_node, ""

    def _unreached(self, workflow: WorkflowDetail) -> str:
        """Return why settings that were changed are not in force, as far as is known."""
        try:
            return self._runtime.reach(workflow.workflow_uid, workflow.key.revision, 0).problem
        except RuntimeUnavailable:
            return ""

    def _failed_routes(self, inspected: InspectedWorkflow, target: WorkflowTarget | None) -> dict[str, str]:
        """Return the other versions that the release names and that did not come up, with the reasons."""
        workflow = inspected.workflow
        others = () if target is None else workflow.release.table.versions
        uids = {} if target is None else target.versions
        found = {}
        for version in others:
            report = self._status.report(uids.get(version, ""))
            if version != workflow.version and report is not None and report.state.has_failed:
                found[version] = report.problem
        return found

    def _free_bytes(self) -> int | None:
        with suppress(OSError):
            return shutil.disk_usage(self._instance).free
        return None


def _failed_since(operations: Sequence[Operation], change: LastChange | None) -> Operation | None:
    """Return the last operation if it failed after the last change."""
    done = [each for each in operations if each.state.is_done]
    if not done or done[0].state is not OperationState.FAILED:
        return None
    return done[0] if change is None or (done[0].ended_at or "") > change.at else None


def _diff(reader: Reader, target: WorkflowTarget | None, version: str) -> Mapping[str, object] | None:
    """Return what differs from the version that was registered before; None when this is the first one."""
    order = [] if target is None else list(target.versions)
    if target is None or version not in order or order[0] == version:
        return None
    before = order[order.index(version) - 1]
    requests = list(reader.load_requests([target.versions[before], target.versions[version]]))
    return {"workflow": target.name, "from": before, "to": version, **version_diff(*requests)}


def _drift(found: LastChange) -> FoundDrift:
    detail = found.detail
    text = ": ".join(str(detail[key]) for key in ("server", "model", "found", "did") if detail.get(key))
    return FoundDrift(at=found.at, is_of_settings=detail.get("found") == "settings", text=text)


def _last_line(line: LogLine) -> LastLine:
    return LastLine(at=line.at, pid=line.pid, level=line.level, text=line.text)


def _node_facts(
    node: Node,
    *,
    report: NodeReport,
    failure: str | None,
    figures: NodeFigures | None,
    store_file: str | None,
    lines: Sequence[LastLine],
) -> NodeFacts:
    traffic = None if figures is None else figures.traffic
    return NodeFacts(
        name=node.name,
        kind=node.kind,
        settings=node.settings,
        overridden=[setting.api_name for setting in SETTINGS if setting.field in node.overridden],
        ready=report.ready,
        wanted=report.wanted,
        error=failure or report.error,
        queued=None if figures is None else figures.queued,
        busy_s=None if figures is None else figures.busy_s,
        requests=None if traffic is None else traffic.requests,
        failures=None if traffic is None else traffic.failures,
        p50_ms=None if traffic is None else traffic.p50_ms,
        p99_ms=None if traffic is None else traffic.p99_ms,
        store_file=store_file,
        lines=lines,
    )
