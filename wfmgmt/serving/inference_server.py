"""The public side of the runtime, on the inference address."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.domain.wire import (
    FRAMEWORK_TYPES,
    NO_CACHE,
    REQUEST_ID,
    UNKNOWN_PATH,
    WRONG_METHOD,
    error_body,
    health,
    json_text,
    sane_request_id,
)
from wfmgmt.serving.description import INFERENCE_API
from wfmgmt.serving.feed import StatusFeed

_FEED = web.AppKey("feed", StatusFeed)
_REGISTRY = web.AppKey("registry", CollectorRegistry)
_NOT_FOUND, _NOT_ALLOWED = 404, 405


def inference_app(feed: StatusFeed) -> web.Application:
    """Return the application that listens on the inference address."""
    registry = CollectorRegistry()
    registry.register(_Workers(feed))
    requests = Counter(
        "wfmgmt_inference_requests",
        "Requests answered on the inference address",
        ["route", "status"],
        registry=registry,
    )
    app = web.Application(middlewares=[_dress(requests)])
    app[_FEED] = feed
    app[_REGISTRY] = registry
    for path in ("/ping", "/ping/"):
        app.router.add_get(path, _ping)
    for path in ("/metrics", "/metrics/"):
        app.router.add_get(path, _metrics)
    for path in ("/api-description", "/api-description/"):
        app.router.add_get(path, _describe_api)
    app.router.add_route("OPTIONS", "/", _describe_api)
    return app


def _dress(requests: Counter) -> Middleware:
    """Return the middleware that gives every answer its headers and every error its shape."""

    @web.middleware
    async def dress(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = _error(error)
        answer.headers.update(NO_CACHE)
        answer.headers[REQUEST_ID] = sane_request_id(request.headers.get(REQUEST_ID))
        resource = request.match_info.route.resource
        requests.labels(resource.canonical if resource else "unknown", answer.status).inc()
        return answer

    return dress


def _error(error: web.HTTPException) -> web.Response:
    messages = {_NOT_FOUND: UNKNOWN_PATH, _NOT_ALLOWED: WRONG_METHOD}
    answer = web.Response(
        status=error.status,
        text=error_body(
            error.status,
            FRAMEWORK_TYPES.get(error.status, "BadRequestException"),
            messages.get(error.status, f"{error.reason}."),
        ),
        content_type="application/json",
    )
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


async def _ping(request: web.Request) -> web.Response:
    """Tell whether everything runs, or what does not."""
    feed = request.app[_FEED]
    problem = feed.catalog_error or ("" if feed.is_complete else "The runtime has not read the database yet.")
    not_ready = {report.workflow: report.problem for report in feed.reports() if not report.is_ready}
    status, body = health(problem, not_ready)
    return web.json_response(body, status=status, dumps=json_text)


async def _metrics(request: web.Request) -> web.Response:
    """Give the metrics as Prometheus text."""
    text = generate_latest(request.app[_REGISTRY])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _describe_api(_request: web.Request) -> web.Response:
    """Give the OpenAPI description of the inference address."""
    return web.json_response(INFERENCE_API, dumps=json_text)


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
