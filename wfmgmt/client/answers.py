"""Answers of the service as frozen values; a test holds each to its schema in the OpenAPI descriptions.

A field that the service may leave out has a default. Fields that a newer service has on top are ignored.
"""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

_CAMEL_CASE = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Status:
    """What was done, in a sentence."""

    status: str


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Registered:
    """The answer to a registration.

    Attributes:
        status: What was done, in a sentence.
        warnings: Settings of the spec and of models' configuration files that have no effect.
    """

    status: str
    warnings: tuple[str, ...] = ()


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ListedWorkflow:
    """A workflow in a list."""

    workflow_name: str
    workflow_url: str


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
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


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
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
        ready_workers: Workers that are up, as the runtime reported within the last second.
        error: Why workers are missing.
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
    ready_workers: int
    error: str | None

    @property
    def is_ready(self) -> bool:
        """Whether all workers are up that always have to be."""
        return self.error is None and self.ready_workers >= self.min_workers


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
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

    @property
    def is_ready(self) -> bool:
        """Whether all workers are up that always have to be."""
        return all(node.is_ready for node in self.nodes)


@dataclass(config=_CAMEL_CASE, frozen=True, slots=True, kw_only=True)
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
