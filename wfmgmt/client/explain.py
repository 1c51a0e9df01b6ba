"""Explanations of workflows as frozen values."""

from datetime import datetime

from pydantic.dataclasses import dataclass

from wfmgmt.client.answers import LogLine
from wfmgmt.client.call import CAMEL_CASE
from wfmgmt.client.plans import Diff


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that keeps a version from being ready or quick.

    Attributes:
        node: The node that it is about; None when it is about the version.
        what: What is so.
        since: Since when, as far as is known.
        hint: What to do, with the exact command or setting.
    """

    node: str | None
    what: str
    since: datetime | None
    hint: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ExplainedNode:
    """A node; its figures are None while the runtime does not say, or the version is not loaded.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        ready_workers: Workers that are up.
        wanted_workers: Workers that should be.
        error: Why workers are missing.
        saturation: How busy it is, in words.
        queued: Requests that no worker has begun.
        requests: Attempts of the last minute.
        failures: Those that failed.
        p50_ms: Milliseconds that half of them took at most.
        p99_ms: The same of 99 of 100.
        lines: The last lines of the log about it, and its last warning and error.
    """

    name: str
    kind: str
    ready_workers: int
    wanted_workers: int
    error: str | None
    saturation: str | None
    queued: int | None
    requests: int | None
    failures: int | None
    p50_ms: float | None
    p99_ms: float | None
    lines: tuple[LogLine, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class LastChange:
    """The last change of a workflow in the audit trail.

    Attributes:
        at: When it was made.
        actor: Who made it.
        action: What was done.
    """

    at: datetime
    actor: str
    action: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a version of a workflow is as it is.

    Attributes:
        workflow: Name of the workflow.
        version: The version.
        state: How it is: as `Workflow.state`, or `registering`, or `unknown` while the runtime does not answer.
        summary: All of it in one sentence.
        problems: What is wrong, the most important first; empty when nothing is.
        nodes: Its nodes.
        last_change: The last change of the workflow.
        operations: Paths of the operations on it that are not done.
        diff: What differs from the version that was registered before; None without one.
    """

    workflow: str
    version: str
    state: str
    summary: str
    problems: tuple[Problem, ...]
    nodes: tuple[ExplainedNode, ...]
    last_change: LastChange | None
    operations: tuple[str, ...]
    diff: Diff | None
