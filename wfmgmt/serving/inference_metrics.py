"""Metrics of the inference address, and their text for Prometheus."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.control.messages import WorkflowReport
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.status_log import StatusLog

#: How old the text may be that a scraper gets: the thread that makes it still takes time from the event loop.
KEPT_S = 1.0


class InferenceMetrics:
    """Counts the answers of the inference address, from all parts of the server. For the event loop only.

    Args:
        measurements: What happened at the nodes.
        status_log: How many workers they have.
    """

    def __init__(self, measurements: Measurements, status_log: StatusLog) -> None:
        self._measurements = measurements
        self._status_log = status_log
        self._rendered: asyncio.Task[bytes] | None = None
        self._rendered_at = 0.0
        self._registry = CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "wfmgmt_inference_requests",
            "Requests answered on the inference address",
            ["route", "status"],
            registry=self._registry,
        )
        self._counted: dict[tuple[str, int], prometheus_client.Counter] = {}
        self._refused = prometheus_client.Counter(
            "wfmgmt_cross_origin_refused",
            "Requests refused since a web page may have sent them",
            ["check"],
            registry=self._registry,
        )

    def count_refused(self, check: str) -> None:
        """Count one request that a web page may have sent."""
        self._refused.labels(check).inc()

    def count(self, request: web.BaseRequest, status: int) -> None:
        """Count one answer; requests that did not reach a route are counted under `unknown`."""
        match = getattr(request, "_match_info", None)  # Public only for requests that have one.
        resource = None if match is None else match.route.resource
        key = (resource.canonical if resource else "unknown", status)
        if key not in self._counted:
            self._counted[key] = self._requests.labels(*key)
        self._counted[key].inc()

    async def text(self) -> bytes:
        """Return all metrics as Prometheus text, made `KEPT_S` ago at most; one text is made at a time."""
        now = asyncio.get_running_loop().time()
        if self._rendered is None or (self._rendered.done() and now - self._rendered_at >= KEPT_S):
            self._rendered_at = now
            self._rendered = asyncio.create_task(self._render())
        return await asyncio.shield(self._rendered)

    async def _render(self) -> bytes:
        """Note all numbers as they are now, and have a thread write them down."""
        measured, reports = self._measurements.copy(), list(self._status_log.reports())
        return await asyncio.to_thread(self._written, measured, reports)

    def _written(self, measured: Measurements, reports: Sequence[WorkflowReport]) -> bytes:
        registry = CollectorRegistry()
        registry.register(_Workers(reports))
        registry.register(measured)
        return generate_latest(registry) + generate_latest(self._registry)


class _Workers(Collector):
    """The collector of workers per node, of all versions together, whose sums the management address gives."""

    def __init__(self, reports: Sequence[WorkflowReport]) -> None:
        self._reports = reports

    def collect(self) -> list[Metric]:
        """Return both gauges."""
        labels = ["workflow", "node"]
        wanted = GaugeMetricFamily(
            "wfmgmt_workers_wanted", "Worker processes of a node that should be up", labels=labels
        )
        ready = GaugeMetricFamily("wfmgmt_workers_ready", "Worker processes of a node that are up", labels=labels)
        counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for report in self._reports:
            for name, node in report.nodes.items():
                counts[report.workflow, name].update(wanted=node.wanted, ready=node.ready)
        for names, count in counts.items():
            wanted.add_metric(names, count["wanted"])
            ready.add_metric(names, count["ready"])
        return [wanted, ready]
