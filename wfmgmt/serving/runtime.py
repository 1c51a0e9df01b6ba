"""The parts of the runtime."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from wfmgmt.control.start_marker import StartMarker
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.drift_check import DriftCheck
from wfmgmt.serving.inference_tokens import InferenceTokens
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.mirroring import Mirror
from wfmgmt.serving.node_logs import NodeLogs
from wfmgmt.serving.predictions import AdmissionControl
from wfmgmt.serving.reconciler import Reconciler
from wfmgmt.serving.rollouts import RolloutLoop
from wfmgmt.serving.worker_usage import WorkerUsages


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What the two servers of the runtime work with, each part with one job.

    Attributes:
        catalog: The workflows.
        loader: Loads them and takes them down.
        history: How loads went.
        reconciler: Keeps them in step with the registry.
        drift_check: Keeps model servers in step with them.
        measurements: What happens at their nodes.
        admission: The requests that are under way.
        mirror: Copies of requests.
        rollouts: Judges the candidates of releases.
        node_logs: The last lines of the log about nodes.
        usages: What workers take of their host.
        tokens: Decides who may do what on the inference address.
        start: Whether what is registered at the start of the service is.
    """

    catalog: Catalog
    loader: Loader
    history: LoadHistory
    reconciler: Reconciler
    drift_check: DriftCheck
    measurements: Measurements
    admission: AdmissionControl
    mirror: Mirror
    rollouts: RolloutLoop
    node_logs: NodeLogs
    usages: WorkerUsages
    tokens: InferenceTokens
    start: StartMarker

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for as long as the runtime does."""
        return (
            self.reconciler.run(),
            self.drift_check.run(),
            self.rollouts.run(),
            self.history.keep_saved(),
            self.tokens.keep_current(),
            self.tokens.keep_recording_uses(),
        )
