"""Metrics of the management plane, right under any number of web workers."""

import itertools
import os
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from wfmgmt.domain.operations import OperationKind, OperationState
from wfmgmt.errors import FolderUnavailable, WfmgmtError
from wfmgmt.services.inspection import Inspection

#: A file of counters begins with how many of its bytes are used, this number and its padding among them.
_USED, _MIN_USED_BYTES = struct.Struct("i"), 8
#: Values by name and labels.
Samples = dict[tuple[str, ...], float]

# These live as long as the process: in the shared folder of several web workers their files are never made twice.
_OWN = CollectorRegistry()
_REQUESTS = Counter(
    "wfmgmt_requests", "Requests answered on the management address", ["method", "route", "status"], registry=_OWN
)
_REFUSED = Counter(
    "wfmgmt_cross_origin_refused", "Requests refused since a web page may have sent them", ["check"], registry=_OWN
)
_DURATIONS = Histogram(
    "wfmgmt_request_duration_seconds",
    "Time from a request's arrival to its answer on the management address",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
    registry=_OWN,
)
_FAILED_LOGINS = Counter(
    "wfmgmt_failed_logins", "Requests to the management address whose token was refused", ["reason"], registry=_OWN
)
_LOOP_FAILURES = Counter(
    "wfmgmt_loop_failures",
    "Failures of what the web workers do in the background, which is tried again",
    ["loop"],
    registry=_OWN,
)
_OPERATIONS = Histogram(
    "wfmgmt_operation_seconds",
    "Time from the request for an operation to its end",
    ["kind", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=_OWN,
)
_CHECKPOINTS = Counter(
    "wfmgmt_audit_checkpoints", "Attempts to write a checkpoint of the audit trail", ["outcome"], registry=_OWN
)
_UPLOADS = Counter("wfmgmt_uploads", "Archives that were uploaded into the stores", ["store"], registry=_OWN)
_UPLOADED = Counter("wfmgmt_uploaded_bytes", "Bytes of archives that were uploaded", ["store"], registry=_OWN)


@cache
def _children(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts answers of one kind; finding it anew would take as long as counting."""
    return _REQUESTS.labels(method, route, status), _DURATIONS.labels(method, route)


def record_failed_login(reason: str) -> None:
    """Count a token that was refused."""
    with _counting():
        _FAILED_LOGINS.labels(reason).inc()


def record_loop_failure(loop: str) -> None:
    """Count a failure of a background loop or of one of its duties."""
    with _counting():
        _LOOP_FAILURES.labels(loop).inc()


def record_operation(kind: OperationKind, outcome: OperationState, duration_s: float) -> None:
    """Count an operation that ended."""
    with _counting():
        _OPERATIONS.labels(kind.value, outcome.value).observe(duration_s)


def record_checkpoint(outcome: str) -> None:
    """Count an attempt to write a checkpoint of the audit trail."""
    with _counting():
        _CHECKPOINTS.labels(outcome).inc()


def record_upload(store: str, size_bytes: int) -> None:
    """Count an archive that was stored."""
    with _counting():
        _UPLOADS.labels(store).inc()
        _UPLOADED.labels(store).inc(size_bytes)


def _counting() -> suppress:
    """Return a block that goes on when the shared folder is gone: nothing that was done fails for being counted."""
    return suppress(OSError)


class Metrics:
    """Counts answers, and renders everything that is counted.

    Args:
        inspection: Counts workflows and workers.
        shared_folder: Where several web workers share their counters; None when there is one process.
    """

    def __init__(self, *, inspection: Inspection, shared_folder: str | None) -> None:
        self._state = _State(inspection)
        self._shared_folder = shared_folder

    def count(self, *, method: str, route: str, status: int, duration_s: float) -> None:
        """Count one answer."""
        with _counting():
            requests, durations = _children(method, route, status)
            requests.inc()
            durations.observe(duration_s)

    def count_refused(self, check: str) -> None:
        """Count one request that a web page may have sent."""
        with _counting():
            _REFUSED.labels(check).inc()

    def text(self) -> bytes:
        """Return all metrics as Prometheus text.

        Raises:
            FolderUnavailable: What other web workers counted cannot be read.
        """
        registry = CollectorRegistry()
        registry.register(self._state)
        if self._shared_folder is None:
            return generate_latest(registry) + generate_latest(_OWN)
        registry.register(_Shared(Path(self._shared_folder)))
        try:
            return generate_latest(registry)
        except OSError as error:
            raise FolderUnavailable("instance", error) from error


class _Shared(Collector):
    """Collects what all workers counted; prometheus-client's own collector takes the folder's name for a pattern."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> list[Metric]:
        """Return the sums, without files that are damaged: the process that counts in such a one makes it anew."""
        files = [str(file) for file in self._folder.glob("*.db") if counted(file) is not None]
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]  # it has no types


def counted(file: Path) -> Samples | None:
    """Return the samples in a file of counters, by name and labels; None when it is gone or damaged."""
    try:
        if not _has_beginning(file):
            return None
        metrics = list(MultiProcessCollector.merge([str(file)]))  # type: ignore[no-untyped-call]  # it has no types
    except FileNotFoundError:
        return None
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - prometheus-client checks nothing that it reads, so it may raise anything
        return None
    return {
        (sample.name, *itertools.chain(*sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def _has_beginning(file: Path) -> bool:
    """Return whether a file begins as such: prometheus-client takes zeros or ones for one without values."""
    with file.open("rb") as opened:
        content = opened.read(_USED.size)
    return len(content) == _USED.size and _USED.unpack(content)[0] >= _MIN_USED_BYTES


class _State(Collector):
    """Gauges that every web worker gives alike."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection

    def collect(self) -> list[Metric]:
        """Return what the database counts, unless it cannot be read, and workers."""
        workflows = GaugeMetricFamily("wfmgmt_workflows", "Workflows in the registry", labels=["status"])
        running = GaugeMetricFamily("wfmgmt_operations_running", "Operations that are being carried out", labels=())
        queued = GaugeMetricFamily("wfmgmt_operations_queued", "Operations that wait to be carried out", labels=())
        try:
            counts, unfinished = self._inspection.counts()
        except WfmgmtError:
            pass  # The counters of this process are worth having all the same.
        else:
            for status, count in counts.items():
                workflows.add_metric([status.value], count)
            running.add_metric([], unfinished[OperationState.RUNNING])
            queued.add_metric([], unfinished[OperationState.QUEUED])
        files = GaugeMetricFamily(
            "wfmgmt_store_files",
            "Files in the stores that workflows were registered from, by what became of them",
            labels=["store", "state"],
        )
        with suppress(WfmgmtError):
            for (store, state), count in self._inspection.store_files().items():
                files.add_metric([store, state.value], count)
        wanted, ready = self._inspection.workers()
        return [
            workflows,
            running,
            queued,
            files,
            GaugeMetricFamily("wfmgmt_workers_wanted", "Worker processes of all nodes that should be up", value=wanted),
            GaugeMetricFamily("wfmgmt_workers_ready", "Worker processes of all nodes that are up", value=ready),
        ]


def shared_folder() -> str | None:
    """Return the folder that gunicorn's configuration has set up for shared counters."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")  # noqa: TID251 - the name is prometheus-client's own
