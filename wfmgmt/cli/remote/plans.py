"""Plans and differences as text for people."""

import json
from collections.abc import Iterator, Mapping

from wfmgmt.client.plans import Change, Diff, Plan
from wfmgmt.logs import escaped


def plan_text(plan: Plan) -> str:
    """Return what a change would do, one thing a line."""
    subject = plan.workflow if plan.version is None else f"{plan.workflow} {plan.version}"
    if not subject and plan.archive is not None:
        subject = plan.archive.url
    if plan.is_empty:
        return f"{escaped(subject)}: nothing would change"
    return "\n".join(map(escaped, [f"{plan.action} {subject}", *_lines(plan), f"  fingerprint: {plan.fingerprint}"]))


def _lines(plan: Plan) -> Iterator[str]:
    if (archive := plan.archive) is not None:
        same = f", same as {archive.same_as}" if archive.same_as else ""
        yield f"  archive: {archive.url}, {archive.bytes} bytes, {archive.source}, sha256 {archive.sha256}{same}"
    yield from (f"  model {each.node}: {each.url}, {each.bytes} bytes, sha256 {each.sha256}" for each in plan.models)
    yield from (f"  function {each.name}: line {each.line}" for each in plan.functions)
    yield from (f"  {change_text(each)}" for each in plan.changes if not each.path.startswith("routes"))
    if plan.workers.now != plan.workers.after:
        yield f"  workers: {plan.workers.now} -> {plan.workers.after}"
    if plan.routes.before != plan.routes.after:
        yield f"  routes: {_routes(plan.routes.before)} -> {_routes(plan.routes.after)}"
    yield from (f"  unknown: {each}" for each in plan.unknown)
    yield from (f"  warning: {each}" for each in plan.warnings)


def diff_text(diff: Diff) -> str:
    """Return what differs, one thing a line."""
    if diff.is_empty:
        return "nothing differs"
    lines = [
        *(f"- node {node}" for node in diff.nodes.removed),
        *(f"+ node {node}" for node in diff.nodes.added),
        *(f"- edge {' -> '.join(edge)}" for edge in diff.edges.removed),
        *(f"+ edge {' -> '.join(edge)}" for edge in diff.edges.added),
        *map(change_text, diff.changes),
    ]
    return "\n".join(map(escaped, lines))


def change_text(change: Change) -> str:
    """Return a value that differs."""
    return f"{change.path}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _routes(weights: Mapping[str, int]) -> str:
    return " ".join(f"{version}={weight}" for version, weight in weights.items()) or "none"
