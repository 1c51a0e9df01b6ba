"""The endpoints that explain why a workflow is not ready or slow, as JSON or as text for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.answers import json_response
from wfmgmt.api.operations import operation_path
from wfmgmt.domain.explaining.facts import LastLine, NodeFacts, Problem
from wfmgmt.domain.explaining.words import saturation, workers_up
from wfmgmt.logs import escaped
from wfmgmt.services.explaining import Explaining, Explanation

_TYPES = ("application/json", "text/plain")
#: Lines of the last traceback of a node that the text shows.
_TRACEBACK_LINES = 4


def add_explain_views(blueprint: Blueprint, *, explaining: Explaining) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/workflows/<workflow:name>/explain")
    @blueprint.get("/workflows/<workflow:name>/<version:version>/explain", endpoint="explain_version")
    def explain(name: str, version: str | None = None) -> Response:
        """Explain one version of a workflow, its default one unless named."""
        explanation = explaining.explain(name, version)
        if request.accept_mimetypes.best_match(_TYPES, default=_TYPES[0]) == "text/plain":
            answer = Response(explanation_text(explanation), content_type="text/plain; charset=utf-8")
        else:
            answer = json_response(explanation_json(explanation))
        answer.headers["Vary"] = "Accept"
        return answer


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON."""
    facts, change = explanation.facts, explanation.last_change
    return {
        "workflow": facts.workflow,
        "version": facts.version,
        "state": facts.state.value,
        "summary": explanation.summary,
        "problems": [_problem(each) for each in explanation.problems],
        "nodes": [_node(each) for each in facts.nodes],
        "lastChange": None if change is None else {"at": change.at, "actor": change.actor, "action": change.action},
        "operations": [operation_path(each.uid) for each in facts.operations],
        "diff": explanation.diff,
    }


def _problem(problem: Problem) -> dict[str, str | None]:
    return {"node": problem.node, "what": problem.what, "since": problem.since, "hint": problem.hint}


def _node(node: NodeFacts) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": None if node.kind is None else node.kind.value,
        "readyWorkers": node.ready,
        "wantedWorkers": node.wanted,
        "error": node.error,
        "saturation": saturation(node),
        "queued": node.queued,
        "requests": node.requests,
        "failures": node.failures,
        "p50Ms": node.p50_ms,
        "p99Ms": node.p99_ms,
        "lines": [
            {"at": line.at, "node": node.name, "pid": line.pid, "level": line.level, "text": line.text}
            for line in node.lines
        ],
    }


def explanation_text(explanation: Explanation) -> str:
    """Return an explanation as text for people; what handlers and clients chose is escaped."""
    return "\n".join(escaped(line) for line in _lines(explanation)) + "\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    facts, change = explanation.facts, explanation.last_change
    yield explanation.summary
    for number, problem in enumerate(explanation.problems, start=1):
        yield ""
        where = "" if problem.node is None else f"{problem.node}: "
        yield f"{number}. {where}{problem.what}"
        if problem.since is not None:
            yield f"   Since:  {problem.since}"
        yield f"   To do:  {problem.hint}"
    yield ""
    for node in facts.nodes:
        yield from _node_lines(node)
    if change is not None:
        yield f"Last change: {change}"
    for operation in facts.operations:
        what = f"{operation.kind.value} {operation.version}, {operation.state.value}"
        yield f"Under way: {what}: wfmgmt wait {operation.uid}"
    if explanation.diff is not None:
        yield from _diff_lines(explanation.diff)


def _node_lines(node: NodeFacts) -> Iterator[str]:
    figures = [workers_up(node.ready, node.wanted)]
    if (busy := saturation(node)) is not None:
        figures.append(busy)
    if node.requests is not None:
        figures.append(f"last minute: {node.requests} attempts, {node.failures} failed")
    if node.p50_ms is not None and node.p99_ms is not None:
        figures.append(f"p50 {node.p50_ms:.4g} ms, p99 {node.p99_ms:.4g} ms")
    yield f"{'node' if node.kind is None else node.kind.value} {node.name}: {'; '.join(figures)}"
    traced = next((line for line in reversed(node.lines) if "\n" in line.text.rstrip()), None)
    for line in node.lines:
        yield from _log_lines(line, traceback_lines=_TRACEBACK_LINES if line is traced else 0)


def _log_lines(line: LastLine, *, traceback_lines: int) -> Iterator[str]:
    first, *rest = line.text.rstrip().split("\n")
    who = "" if line.pid is None else f" [{line.pid}]"
    yield f"    {line.at} {line.level.upper()}{who} {first}"
    rest = [each for each in rest if each.strip("^~ ")]  # What only marks a part of the line above.
    yield from (f"        {each}" for each in rest[max(len(rest) - traceback_lines, 0) :])


def _diff_lines(diff: Mapping[str, Any]) -> Iterator[str]:
    yield f"Different from version {diff['from']}:"
    found = [
        f"    {part} {verb}: {each}"
        for part in ("nodes", "edges")
        for verb in ("added", "removed")
        for each in diff[part][verb]
    ]
    found += [f"    {each['path']}: {each['before']} -> {each['after']}" for each in diff["changes"]]
    yield from found or ["    nothing"]
