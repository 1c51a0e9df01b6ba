"""The JSON messages between the management plane and the runtime, on the control socket."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter

from wfmgmt.control.load_state import LoadState
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.domain.workflow import NodeKind

Message = TypeVar("Message")


def encode(message: object) -> bytes:
    """Return a message, which is a dataclass, as JSON; text that UTF-8 cannot hold gets question marks."""
    try:
        return orjson.dumps(message)
    except TypeError:
        return json.dumps(message, default=_plain, ensure_ascii=False).encode("utf-8", "replace")


def _plain(value: Any) -> object:  # noqa: ANN401 - a dataclass or a time, which is all that messages have
    return value.isoformat() if isinstance(value, datetime) else asdict(value)


def decode(kind: type[Message], content: bytes) -> Message:
    """Return the message of a kind that was encoded.

    Raises:
        ValueError: The content is no such message.
    """
    message: Message = _adapter(kind).validate_json(content)
    return message


#: Built at the first message of a kind.
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """Workers of one node.

    Attributes:
        kind: Model or function.
        wanted: Processes that should be up.
        ready: Processes that are up and initialised.
        error: Why some are missing, as far as is known.
    """

    kind: NodeKind
    wanted: int = 0
    ready: int = 0
    error: str | None = None


class VersionState(StrEnum):
    """How a version is, as clients see it."""

    LOADING = "loading"
    #: It is loaded, and the release gives it requests or copies of them.
    READY = "ready"
    #: It is loaded, and only requests that name it get to it.
    STANDBY = "standby"
    #: Nothing of it is loaded; a request that names it, or a release, has it loaded.
    PARKED = "parked"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowReport:
    """One version of a workflow as the runtime sees it; there is none of a version that is parked.

    Attributes:
        uid: Identity of the registration.
        workflow: Name of the workflow.
        version: The version.
        is_routed: Whether the routing in force names it.
        state: How far the runtime is, and whether clients may know of it.
        nodes: By name, in topological order.
        failures: Node name to reason, when a load failed.
        fault: Whose fault it is, when a load failed; of several the one that the caller can do least about.
        is_out_of_space: Whether a load failed because the disk is full.
        worked_before: Whether it came up when it was loaded last, as far as is known.
    """

    uid: str
    workflow: str
    version: str = FIRST_VERSION
    is_routed: bool = True
    state: LoadState
    nodes: Mapping[str, NodeReport] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    fault: Fault = Fault.MODEL
    is_out_of_space: bool = False
    worked_before: bool = True

    @property
    def label(self) -> str:
        """What a list of problems calls it."""
        return self.workflow if self.version == FIRST_VERSION else f"{self.workflow}/{self.version}"

    @property
    def version_state(self) -> VersionState:
        """How the version is, as clients see it."""
        if self.state.has_failed:
            return VersionState.FAILED
        if not self.state.is_loaded:
            return VersionState.LOADING
        return VersionState.READY if self.is_routed else VersionState.STANDBY

    @property
    def awaited_for(self) -> str:
        """What readiness waits for, in one line."""
        return self.problem or "it is being loaded"

    @property
    def is_awaited(self) -> bool:
        """Whether it was ready before the runtime started, and has not been since: readiness waits for it."""
        return self.is_routed and self.worked_before and self.state in {LoadState.RESTORING, LoadState.DOWN}

    @property
    def is_missing(self) -> bool:
        """Whether it is registered and gets requests, but not all of its workers are up."""
        is_up = self.state is LoadState.SERVING and all(node.ready >= node.wanted for node in self.nodes.values())
        return self.is_routed and self.state.is_registered and not is_up

    @property
    def workers(self) -> tuple[int, int]:
        """How many worker processes should be up, and how many are."""
        nodes = self.nodes.values()
        return sum(node.wanted for node in nodes), sum(node.ready for node in nodes)

    @property
    def problem(self) -> str:
        """Why not all workers are up, in one line; empty when they are."""
        reasons = dict(self.failures)
        for name, node in self.nodes.items():
            if node.ready < node.wanted:
                reasons.setdefault(name, node.error or f"{node.ready} of {node.wanted} workers ready")
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanges:
    """The changes in the runtime since a client's last request.

    Attributes:
        epoch: Identity of the runtime process.
        sequence: To be sent with the next request.
        catalog_error: Why the runtime cannot read the database; empty when it can.
        is_complete: Whether the runtime has begun to load every workflow in the database.
        is_whole: Whether this starts from nothing, so that what was known before is void.
        workflows: Reports that are new or changed.
        gone: Identities of workflows that were unloaded.
    """

    epoch: str
    sequence: int
    catalog_error: str
    is_complete: bool
    is_whole: bool
    workflows: tuple[WorkflowReport, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """How the model servers compare with what they should hold.

    Attributes:
        drifts: A sentence per difference.
        is_in_step: Whether everything could be compared and repaired.
    """

    drifts: tuple[str, ...]
    is_in_step: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """The memory after a run of the cycle collector.

    Attributes:
        unreachable: Objects that the collection found.
        blocks: Blocks that the interpreter has allocated.
        used_bytes: Bytes in use of what the allocator of the C library got from the system.
        free_bytes: Bytes of it that it keeps for later, holes between used blocks included.
    """

    unreachable: int
    blocks: int
    used_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachReport:
    """How far the runtime is with a workflow.

    Attributes:
        revision: The revision whose release is in force.
        reached: Whether that is the one that was asked for, or a later one, and settings of nodes that came with it are
            in force, too.
        problem: Why not yet, or not at all, in one line; empty while nothing has gone wrong.
    """

    revision: int
    reached: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One record of the log about a node.

    Attributes:
        at: When it was logged, as the log has it.
        node: The node.
        pid: The worker's process; None where it is about none.
        level: `info`, `warning`, `error` and the like.
        text: The message, and the traceback on further lines.
    """

    at: str
    node: str
    pid: int | None
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """The last records of the log about a version.

    Attributes:
        lines: The records, the oldest first.
    """

    lines: Sequence[LogLine] = ()


class TrafficKind(StrEnum):
    """The reason why a version gets a request."""

    #: The release gives it a share.
    SERVE = "serve"
    #: The request names it.
    PINNED = "pinned"
    #: It is a copy, whose answer is dropped.
    MIRROR = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficFigures:
    """Requests of the last minute, to a version or to a node.

    Attributes:
        requests: How many were answered.
        failures: How many of them failed: those to a version with 5xx or a time-out.
        p50_ms: The time that half of them took at most; None without any.
        p99_ms: The time that 99 of 100 took at most.
    """

    requests: int = 0
    failures: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficReport:
    """Requests of the last minute to several workflows, those aside that name a version, and copies.

    Attributes:
        workflows: Figures of each version that is loaded, by the identity of its workflow; without those that have no
            workflow that is loaded.
    """

    workflows: Mapping[str, Mapping[str, TrafficFigures]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """A worker process that is ready.

    Attributes:
        pid: Its process id.
        started_at: When it was started.
        pss_bytes: Its memory, with its part of what it shares with other processes; None when that is not known.
        threads: Its threads; None likewise.
    """

    pid: int
    started_at: datetime
    pss_bytes: int | None
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """One node of one version.

    Attributes:
        traffic: Attempts to have it answer.
        queued: Requests that no worker has begun.
        busy_s: For how long no worker has been idle; None when one is, or that is not known.
        workers: Its workers on this machine that are ready.
    """

    traffic: TrafficFigures
    queued: int
    busy_s: float | None = None
    workers: tuple[WorkerFigures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFigures:
    """One version of a workflow.

    Attributes:
        traffic: By the reason why it got the requests; without a reason that did not occur.
        in_flight: Requests that it works on now, copies aside.
        dropped: Copies that it did not get since it was loaded, for there were too many.
        nodes: Its nodes.
    """

    traffic: Mapping[TrafficKind, TrafficFigures] = field(default_factory=dict)
    in_flight: int = 0
    dropped: int = 0
    nodes: Mapping[str, NodeFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FiguresReport:
    """What is measured of a workflow.

    Attributes:
        revision: The revision that is in force.
        release: Number of the release that is; None without one.
        versions: Each version that is loaded.
    """

    revision: int
    release: int | None
    versions: Mapping[str, VersionFigures] = field(default_factory=dict)
