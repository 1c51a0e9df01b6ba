"""The public side of the runtime, on the inference address."""

import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.domain.wire import (
    FRAMEWORK_TYPES,
    NO_CACHE,
    NOT_READY_SHOWN,
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
_NOT_FOUND, _NOT_ALLOWED, _INTERNAL = 404, 405, 500
_log = logging.getLogger("wfmgmt.inference")


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
        app.router.add_get(path, _ping, expect_handler=_expect)
    for path in ("/metrics", "/metrics/"):
        app.router.add_get(path, _metrics, expect_handler=_expect)
    for path in ("/api-description", "/api-description/"):
        app.router.add_get(path, _describe_api, expect_handler=_expect)
    app.router.add_route("OPTIONS", "/", _describe_api, expect_handler=_expect)
    return app


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Let a client go on that waits to send its body, and refuse any other expectation.

    aiohttp answers this before any middleware, so the answer gets its headers here.
    """
    if request.headers["Expect"].strip().lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # That was not yet the answer.
        return None
    answer = _error(web.HTTPExpectationFailed())
    answer.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(request.headers.get(REQUEST_ID))})
    return answer


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


def _json(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, body=text.encode(), content_type="application/json")


def _error(error: web.HTTPException) -> web.Response:
    messages = {_NOT_FOUND: UNKNOWN_PATH, _NOT_ALLOWED: WRONG_METHOD}
    kind = FRAMEWORK_TYPES.get(error.status, "BadRequestException")
    answer = _json(error_body(error.status, kind, messages.get(error.status, f"{error.reason}.")), error.status)
    if "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    return answer


class InferenceProtocol(web.RequestHandler):
    """One connection to the inference address, which answers what is not HTTP as every other error."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that did not reach the application, or an error that it did not foresee."""
        del message  # It repeats parts of the request.
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already") from exc
        if status == _INTERNAL:
            _log.error("unforeseen error", exc_info=exc)
            text = "Internal server error."
        else:
            text = "The request is not valid HTTP."
        answer = _json(error_body(status, FRAMEWORK_TYPES.get(status, "BadRequestException"), text), status)
        answer.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(None)})
        answer.force_close()
        return answer


async def _ping(request: web.Request) -> web.Response:
    """Tell whether everything runs, or what does not."""
    feed = request.app[_FEED]
    problem = feed.catalog_error or ("" if feed.is_complete else "The runtime has not read the database yet.")
    not_ready = [report for report in feed.reports() if report.is_missing]
    shown = {report.workflow: report.problem for report in not_ready[:NOT_READY_SHOWN]}
    status, body = health(problem, shown, len(not_ready))
    return _json(json_text(body), status)


async def _metrics(request: web.Request) -> web.Response:
    """Give the metrics as Prometheus text."""
    text = generate_latest(request.app[_REGISTRY])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _describe_api(_request: web.Request) -> web.Response:
    """Give the OpenAPI description of the inference address."""
    return _json(json_text(INFERENCE_API))


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
