"""Plans of changes, and differences between versions, as the service answers them; a test holds each to its schema."""

from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Change:
    """A value that differs.

    Attributes:
        path: Where it is, like `nodes.sentiment.maxWorkers`.
        before: What it is; None when it is not there.
        after: What it will be; None when it will not be there.
    """

    path: str
    before: Any
    after: Any


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Difference:
    """Nodes or edges that only one of two versions has."""

    added: tuple[Any, ...]
    removed: tuple[Any, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs between two versions.

    Attributes:
        workflow: The workflow.
        old: The version that was compared with.
        new: The version that was compared.
        nodes: Nodes that only one of them has.
        edges: Edges that only one of them has.
        changes: Values that differ.
    """

    workflow: str
    old: str = Field(alias="from")
    new: str = Field(alias="to")
    nodes: Difference
    edges: Difference
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not any((self.nodes.added, self.nodes.removed, self.edges.added, self.edges.removed, self.changes))


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class PlannedArchive:
    """The archive that would be registered.

    Attributes:
        url: What was asked for.
        sha256: Its digest.
        bytes: Its size.
        source: Where it comes from.
        same_as: A version that has the same archive.
    """

    url: str
    sha256: str
    bytes: int
    source: str
    same_as: str | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """A model that would be loaded."""

    node: str
    url: str
    sha256: str
    bytes: int
    threads: int | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class PlannedFunction:
    """A function that would be loaded, and the line of the handler file where it begins."""

    name: str
    line: int
    threads: int | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class PlannedWorkers:
    """Workers of the workflow, before and after."""

    now: int
    after: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class PlannedRoutes:
    """Share of each version, before and after."""

    before: dict[str, int]
    after: dict[str, int]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Plan:
    """What a change would do.

    Attributes:
        action: The kind of change; `none` when nothing would change.
        workflow: The workflow.
        version: The version, when it is about one.
        fingerprint: What the change itself can be given as `plan`, so that it is refused when it would do something
            else by then.
        archive: The archive that would be registered.
        changes: Values that would differ.
        models: Models that would be loaded.
        functions: Functions that would be loaded.
        workers: Workers of the workflow.
        routes: Share of each version.
        unknown: What could not be found out without doing it.
        warnings: What is most likely a mistake but does no harm.
    """

    action: str
    workflow: str
    version: str | None
    fingerprint: str
    archive: PlannedArchive | None
    changes: tuple[Change, ...]
    models: tuple[PlannedModel, ...]
    functions: tuple[PlannedFunction, ...]
    workers: PlannedWorkers
    routes: PlannedRoutes
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return self.action == "none"
