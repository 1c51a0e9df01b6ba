"""What a workflow is: its nodes, their settings, and what the runtime needs to load it."""

from dataclasses import dataclass
from enum import StrEnum


class NodeKind(StrEnum):
    """What stands behind a name in the graph."""

    MODEL = "model"
    FUNCTION = "function"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How many workers a node has and how requests reach them.

    The defaults are TorchServe's for workflow specs.

    Attributes:
        min_workers: Worker processes that are always up, >= 0.
        max_workers: Worker processes at most, >= 1 and >= min_workers.
        batch_size: Requests handed to the handler together, >= 1.
        max_batch_delay_ms: Longest wait for a batch to fill, >= 0.
        retry_attempts: Further tries after a failure, >= 0.
        timeout_ms: Longest run of one try, >= 1.
    """

    min_workers: int = 1
    max_workers: int = 1
    batch_size: int = 1
    max_batch_delay_ms: int = 50
    retry_attempts: int = 1
    timeout_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node as the spec describes it.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        url: The model's archive as the spec names it; None for functions.
        settings: The node's own settings over the global ones.
    """

    name: str
    kind: NodeKind
    url: str | None
    settings: NodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedNode:
    """One node with the very file it runs from.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        archive_file: File name in the model store; None for functions.
        archive_sha256: Digest of that file when it was registered; None for functions.
        settings: How many workers it has and how requests reach them.
    """

    name: str
    kind: NodeKind
    archive_file: str | None
    archive_sha256: str | None
    settings: NodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """All that the runtime needs to load one workflow, as it crosses the control socket.

    Attributes:
        uid: Identity of this registration; a later one of the same name has another.
        workflow: Name of the workflow.
        archive_file: File name of the .war in the workflow store.
        archive_sha256: Digest of that file when it was registered.
        handler: Name of the handler file in the archive; None when there are no functions.
        startup_timeout_s: Time in which all workers have to be up.
        response_timeout_s: Time in which the workflow has to answer a request.
        nodes: In topological order.
        edges: Pairs of node names, source first, in the order of the spec.
    """

    uid: str
    workflow: str
    archive_file: str
    archive_sha256: str
    handler: str | None
    startup_timeout_s: int
    response_timeout_s: int
    nodes: tuple[DeployedNode, ...]
    edges: tuple[tuple[str, str], ...]
