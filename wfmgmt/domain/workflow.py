"""Workflows: their nodes, the nodes' settings, and what the runtime needs to load them."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple

from wfmgmt.domain.releases import FIRST_VERSION

MAX_WORKERS = 1000
_MAX_COUNT = 2**31 - 1


class NodeKind(StrEnum):
    """What a name in the graph stands for."""

    MODEL = "model"
    FUNCTION = "function"


class Setting(NamedTuple):
    """How one field of `NodeSettings` is spelled outside, and which values it takes.

    Attributes:
        field: Its name in `NodeSettings`, in the database and in messages between the planes.
        key: Its name in a spec.
        low: The smallest value.
        high: The largest value.
    """

    field: str
    key: str
    low: int
    high: int

    @property
    def api_name(self) -> str:
        """Its name in answers of the management API."""
        first, *others = self.key.split("-")
        return first + "".join(map(str.capitalize, others))


def _setting(default: int, key: str, low: int, high: int = _MAX_COUNT) -> int:
    return field(default=default, metadata={"key": key, "low": low, "high": high})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How many workers a node has and how requests reach them.

    This is the only list of them: the keys of specs, the columns of the database, the control messages and the answers
    of the API follow from it. The defaults are TorchServe's for workflow specs.

    Attributes:
        min_workers: Worker processes that are always up, >= 0.
        max_workers: Worker processes at most, >= 1 and >= min_workers.
        batch_size: Requests handed to the handler together, >= 1.
        max_batch_delay_ms: Longest wait for a batch to fill, >= 0.
        retry_attempts: Further attempts after a failure, >= 0.
        timeout_ms: Longest run of one attempt, >= 1.
    """

    min_workers: int = _setting(1, "min-workers", 0, MAX_WORKERS)
    max_workers: int = _setting(1, "max-workers", 1, MAX_WORKERS)
    batch_size: int = _setting(1, "batch-size", 1)
    max_batch_delay_ms: int = _setting(50, "max-batch-delay", 0)
    retry_attempts: int = _setting(1, "retry-attempts", 0)
    timeout_ms: int = _setting(10_000, "timeout-ms", 1)

    def by_api_name(self) -> dict[str, int]:
        """Return the values by their names in answers of the management API."""
        return {setting.api_name: getattr(self, setting.field) for setting in SETTINGS}


SETTINGS = tuple(Setting(field=each.name, **each.metadata) for each in fields(NodeSettings))
#: What TorchServe shows of the settings of a workflow, by their names in answers.
WORKFLOW_SETTINGS = tuple(setting.api_name for setting in SETTINGS[:4])


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node as the spec describes it.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        url: The model's archive as the spec names it; None for functions.
        settings: The node's own settings over the global ones.
        threads: Threads that libraries in each of its workers are to use; None when the spec does not say.
    """

    name: str
    kind: NodeKind
    url: str | None
    settings: NodeSettings
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node as it is registered, with the very file it runs from; what concerns a model is None for functions.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        model_url: What the spec names, without credentials and query.
        model_file: File name in the model store.
        model_downloaded: Whether we put that file there.
        model_sha256: Digest of that file when it was registered.
        settings: How many workers it has and how requests reach them, as of now.
        overridden: Fields of the settings that were changed since the registration.
        threads: Threads that libraries in each of its workers are to use; None when its spec does not say.
    """

    name: str
    kind: NodeKind
    model_url: str | None = None
    model_file: str | None = None
    model_downloaded: bool = False
    model_sha256: str | None = None
    settings: NodeSettings
    overridden: tuple[str, ...] = ()
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """All that the runtime needs to load one version of a workflow, as it crosses the control socket.

    Attributes:
        uid: Identity of this registration; a later one of the same name and version has another.
        workflow: Name of the workflow.
        version: Which version of it this is.
        archive_file: File name of the .war in the workflow store.
        archive_sha256: Digest of that file when it was registered.
        handler: Name of the handler file in the archive; None when there are no functions.
        startup_timeout_s: Time in which all workers have to be up.
        response_timeout_s: Time in which the workflow has to answer a request.
        nodes: In topological order.
        edges: Pairs of node names, source first, in the order of the spec.
        request_id: The request that has it loaded, which lines of the log name until it is; empty when none has.
    """

    uid: str
    workflow: str
    version: str = FIRST_VERSION
    archive_file: str
    archive_sha256: str
    handler: str | None
    startup_timeout_s: int
    response_timeout_s: int
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    request_id: str = field(default="", compare=False)
