"""Metrics of the inference address, and their text for Prometheus."""

import asyncio

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.node_metrics import NodeGauges
from wfmgmt.serving.runtime import Runtime

#: How old the text may be that a scraper gets: the thread that makes it still takes time from the event loop.
KEPT_S = 1.0


class InferenceMetrics:
    """Counts the answers of the inference address, from all parts of the server. For the event loop only.

    Args:
        runtime: What happened at the nodes, and which workers they have.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
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
        measured, gauges = self._runtime.measurements.copy(), NodeGauges(self._runtime.catalog)
        gauges.usages = await self._runtime.usages.read(gauges.workers)
        return await asyncio.to_thread(self._written, measured, gauges)

    def _written(self, measured: Measurements, gauges: NodeGauges) -> bytes:
        registry = CollectorRegistry()
        registry.register(gauges)
        registry.register(measured)
        return generate_latest(registry) + generate_latest(self._registry)
