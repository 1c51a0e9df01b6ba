"""What is counted on the inference address, and its text for Prometheus."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.serving.feed import StatusFeed
from wfmgmt.serving.runtime import Runtime


class InferenceMetrics:
    """Counts the answers of the inference address, whatever part of the server gives them.

    Args:
        runtime: Whose workers and nodes are measured.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Workers(runtime.feed))
        self._registry.register(runtime.measurements)
        self._requests = Counter(
            "wfmgmt_inference_requests",
            "Requests answered on the inference address",
            ["route", "status"],
            registry=self._registry,
        )
        self._counted: dict[tuple[str, int], Counter] = {}
        self._refused = Counter(
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

    def text(self) -> bytes:
        """Return all metrics as Prometheus text."""
        return generate_latest(self._registry)


class _Workers(Collector):
    """Workers per node, read from the feed when somebody asks."""

    def __init__(self, feed: StatusFeed) -> None:
        self._feed = feed

    def collect(self) -> list[Metric]:
        """Return both gauges."""
        labels = ["workflow", "node"]
        wanted = GaugeMetricFamily("wfmgmt_workers_wanted", "Worker processes that should be up", labels=labels)
        ready = GaugeMetricFamily("wfmgmt_workers_ready", "Worker processes that are up", labels=labels)
        for report in self._feed.reports():
            for name, node in report.nodes.items():
                wanted.add_metric([report.workflow, name], node.wanted)
                ready.add_metric([report.workflow, name], node.ready)
        return [wanted, ready]
