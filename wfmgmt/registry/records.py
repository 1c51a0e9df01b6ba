"""The values that cross the border of the registry; rows never do."""

from dataclasses import dataclass
from typing import NamedTuple

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
    """A workflow to be recorded as `registering`.

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
    """The key under which a registration is cached: its identity and its revision.

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
class WorkflowDetail:
    """One ready workflow as an answer to describe shows it."""

    key: WorkflowKey
    name: str
    url: str
    dag: str
    archive_sha256: str
    registered_at: str
    defaults: NodeSettings
    nodes: tuple[Node, ...]


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
