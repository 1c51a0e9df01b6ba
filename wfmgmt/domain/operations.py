"""Operations: long work on workflows, each with its state, its phase and how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wfmgmt.domain.access import Scope
from wfmgmt.domain.audit import Origin, Receipt


class OperationKind(StrEnum):
    """The work that an operation does."""

    #: A workflow, or a further version of one, is registered from its archive.
    REGISTER = "register"
    #: Workers of a version are started or ended, as its new settings say.
    SCALE = "scale"
    #: A release names versions that have to be loaded before the runtime can route by it.
    RELEASE = "release"
    #: What files declare is brought about.
    APPLY = "apply"

    @property
    def first_phase(self) -> "OperationPhase":
        """What such an operation is at first."""
        return OperationPhase.FETCHING if self is OperationKind.REGISTER else OperationPhase.LOADING


class OperationState(StrEnum):
    """Where an operation stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_done(self) -> bool:
        """Whether it stays like this."""
        return self not in UNFINISHED

    def predecessors(self) -> tuple["OperationState", ...]:
        """Return the states from which an operation may move here; none when it only begins so."""
        return tuple(source for source, targets in LEGAL_MOVES.items() if self in targets)


#: In what was asked: the lease of the process that alone can carry an operation out.
HOLDER = "holder"
#: States of operations that are not done.
UNFINISHED = (OperationState.QUEUED, OperationState.RUNNING)
#: Every legal move. One that is interrupted may begin again; what one waits for may be there before it is begun.
LEGAL_MOVES: Mapping[OperationState, tuple[OperationState, ...]] = {
    OperationState.QUEUED: (
        OperationState.RUNNING,
        OperationState.SUCCEEDED,
        OperationState.FAILED,
        OperationState.CANCELLED,
    ),
    OperationState.RUNNING: (
        OperationState.QUEUED,
        OperationState.SUCCEEDED,
        OperationState.FAILED,
        OperationState.CANCELLED,
    ),
}


class OperationPhase(StrEnum):
    """What an operation that runs is at; once it is done, what it was at last."""

    #: Archives are downloaded, or looked for in the stores.
    FETCHING = "fetching"
    #: Archives are read, and everything is checked that can be without running code.
    CHECKING = "checking"
    #: Workers come up.
    LOADING = "loading"
    #: What was loaded is registered or has its release, and the runtime begins to route by it.
    SWITCHING = "switching"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgress:
    """How far one node is.

    Attributes:
        ready: Workers that are up.
        wanted: Workers that have to be.
    """

    ready: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an operation is.

    Attributes:
        phase: What it is at; None before it began.
        done_bytes: Bytes that were downloaded or read.
        total_bytes: How many there are, as far as is known; None when that is not known.
        nodes: Nodes that are being loaded, by name.
    """

    phase: OperationPhase | None = None
    done_bytes: int = 0
    total_bytes: int | None = None
    nodes: Mapping[str, NodeProgress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationError:
    """Why an operation failed.

    Attributes:
        type: Name of the class of the error, as in the audit trail.
        message: Its text.
        results: Of an operation on many workflows, what came of each, as plain JSON; None of others.
    """

    type: str
    message: str
    results: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperation:
    """An operation that is accepted.

    Attributes:
        uid: Its identity, by which clients call it.
        key: What no two operations may be at work on at the same time; None when that is not known.
        kind: What it does.
        workflow: Name of the workflow; empty while it is not known.
        version: The version; empty for a release of several.
        url: The archive, without credentials and query; empty for what needs none.
        request: What was asked, as plain JSON.
        origin: Who asked.
    """

    uid: str
    key: str | None
    kind: OperationKind
    workflow: str
    version: str
    url: str
    request: Mapping[str, Any]
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation as the registry has it.

    Attributes:
        number: Of its row; one that was accepted later has a larger one.
        uid: Its identity, by which clients call it.
        kind: What it does.
        workflow: Name of the workflow; empty while it is not known.
        version: The version; empty for a release of several.
        url: The archive, without credentials and query; empty for what needs none.
        request: What was asked, as plain JSON.
        state: Where it stands.
        progress: How far it is, or was when it ended.
        result: What came of it; None unless it succeeded.
        error: Why it failed; None unless it did.
        origin: Who asked for it.
        lease: Proof that a process is at work on it; None unless it runs.
        created_at: When it was accepted.
        started_at: When the work began.
        ended_at: When it ended.
        cancelled_by: Who asked for its end; None when nobody did.
        attempts: How often it was begun, if it was accepted for later; stops of the service do not count.
        receipt: Of the last event about it in the audit trail; None before that.
    """

    number: int
    uid: str
    kind: OperationKind
    workflow: str
    version: str
    url: str
    request: Mapping[str, Any]
    state: OperationState
    progress: Progress
    result: Mapping[str, Any] | None
    error: OperationError | None
    origin: Origin
    lease: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    cancelled_by: str | None
    attempts: int
    receipt: Receipt | None

    def is_visible(self, scope: Scope, actor: str) -> bool:
        """Return whether it exists for a client: as its workflow does, or its own before that has a name."""
        return self.workflow in scope or (not self.workflow and self.origin.actor == actor)
