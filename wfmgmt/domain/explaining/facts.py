"""Facts about one version of a workflow, and what the rules make of them; times are texts as the database has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.operations import Operation
from wfmgmt.domain.releases import Release
from wfmgmt.domain.workflow import NodeKind, NodeSettings


class ExplainedState(StrEnum):
    """How a version is, as an explanation shows it."""

    LOADING = "loading"
    READY = "ready"
    STANDBY = "standby"
    PARKED = "parked"
    FAILED = "failed"
    #: It is registered, and the runtime does not say how it is.
    UNKNOWN = "unknown"
    #: Its registration is under way, or waits.
    REGISTERING = "registering"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLine:
    """One of the last lines of the log about a node.

    Attributes:
        at: When it was logged, as the log has it.
        pid: The worker's process; None where it is about none.
        level: `info`, `warning`, `error` and the like.
        text: The message, and the traceback on further lines.
    """

    at: str
    pid: int | None
    level: str
    text: str

    @property
    def is_failure(self) -> bool:
        """Whether it is about an attempt that failed, also where a further one did not."""
        return self.text.startswith("prediction ") and self.level != "info"

    @property
    def message(self) -> str:
        """The message without its traceback."""
        return self.text.partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node. What the runtime measures is None while it does not say, or the version is not loaded.

    Attributes:
        name: As in the graph.
        kind: Model or function; None while a registration has not read its graph.
        settings: Those that it is to have.
        overridden: Those of them, by their names in the API, that are not the spec's.
        ready: Workers that are up.
        wanted: Workers that should be.
        error: Why it was not loaded, or workers are missing.
        queued: Requests that no worker has begun.
        busy_s: For how long no worker has been idle.
        requests: Attempts of the last minute.
        failures: Those that failed.
        p50_ms: The time that half of them took at most.
        p99_ms: The time that 99 of 100 took at most.
        store_file: `same`, `changed` or `gone`; None for functions.
        lines: The last lines of the log about it.
    """

    name: str
    kind: NodeKind | None = None
    settings: NodeSettings = field(default_factory=NodeSettings)
    overridden: Sequence[str] = ()
    ready: int = 0
    wanted: int = 0
    error: str | None = None
    queued: int | None = None
    busy_s: float | None = None
    requests: int | None = None
    failures: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    store_file: str | None = None
    lines: Sequence[LastLine] = ()

    @property
    def last_failure(self) -> LastLine | None:
        """The last line about an attempt that failed; None without one."""
        return next((line for line in reversed(self.lines) if line.is_failure), None)

    def warnings(self, *beginnings: str) -> list[LastLine]:
        """Return the lines that warn, and begin so."""
        return [line for line in self.lines if line.level == "warning" and line.text.startswith(beginnings)]


class FoundDrift(NamedTuple):
    """How a model server was found to differ from what it should hold.

    Attributes:
        at: When that was recorded.
        is_of_settings: Whether what differs is settings of a model, which has all of its workers in any case.
        text: All about it.
    """

    at: str
    is_of_settings: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one version.

    Attributes:
        workflow: Name of the workflow.
        version: The version.
        state: How it is.
        now: The time, aware.
        nodes: In topological order.
        release: The current release; None while it is being registered.
        is_default: Whether the version is the one with the largest share.
        runtime_silence: Why the runtime does not answer; empty when it does.
        runtime_problem: Why it cannot serve although it answers; empty when it can.
        fault: Whose fault it is that the version was not loaded.
        is_out_of_space: Whether it was not loaded because the disk is full.
        startup_timeout_s: Time in which workers have to be up; None when it is not known.
        enforced_release: Number of the release in force; None when that is not known.
        unreached: Why settings that were changed are not in force; empty when they are, or it is not known.
        failed_routes: Other versions that the release names and that did not come up, with the reasons.
        queue_size: Requests that may wait for a node.
        archive: File name of the archive; empty while it is not known.
        archive_file: The same as `NodeFacts.store_file` for the workflow's archive.
        changed_at: When the last change of the workflow was made; None without one.
        drift: What was found at model servers last, if it could not be repaired.
        operations: Operations on the workflow that are not done, the newest first.
        failed_operation: The last operation on it, if it failed after the last change.
        free_bytes: Free space of the instance's disk; None when that is not known.
    """

    workflow: str
    version: str
    state: ExplainedState
    now: datetime
    nodes: Sequence[NodeFacts] = ()
    release: Release | None = None
    is_default: bool = True
    runtime_silence: str = ""
    runtime_problem: str = ""
    fault: Fault = Fault.MODEL
    is_out_of_space: bool = False
    startup_timeout_s: int | None = None
    enforced_release: int | None = None
    unreached: str = ""
    failed_routes: Mapping[str, str] = field(default_factory=dict)
    queue_size: int = 100
    archive: str = ""
    archive_file: str | None = None
    changed_at: str | None = None
    drift: FoundDrift | None = None
    operations: Sequence[Operation] = ()
    failed_operation: Operation | None = None
    free_bytes: int | None = None

    @property
    def label(self) -> str:
        """Workflow and version, as commands take them."""
        return f"{self.workflow}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that keeps a version from being ready or quick, or soon will.

    Attributes:
        node: The node that it is about; None when it is about the version.
        what: What is so, in a sentence.
        since: Since when, as far as is known.
        hint: What to do, with the exact command or setting.
    """

    what: str
    hint: str
    node: str | None = None
    since: str | None = None
