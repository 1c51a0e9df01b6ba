"""How far a piece of work is, and the operation that it is done for."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.operations import NodeProgress, OperationKind, OperationPhase, OperationState, Progress
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import OperationCancelled, ShuttingDown, WfmgmtError
from wfmgmt.registry.writing import Writer


class Tracker:
    """How far a piece of work is, as the thread that does it says; another one reads it now and then."""

    def __init__(self) -> None:
        self.workflow = ""
        self.is_cancelled = False
        self._progress = Progress()
        self._file_bytes = 0
        self._target_uid: str | None = None

    def on_phase(self, phase: OperationPhase) -> None:
        """Record what the work is at."""
        self._progress = replace(self._progress, phase=phase)

    def on_bytes(self, done: int, total: int | None) -> None:
        """Record how many bytes of a file are done, of how many, if that is known; each file begins with 0."""
        if done == 0:
            self._file_bytes = 0
        files_before = self._progress.done_bytes - self._file_bytes
        self._file_bytes = done
        self._progress = replace(
            self._progress,
            done_bytes=files_before + done,
            total_bytes=None if total is None else files_before + total,
        )

    def on_claimed(self, target: LoadRequest) -> None:
        """Record that a version is claimed, and what has to come up."""
        nodes = {node.name: NodeProgress(ready=0, wanted=node.settings.min_workers) for node in target.nodes}
        self.workflow = target.workflow
        self.on_loading(target.uid, nodes)

    def on_loading(self, uid: str, nodes: Mapping[str, NodeProgress]) -> None:
        """Record which nodes of a version have to come up."""
        self._target_uid = uid
        self._progress = replace(self._progress, phase=OperationPhase.LOADING, nodes=nodes)

    def on_loaded(self) -> None:
        """Record that all workers are up."""
        nodes = {name: replace(node, ready=node.wanted) for name, node in self._progress.nodes.items()}
        self._target_uid = None
        self._progress = replace(self._progress, nodes=nodes)

    def progress(self, status: StatusCache | None = None) -> Progress:
        """Return how far it is, with the workers that the runtime has reported up."""
        progress, uid = self._progress, self._target_uid
        report = None if status is None or uid is None else status.report(uid)
        if report is None:
            return progress
        nodes = {
            # The runtime may not have read new settings yet.
            name: NodeProgress(ready=report.nodes[name].ready, wanted=max(node.wanted, report.nodes[name].wanted))
            for name, node in progress.nodes.items()
            if name in report.nodes
        }
        return replace(progress, nodes={**progress.nodes, **nodes})


@dataclass(slots=True, kw_only=True, eq=False)
class RunningOperation:
    """An operation that this process carries out.

    Attributes:
        uid: Its identity.
        kind: What it does.
        lease: Proof that it is under way.
        tracker: How far it is.
        began: When it began, in monotonic seconds.
        written: What the database has of its progress, and of the name of its workflow.
        has_ended: Whether its end is recorded, if that transaction was committed.
        is_made: Whether what it was to make is made for good, so that it succeeds whatever comes later.
        may_resume: Whether it begins again when the service stops meanwhile: nobody waits for its answer.
    """

    uid: str
    kind: OperationKind
    lease: str
    tracker: Tracker = field(default_factory=Tracker)
    began: float = field(default_factory=time.monotonic)
    written: tuple[str, Progress] | None = None
    has_ended: bool = False
    is_made: bool = False
    may_resume: bool = False

    @contextmanager
    def breakable(self, is_stopping: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
        """Give what says whether long work is to be broken off, and tell apart why it was: by somebody, or by the stop.

        Args:
            is_stopping: Says whether the service stops.
        """
        try:
            yield lambda: is_stopping() or self.tracker.is_cancelled
        except WfmgmtError as error:
            if self.tracker.is_cancelled:
                raise OperationCancelled from error
            if self.may_resume and is_stopping():
                raise ShuttingDown("The server is stopping.") from error
            raise

    def resumes_after(self, error: Exception) -> bool:
        """Return whether an error only breaks it off, so that it begins again."""
        return self.may_resume and not self.is_made and isinstance(error, ShuttingDown)

    def state(self, status: StatusCache) -> tuple[str, Progress]:
        """Return the name of its workflow and how far it is, with the workers that the runtime has reported up."""
        return self.tracker.workflow, self.tracker.progress(status)

    def write(self, writer: Writer, *, result: Mapping[str, Any] | None = None) -> None:
        """Record how far it is, and what will come of it once that is known, in the caller's transaction."""
        progress = self.tracker.progress()
        writer.operations.advance(self.uid, progress, workflow=self.tracker.workflow, result=result)

    def check_wanted(self, writer: Writer) -> None:
        """Check, in the transaction that makes what it is to make, that nobody has cancelled it.

        Raises:
            OperationCancelled: Somebody has.
        """
        if self.uid in writer.operations.cancelled():
            raise OperationCancelled

    def succeed(self, writer: Writer, result: Mapping[str, Any]) -> None:
        """Record that it is done, and what came of it, in the caller's transaction."""
        self.write(writer, result=result)
        writer.operations.end(self.uid, OperationState.SUCCEEDED)
        self.has_ended = True
