"""What crosses the control socket between the management plane and the runtime, as plain JSON values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import NodeKind


class LoadState(StrEnum):
    """How far the runtime is with a workflow."""

    #: Workers are coming up.
    LOADING = "loading"
    #: Everything came up; workers that died since are being restarted.
    LOADED = "loaded"
    #: A node did not come up; nothing of the workflow runs.
    FAILED = "failed"
    #: The runtime does not know it.
    ABSENT = "absent"


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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "NodeReport":
        """Build the report of a node from plain JSON values.

        Raises:
            KeyError, TypeError, ValueError: The values do not describe one.
        """
        error = values["error"]
        return cls(
            kind=NodeKind(values["kind"]),
            wanted=int(values["wanted"]),
            ready=int(values["ready"]),
            error=None if error is None else str(error),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowReport:
    """One workflow as the runtime sees it.

    Attributes:
        uid: Identity of the registration.
        workflow: Its name.
        state: How far the runtime is.
        nodes: By name, in topological order.
        failures: Node name to reason, when a load failed.
        fault: Whose fault it is, when a load failed; of several the one that the caller can do least about.
        is_out_of_space: Whether a load failed because the disk is full.
        is_registered: Whether the database has called it ready; a registration under way is not.
        worked_before: Whether it came up when it was loaded last, as far as is known.
    """

    uid: str
    workflow: str
    state: LoadState
    nodes: Mapping[str, NodeReport] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    fault: Fault = Fault.MODEL
    is_out_of_space: bool = False
    is_registered: bool = False
    worked_before: bool = True

    @property
    def awaited_for(self) -> str:
        """What readiness waits for, in one line."""
        return self.problem or "it is being loaded"

    @property
    def is_awaited(self) -> bool:
        """Whether it was ready before the runtime started, and has not been since: readiness waits for it."""
        return self.is_registered and self.worked_before and self.state is not LoadState.LOADED

    @property
    def is_missing(self) -> bool:
        """Whether it is registered, but not all of its workers are up."""
        is_up = self.state is LoadState.LOADED and all(node.ready >= node.wanted for node in self.nodes.values())
        return self.is_registered and not is_up

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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "WorkflowReport":
        """Build the report that `to_json` described.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: The values do not describe a report.
        """
        nodes = {str(name): NodeReport.from_json(node) for name, node in values["nodes"].items()}
        return cls(
            uid=str(values["uid"]),
            workflow=str(values["workflow"]),
            state=LoadState(values["state"]),
            nodes=nodes,
            failures={str(name): str(reason) for name, reason in values["failures"].items()},
            fault=Fault(values["fault"]),
            is_out_of_space=bool(values["is_out_of_space"]),
            is_registered=bool(values["is_registered"]),
            worked_before=bool(values["worked_before"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanges:
    """What changed in the runtime since a client last asked.

    Attributes:
        epoch: Identity of the runtime process.
        sequence: To be sent with the next question.
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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StatusChanges":
        """Build the changes that `to_json` described.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: The values do not describe changes.
        """
        return cls(
            epoch=str(values["epoch"]),
            sequence=int(values["sequence"]),
            catalog_error=str(values["catalog_error"]),
            is_complete=bool(values["is_complete"]),
            is_whole=bool(values["is_whole"]),
            workflows=tuple(WorkflowReport.from_json(each) for each in values["workflows"]),
            gone=tuple(str(uid) for uid in values["gone"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """The memory after a garbage collection.

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

    def to_json(self) -> dict[str, int]:
        """Return plain JSON values."""
        return asdict(self)
