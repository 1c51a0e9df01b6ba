"""Gauges of nodes and of their workers, for `/metrics`."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage
from wfmgmt.serving.worker_usage import Usages

_LABELS = ("workflow", "node")
#: A node of a version may have many workers; a worker that is gone takes its series along.
_WORKER_LABELS = ("workflow", "version", "node", "pid")


class NodeGauges(Collector):
    """How many workers each node has, of all versions together, how many requests wait for them, and what each takes.

    Args:
        catalog: The workflows, of which everything is noted now.

    Attributes:
        usages: What workers take, as far as it was read.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.usages: Usages = {}
        self._counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._busy_s: dict[tuple[str, str], float] = {}
        for report in catalog.status_log.reports():
            for name, node in report.nodes.items():
                self._counts[report.workflow, name].update(wanted=node.wanted, ready=node.ready)
        self._workers: dict[WorkerFacts, tuple[str, str, str, str]] = {}
        for version in catalog:
            workflow = version.target.workflow
            for name, model in version.models.items():
                self._counts[workflow, name].update(queued=model.queued)
                self._busy_s[workflow, name] = max(self._busy_s.get((workflow, name), 0.0), model.busy_s or 0.0)
                self._workers |= {
                    worker: (workflow, version.target.version, name, str(worker.pid)) for worker in model.workers
                }

    @property
    def workers(self) -> Iterable[WorkerFacts]:
        """All workers."""
        return self._workers.keys()

    def collect(self) -> list[Metric]:
        """Return everything as Prometheus has it."""
        return [*self._of_nodes(), *self._of_workers()]

    def _of_nodes(self) -> list[Metric]:
        wanted = GaugeMetricFamily(
            "wfmgmt_workers_wanted", "Worker processes of a node that should be up", labels=_LABELS
        )
        ready = GaugeMetricFamily("wfmgmt_workers_ready", "Worker processes of a node that are up", labels=_LABELS)
        queued = GaugeMetricFamily("wfmgmt_node_queued", "Requests to a node that no worker has begun", labels=_LABELS)
        for names, count in self._counts.items():
            wanted.add_metric(names, count["wanted"])
            ready.add_metric(names, count["ready"])
            queued.add_metric(names, count["queued"])
        saturated = GaugeMetricFamily(
            "wfmgmt_node_saturated_seconds", "For how long no worker of a node has been idle", labels=_LABELS
        )
        for names, busy_s in self._busy_s.items():
            saturated.add_metric(names, busy_s)
        return [wanted, ready, queued, saturated]

    def _of_workers(self) -> list[Metric]:
        memory = GaugeMetricFamily(
            "wfmgmt_worker_pss_bytes",
            "Memory of a worker process, with its part of what it shares with others",
            labels=_WORKER_LABELS,
        )
        threads = GaugeMetricFamily("wfmgmt_worker_threads", "Threads of a worker process", labels=_WORKER_LABELS)
        started = GaugeMetricFamily(
            "wfmgmt_worker_start_time_seconds", "When a worker process was started, in Unix time", labels=_WORKER_LABELS
        )
        for worker, labels in self._workers.items():
            usage = self.usages.get(worker, WorkerUsage())
            started.add_metric(labels, worker.started_at.timestamp())
            if usage.pss_bytes is not None:
                memory.add_metric(labels, usage.pss_bytes)
            if usage.threads is not None:
                threads.add_metric(labels, usage.threads)
        return [memory, threads, started]
