"""The values that cross the border of the registry; rows never do."""

from dataclasses import dataclass
from typing import NamedTuple

from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import NodeKind, NodeSettings


class RegisteredArchive(NamedTuple):
    """A file that a registered workflow needs.

    Attributes:
        store: `workflow` or `model`.
        file: Its name there.
        sha256: Its digest when it was registered.
    """

    store: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNode:
    """A node to be recorded.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        model_url: What the spec names, without credentials and query; None for functions.
        model_file: File name in the model store; None for functions.
        model_downloaded: Whether we put that file there.
        model_sha256: Digest of that file; None for functions.
        settings: The node's own.
    """

    name: str
    kind: NodeKind
    model_url: str | None
    model_file: str | None
    model_downloaded: bool
    model_sha256: str | None
    settings: NodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWorkflow:
    """A workflow to be recorded as `registering`.

    Attributes:
        uid: Identity of this registration, never used again.
        name: The workflow's name.
        url: What the client asked for, without credentials and query.
        archive_file: File name in the workflow store.
        archive_downloaded: Whether we put that file there.
        archive_sha256: Digest of that file.
        handler: Name of the handler file in the archive, if any.
        spec: The spec's text.
        dag: The graph in TorchServe's form.
        lease: Whose registration it is, while it lasts.
        defaults: The spec's global settings.
        response_timeout_s: See `LoadRequest`.
        startup_timeout_s: See `LoadRequest`.
        nodes: In topological order.
        edges: Pairs of node names in the order of the spec.
    """

    uid: str
    name: str
    url: str
    archive_file: str
    archive_downloaded: bool
    archive_sha256: str
    handler: str | None
    spec: str
    dag: str
    lease: str
    defaults: NodeSettings
    response_timeout_s: int
    startup_timeout_s: int
    nodes: tuple[NewNode, ...]
    edges: tuple[tuple[str, str], ...]


class WorkflowKey(NamedTuple):
    """What a registration is remembered by: it is the same as long as both are.

    Attributes:
        uid: Identity of the registration.
        revision: Number of its last change.
    """

    uid: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list.

    Attributes:
        workflows: Name and URL of each, in name order; plain pairs, since a page has so many.
        more: Whether others follow.
    """

    workflows: tuple[tuple[str, str], ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDetail:
    """One node as an answer to describe shows it."""

    name: str
    kind: NodeKind
    url: str | None
    sha256: str | None
    settings: NodeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDetail:
    """One ready workflow as an answer to describe shows it."""

    key: WorkflowKey
    name: str
    url: str
    dag: str
    archive_sha256: str
    registered_at: str
    defaults: NodeSettings
    nodes: tuple[NodeDetail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A workflow that a registration or a removal has in its hands.

    Attributes:
        uid: Identity of the registration.
        name: The workflow's name.
        status: `registering` or `unregistering`.
        lease: Who works on it.
        archive_sha256: Digest of its archive.
        downloads: Files that were downloaded for it, as (store, file name); store is `workflow` or `model`.
    """

    uid: str
    name: str
    status: WorkflowStatus
    lease: str
    archive_sha256: str
    downloads: tuple[tuple[str, str], ...]
