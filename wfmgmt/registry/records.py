"""The values that cross the border of the registry; rows never do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from wfmgmt.domain.releases import Release
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import LoadRequest, Node, NodeSettings


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
class NewWorkflow:
    """A version of a workflow, be it the first or a further one, to be recorded as `registering`.

    Attributes:
        target: What the runtime is to load, which names the workflow, its registration and its nodes.
        url: What the client asked for, without credentials and query.
        archive_downloaded: Whether we put the archive into the workflow store.
        spec: The spec's text.
        dag: The graph in TorchServe's form.
        lease: Whose registration it is, while it lasts.
        defaults: The spec's global settings.
    """

    target: LoadRequest
    url: str
    archive_downloaded: bool
    spec: str
    dag: str
    lease: str
    defaults: NodeSettings

    @property
    def uid(self) -> str:
        """Identity of this registration, never used again."""
        return self.target.uid

    @property
    def name(self) -> str:
        """Name of the workflow."""
        return self.target.workflow


class WorkflowKey(NamedTuple):
    """The key under which a version is cached: the identity of its registration, and where its workflow is.

    Attributes:
        uid: Identity of the registration.
        revision: How many changes the workflow has had.
        change: Number of the last one among those of all workflows.
    """

    uid: str
    revision: int
    change: int


class LastChange(NamedTuple):
    """The newest entry of the audit trail about a change of one workflow.

    Attributes:
        at: When it was made.
        actor: Who made it.
        action: What was done.
        detail: The detail of the event.
    """

    at: str
    actor: str
    action: str
    detail: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor} at {self.at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list.

    Attributes:
        workflows: Name and URL of each, in name order; plain pairs, since a page has so many.
        more: Whether others follow.
    """

    workflows: tuple[tuple[str, str], ...]
    more: bool


class ListedVersion(NamedTuple):
    """One line of the list of workflows in all their states.

    Attributes:
        name: Of the workflow; empty while a registration has not found it out.
        url: What the client gave, without credentials and query.
        version: The version.
        uid: Identity of its registration; of the operation while it is being registered.
        status: Where it stands.
    """

    name: str
    url: str
    version: str
    uid: str
    status: WorkflowStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDetail:
    """One ready version of a workflow as an answer to describe shows it.

    Attributes:
        key: What it is cached under.
        workflow_uid: Identity of the workflow.
        name: The workflow's name.
        version: The version.
        is_default: Whether it has the largest share of the requests.
        release: The current release of the workflow.
        url: What the client gave, without credentials and query.
        dag: The graph in TorchServe's form.
        archive: The archive that it was registered from.
        registered_at: When it became ready.
        defaults: The spec's global settings.
        nodes: In topological order, with the settings that are in force.
        edges: Pairs of node names, source first, in the order of the spec.
    """

    key: WorkflowKey
    workflow_uid: str
    name: str
    version: str
    is_default: bool
    release: Release
    url: str
    dag: str
    archive: RegisteredArchive
    registered_at: str
    defaults: NodeSettings
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    @property
    def models(self) -> dict[str, RegisteredArchive]:
        """The archive of each model node, by the node's name."""
        return {
            node.name: RegisteredArchive("model", node.model_file, node.model_sha256)
            for node in self.nodes
            if node.model_file is not None and node.model_sha256 is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A version that a registration or a removal is at work on.

    Attributes:
        uid: Identity of the registration.
        name: The workflow's name.
        version: The version.
        status: `registering` or `unregistering`.
        lease: Who works on it.
        archive_sha256: Digest of its archive.
        digests: Digests of all archives that it uses.
        downloads: Files that were downloaded for it, as (store, file name); store is `workflow` or `model`.
    """

    uid: str
    name: str
    version: str
    status: WorkflowStatus
    lease: str
    archive_sha256: str
    digests: frozenset[str]
    downloads: tuple[tuple[str, str], ...]
