"""Plans: what a change would do, found out without doing it."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wfmgmt.domain.audit import canonical_json
from wfmgmt.domain.workflow import LoadRequest

_FINGERPRINT_DIGITS = 16
#: What stands in a path as it is; other names, as versions and many nodes have them, are in brackets.
_PLAIN_NAME = re.compile(r"[\w-]+")


class PlanAction(StrEnum):
    """The kind of change that a plan is for."""

    CREATE = "create"
    ADD_VERSION = "add-version"
    UPDATE = "update"
    RELEASE = "release"
    REMOVE = "remove"
    RESET = "reset"
    NONE = "none"


class ArchiveSource(StrEnum):
    """Where an archive comes from."""

    STORE = "store"
    DOWNLOAD = "download"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value that differs.

    Attributes:
        path: Where it is, like `nodes.sentiment.maxWorkers`.
        before: What it is; None when it is not there.
        after: What it will be; None when it will not be there.
    """

    path: str
    before: object
    after: object

    def json(self) -> dict[str, object]:
        """Return it as answers show it."""
        return {"path": self.path, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArchive:
    """The archive of a version that is to be registered.

    Attributes:
        url: What the client asks for, without credentials and query.
        sha256: Its digest.
        size_bytes: Its size.
        source: Where it comes from.
        same_as: A registered version of the workflow that has the same archive; None when there is none.
    """

    url: str
    sha256: str
    size_bytes: int
    source: ArchiveSource
    same_as: str | None = None

    def json(self) -> dict[str, object]:
        """Return it as answers show it."""
        return {
            "url": self.url,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "source": self.source.value,
            "sameAs": self.same_as,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """The archive of a model that is to be loaded.

    Attributes:
        node: The node that it is for.
        url: What the spec names, without credentials and query.
        sha256: Its digest.
        size_bytes: Its size.
        threads: Threads that libraries in each of its workers will use; None when they decide.
    """

    node: str
    url: str
    sha256: str
    size_bytes: int
    threads: int | None

    def json(self) -> dict[str, object]:
        """Return it as answers show it."""
        return {
            "node": self.node,
            "url": self.url,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "threads": self.threads,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFunction:
    """A function of the handler file that is a node.

    Attributes:
        name: Its name.
        line: Where it begins in the file, from 1.
        threads: As for a model.
    """

    name: str
    line: int
    threads: int | None

    def json(self) -> dict[str, object]:
        """Return it as answers show it."""
        return {"name": self.name, "line": self.line, "threads": self.threads}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a change would do, and what that rests on.

    Attributes:
        action: The kind of change.
        workflow: Name of the workflow.
        version: The version that it is about; None when it is about the workflow.
        uid: Identity of the workflow; None when it is to be created.
        revision: Its revision that the plan was made at; None likewise.
        archive: The archive to be registered, if one is.
        changes: Values that will differ.
        models: Models to be loaded.
        functions: Functions to be loaded.
        workers_now: Workers that the workflow has up, or should have.
        workers_after: Those that it will have.
        routes_before: Share of each version.
        routes_after: Share that each will have.
        unknown: What could not be found out without doing it, as whole sentences.
        warnings: What is most likely a mistake but does no harm, as whole sentences.
    """

    action: PlanAction
    workflow: str
    version: str | None = None
    uid: str | None = None
    revision: int | None = None
    archive: PlannedArchive | None = None
    changes: tuple[Change, ...] = ()
    models: tuple[PlannedModel, ...] = ()
    functions: tuple[PlannedFunction, ...] = ()
    workers_now: int = 0
    workers_after: int = 0
    routes_before: Mapping[str, int]
    routes_after: Mapping[str, int]
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return self.action is PlanAction.NONE

    @property
    def fingerprint(self) -> str:
        """What is equal for two plans that do the same to the same: `p-` and 16 hexadecimal digits.

        Counts of workers that are up, warnings and where an archive comes from can differ between a plan and the call
        that carries it out, without anything having moved that the plan rests on.
        """
        rests_on = {
            "action": self.action.value,
            "workflow": [self.workflow, self.uid, self.revision],
            "version": self.version,
            "archive": None if self.archive is None else self.archive.sha256,
            "changes": [change.json() for change in self.changes],
            "models": {model.node: model.sha256 for model in self.models},
            "routes": dict(self.routes_after),
        }
        digest = hashlib.sha256(canonical_json(rests_on).encode())
        return f"p-{digest.hexdigest()[:_FINGERPRINT_DIGITS]}"

    def json(self) -> dict[str, object]:
        """Return it as answers show it."""
        return {
            "action": self.action.value,
            "workflow": self.workflow,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "archive": None if self.archive is None else self.archive.json(),
            "changes": [change.json() for change in self.changes],
            "models": [model.json() for model in self.models],
            "functions": [function.json() for function in self.functions],
            "workers": {"now": self.workers_now, "after": self.workers_after},
            "routes": {"before": dict(self.routes_before), "after": dict(self.routes_after)},
            "unknown": list(self.unknown),
            "warnings": list(self.warnings),
        }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return which values of two nested mappings differ, in the order of `before`; what is only in `after` comes last.

    Lists are values as a whole.
    """
    return tuple(_changes("", before, after))


def _changes(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys((*before, *after)):
        where, old, new = _joined(path, name), before.get(name), after.get(name)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            yield from _mapping_changes(where, old, new)
        elif old != new:
            yield Change(path=where, before=old, after=new)


def _mapping_changes(where: str, old: object, new: object) -> Iterator[Change]:
    """Yield what differs where one is a mapping at least; against another value it differs as a whole."""
    if isinstance(old, Mapping | None) and isinstance(new, Mapping | None):
        yield from _changes(where, old or {}, new or {})
    else:
        yield Change(path=where, before=old, after=new)


def _joined(path: str, name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else name


def version_diff(old: LoadRequest, new: LoadRequest) -> dict[str, object]:
    """Return, as JSON, what differs between two versions: nodes, edges, settings, timeouts, digests.

    Settings are the effective ones; a node that only one of them has is listed by its name alone.
    """
    old_nodes, new_nodes = _nodes_json(old), _nodes_json(new)
    old_edges, new_edges = dict.fromkeys(old.edges), dict.fromkeys(new.edges)
    common = old_nodes.keys() & new_nodes.keys()
    differing = changes(
        {**_version_json(old), "nodes": {name: each for name, each in old_nodes.items() if name in common}},
        {**_version_json(new), "nodes": {name: each for name, each in new_nodes.items() if name in common}},
    )
    return {
        "nodes": {
            "added": [name for name in new_nodes if name not in common],
            "removed": [name for name in old_nodes if name not in common],
        },
        "edges": {
            "added": [list(edge) for edge in new_edges if edge not in old_edges],
            "removed": [list(edge) for edge in old_edges if edge not in new_edges],
        },
        "changes": [change.json() for change in differing],
    }


def _version_json(version: LoadRequest) -> dict[str, object]:
    return {
        "archive": {"file": version.archive_file, "sha256": version.archive_sha256},
        "handler": version.handler,
        "startupTimeout": version.startup_timeout_s,
        "responseTimeout": version.response_timeout_s,
    }


def _nodes_json(version: LoadRequest) -> dict[str, dict[str, object]]:
    return {
        node.name: {
            "kind": node.kind.value,
            "model": {"url": node.model_url, "sha256": node.model_sha256},
            **node.settings.by_api_name(),
            "threads": node.threads,
        }
        for node in version.nodes
    }
