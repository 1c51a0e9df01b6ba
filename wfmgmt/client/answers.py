"""Answers of the service as frozen values; a test holds each to its schema in the OpenAPI descriptions.

A field that the service may leave out has a default. Fields that a newer service has on top are ignored.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE
from wfmgmt.client.traffic import Route


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Status:
    """What was done, in a sentence."""

    status: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Scaled:
    """The answer to a change of settings.

    Attributes:
        status: What was done, in a sentence.
        changed: False when nothing was to be changed.
        problem: Why it is not in force yet.
        operation: The path of the operation that brings it into force; None when it is.
    """

    status: str
    changed: bool = True
    problem: str | None = None
    operation: str | None = None

    @property
    def id(self) -> str:
        """The identity of the operation; empty without one."""
        return (self.operation or "").rpartition("/")[2]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Registered:
    """The answer to a registration.

    Attributes:
        status: What was done, in a sentence.
        version: The version, when one was named.
        default: Whether that gets the largest share of the requests.
        warnings: Settings of the spec and of models' configuration files that have no effect.
    """

    status: str
    version: str | None = None
    default: bool | None = None
    warnings: tuple[str, ...] = ()


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Accepted:
    """A request that is carried out later.

    Attributes:
        status: What happens, in a sentence.
        operation: The path of its operation.
    """

    status: str
    operation: str

    @property
    def id(self) -> str:
        """The identity of the operation."""
        return self.operation.rpartition("/")[2]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ListedWorkflow:
    """A workflow in a list.

    Attributes:
        workflow_name: Its name; empty while a registration has not found it out.
        workflow_url: The archive that it was registered from.
        version: The version, in a list by state or name.
        state: `ready`, `loading`, `failed`, `registering` or `unregistering`; likewise.
        operation: The path of the operation that registers it.
    """

    workflow_name: str
    workflow_url: str
    version: str | None = None
    state: str | None = None
    operation: str | None = None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Page:
    """A part of the list of workflows.

    Attributes:
        workflows: In name order.
        next_page_token: There unless this is the last page of a walk by number.
        next_after: There unless this is the last page of a walk by name.
    """

    workflows: tuple[ListedWorkflow, ...]
    next_page_token: str | None = None
    next_after: str | None = None


#: How a file in a store compares with what was registered from it.
StoreFile = Literal["same", "changed", "gone"]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process that is ready.

    Attributes:
        pid: Its process id, on the host of the service.
        started_at: When it was started.
        pss_bytes: Its memory, with its part of what it shares with other processes; None when the system does not say.
        threads: Its threads; None likewise.
    """

    pid: int
    started_at: datetime
    pss_bytes: int | None
    threads: int | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a workflow.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        url: The model's archive; None for functions.
        digest: SHA-256 of that archive; None for functions.
        min_workers: Worker processes that are always up.
        max_workers: Worker processes at most.
        batch_size: Requests handed to the handler together.
        max_batch_delay: Longest wait for a batch to fill, in milliseconds.
        retry_attempts: Further attempts after a failure.
        timeout_ms: Longest run of one attempt.
        threads: Threads that libraries in each new worker use; None when they decide.
        ready_workers: Workers that are up, as the runtime reported within the last second.
        error: Why workers are missing.
        overridden: Settings that are not those of the spec any more, by their names in JSON.
        workers: Its worker processes that are ready, unless they are a TorchServe's; none while it is not loaded.
        requests: Attempts of the last minute to have it answer; None while it is not loaded.
        failures: Those that failed; None likewise.
        queued: Requests that no worker has begun; None likewise.
        p50_ms: Milliseconds that half of the attempts took at most; None without any.
        p99_ms: Milliseconds that 99 of 100 took at most; None without any.
        store_file: How the file in the model store compares with the registered archive; None for functions.
    """

    name: str
    kind: Literal["model", "function"]
    url: str | None
    digest: str | None
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    retry_attempts: int
    timeout_ms: int
    threads: int | None
    ready_workers: int
    error: str | None
    overridden: tuple[str, ...]
    workers: tuple[Worker, ...]
    requests: int | None
    failures: int | None
    queued: int | None
    p50_ms: float | None
    p99_ms: float | None
    store_file: StoreFile | None

    @property
    def is_ready(self) -> bool:
        """Whether all workers are up that always have to be."""
        return self.error is None and self.ready_workers >= self.min_workers


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow, or one version of it.

    Attributes:
        workflow_name: Its name.
        workflow_url: The archive that it was registered from.
        min_workers: For nodes whose spec does not say.
        max_workers: The same.
        batch_size: The same.
        max_batch_delay: The same, in milliseconds.
        workflow_dag: The graph, as TorchServe writes it.
        nodes: In topological order.
        registered_at: When it was registered.
        archive_sha256: Digest of its archive.
        version: Which version this is.
        default: Whether it has the largest share of the requests.
        revision: How many changes the workflow has had.
        release: Number of the current release.
        routes: Shares of all versions.
        state: Of the version: `ready`, `standby`, `parked`, `loading` or `failed`.
        store_file: How the file in the workflow store compares with the registered archive.
    """

    workflow_name: str
    workflow_url: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    workflow_dag: str
    nodes: tuple[Node, ...]
    registered_at: datetime
    archive_sha256: str
    version: str
    default: bool
    revision: int
    release: int
    routes: tuple[Route, ...]
    state: str
    store_file: StoreFile

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded, and all workers are up that always have to be."""
        return self.state in {"ready", "standby"} and all(node.is_ready for node in self.nodes)


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class LogLine:
    """One record of the log about a node.

    Attributes:
        at: When it was logged.
        node: The node.
        pid: The worker's process; None where it is about none.
        level: `info`, `warning`, `error` and the like.
        text: The message, and its traceback on further lines.
    """

    at: datetime
    node: str
    pid: int | None
    level: str
    text: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Log:
    """The last lines of the log about a version, the oldest first."""

    lines: tuple[LogLine, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Health:
    """How much of the service works.

    Attributes:
        status: In a word or two.
        not_ready: Workflows that are not ready, each with why; a hundred at most.
        not_ready_count: How many there are, when not all are named.
    """

    status: str
    not_ready: dict[str, str] = Field(default_factory=dict)
    not_ready_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The answer of a workflow.

    Attributes:
        content: The bytes.
        content_type: As the leaf's handler set it.
        version: The version that answered.
        trace: What happened at each node, as JSON, when that was asked for.
    """

    content: bytes
    content_type: str
    version: str | None
    trace: str | None

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")
