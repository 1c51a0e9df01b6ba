"""How far a piece of work is."""

from dataclasses import replace

from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.operations import NodeProgress, OperationPhase, Progress
from wfmgmt.domain.workflow import LoadRequest


class Tracker:
    """How far a piece of work is, as the thread that does it says; another one reads it now and then."""

    def __init__(self) -> None:
        self.workflow = ""
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
        self.workflow, self._target_uid = target.workflow, target.uid
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
        nodes = {name: NodeProgress(ready=each.ready, wanted=each.wanted) for name, each in report.nodes.items()}
        return replace(progress, nodes={**progress.nodes, **nodes})
