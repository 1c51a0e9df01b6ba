"""Changes of worker counts as operations: how they come into force, and how they are taken back."""

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from wfmgmt.domain.operations import NewOperation, NodeProgress, Operation, OperationKind
from wfmgmt.domain.plans import Change as FieldChange
from wfmgmt.domain.plans import changes
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import ShuttingDown, VersionNotFound, WfmgmtError, WorkflowNotFound
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.writing import Writer
from wfmgmt.services.changes import Change
from wfmgmt.services.enforcement import MOMENT_S, Enforcement, not_in_force
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations
from wfmgmt.services.tracking import RunningOperation

_log = logging.getLogger("wfmgmt.operations")

#: Settings that take a while to come into force.
WORKER_COUNTS = ("min_workers", "max_workers")
#: Pause after a look at the runtime that was answered at once.
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class CountChange:
    """Worker counts of nodes of a version, before and after a change.

    Attributes:
        uid: The registration of the version.
        revision: The workflow's revision after the change.
        wait_s: How long the workers may take.
        before: Counts of the nodes that differ, by their names and by setting.
        after: Those that are wanted.
    """

    uid: str
    revision: int
    wait_s: float
    before: Mapping[str, Mapping[str, int]]
    after: Mapping[str, Mapping[str, int]]

    @classmethod
    def of_operation(cls, operation: Operation) -> Self:
        """Return the change that an operation brings into force."""
        return cls(**{name: operation.request[name] for name in cls.__slots__})


def counts(settings: NodeSettings) -> dict[str, int]:
    """Return the worker counts among settings of a node."""
    return {name: getattr(settings, name) for name in WORKER_COUNTS}


def override(
    writer: Writer,
    uid: str,
    now: Mapping[str, NodeSettings],
    wanted: Mapping[str, NodeSettings],
    *,
    actor: str,
) -> None:
    """Write settings of nodes of a version that differ from those now, as far as they are not the spec's."""
    ids, spec = writer.node_ids(uid), writer.spec_settings(uid)
    for node, settings in wanted.items():
        changed = {name: getattr(settings, name) for name in differing(now[node], settings)}
        values = {name: None if value == getattr(spec[node], name) else value for name, value in changed.items()}
        writer.override(ids[node], values, actor=actor)


def differing(before: NodeSettings, after: NodeSettings) -> list[str]:
    """Return the names of the settings that differ."""
    return [name for name in NodeSettings.__slots__ if getattr(before, name) != getattr(after, name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakingBack:
    """Worker counts that nodes get back when an operation is cancelled, unless somebody has changed them since.

    Attributes:
        now: Settings of these nodes as they are, by name.
        former: As they will be.
    """

    now: Mapping[str, NodeSettings]
    former: Mapping[str, NodeSettings]

    @classmethod
    def of_operation(cls, reader: Reader, operation: Operation) -> Self:
        """Return what cancelling an operation takes back; nothing once the version is not registered any more."""
        change = CountChange.of_operation(operation)
        nodes = [node for request in reader.load_requests([change.uid]) for node in request.nodes]
        now = {node.name: node.settings for node in nodes if counts(node.settings) == change.after.get(node.name)}
        return cls(now=now, former={name: replace(each, **change.before[name]) for name, each in now.items()})

    @property
    def changes(self) -> tuple[FieldChange, ...]:
        """What that changes."""
        before, after = (
            {"nodes": {name: each.by_api_name() for name, each in nodes.items()}} for nodes in (self.now, self.former)
        )
        return changes(before, after)

    def write(self, writer: Writer, operation: Operation, *, actor: str) -> None:
        """Give the nodes their former counts back."""
        if self.now:
            override(writer, operation.request["uid"], self.now, self.former, actor=actor)
            writer.revise(operation.workflow)


class WorkerCounts:
    """Brings changes of worker counts into force. Thread-safe.

    Args:
        registry: The registry.
        enforcement: Asks the runtime.
        operations: Records those that others than their thread have seen in force.
        long_requests: When this has to end.
    """

    def __init__(
        self, *, registry: Registry, enforcement: Enforcement, operations: Operations, long_requests: LongRequests
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._enforcement = enforcement
        self._long_requests = long_requests

    def accept(self, writer: Writer, counts: CountChange, workflow: str, version: str, change: Change) -> str:
        """Record the operation that brings counts into force, and return it.

        It takes the place of earlier ones that are about none but these nodes. One that is about others too goes on:
        it follows those, and taking it back gives only these their former counts.
        """
        for earlier in writer.operations.scaling(workflow, version):
            if earlier.request["after"].keys() <= counts.after.keys():
                self._operations.cancel(writer, earlier, change.origin.actor)
        new = NewOperation(
            uid=uuid.uuid4().hex,
            key=None,
            kind=OperationKind.SCALE,
            workflow=workflow,
            version=version,
            url="",
            request={name: getattr(counts, name) for name in counts.__slots__} | change.stated_reason,
            origin=change.origin,
        )
        writer.operations.begin(new, None)
        if writer.receipt is not None:  # Of the counts, which are written by now.
            writer.operations.attest(new.uid, writer.receipt)
        return new.uid

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Wait until the workers are up that an operation is to start, or gone that it is to end.

        Raises:
            RuntimeUnavailable: They are not in time, or something keeps them from it; they stay wanted.
            WorkflowNotFound, VersionNotFound: The version is not registered any more.
            OperationCancelled: Somebody has cancelled it, or changed the counts again.
            ShuttingDown: The server stops; the next process goes on.
        """
        change = CountChange.of_operation(operation)
        nodes = {name: NodeProgress(ready=0, wanted=each["min_workers"]) for name, each in change.after.items()}
        running.tracker.on_loading(change.uid, nodes)
        deadline = time.monotonic() + change.wait_s
        with running.breakable(self._long_requests.is_stopping) as is_broken_off:
            while not self._is_reached(operation, change, is_last=time.monotonic() >= deadline):
                time.sleep(_PAUSE_S)  # The runtime may answer at once that it is not there yet.
                if is_broken_off():
                    raise ShuttingDown("The server is stopping.")
        if self._enforcement.is_loaded(change.uid):
            running.tracker.on_loaded()
        with self._registry.write() as writer:
            running.check_wanted(writer)
            running.succeed(writer, _result(operation, change))

    def on_reached(self, uid: str) -> None:
        """Record that the counts of an operation are in force, as a client that waits for them has seen first.

        When that cannot be recorded, the thread that follows the operation does it a little later.
        """
        try:
            operation = self._operations.get(uid)
            change = CountChange.of_operation(operation)
            up = change.after if self._enforcement.is_loaded(change.uid) else {}
            wanted = {name: each["min_workers"] for name, each in up.items()}
            nodes = {name: NodeProgress(ready=count, wanted=count) for name, count in wanted.items()}
            self._operations.succeed(uid, nodes, _result(operation, change))
        except WfmgmtError as error:
            _log.warning("could not record the end of operation %s yet: %s", uid, error)

    def _is_reached(self, operation: Operation, change: CountChange, *, is_last: bool) -> bool:
        with self._registry.read() as reader:
            target = reader.target(operation.workflow)
        if target is None:
            raise WorkflowNotFound(operation.workflow)
        if target.versions.get(operation.version) != change.uid:
            raise VersionNotFound(operation.workflow, operation.version)
        report = self._enforcement.pursue(target, change.revision, wait_s=MOMENT_S)
        has_failed = bool(report.problem) and report.revision >= change.revision
        if not report.reached and (is_last or has_failed):
            raise not_in_force(target, change.revision, report.problem or "the workers are not up in time.")
        return report.reached


def _result(operation: Operation, change: CountChange) -> dict[str, Any]:
    """Return what an operation keeps of it, as plain JSON."""
    return {"version": operation.version, "revision": change.revision}
