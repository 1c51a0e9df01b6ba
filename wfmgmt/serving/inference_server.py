"""The public side of the runtime, on the inference address."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST

from wfmgmt.control.messages import TrafficKind, WorkflowReport
from wfmgmt.domain.access import EVERYTHING, Caller, Role, Scope
from wfmgmt.errors import NodeNotFound, RegistryUnavailable, VersionNotFound, WfmgmtError, WorkflowNotFound
from wfmgmt.errors.access import CredentialsRefused, Forbidden, TooManyFailedLogins
from wfmgmt.errors.predictions import ModelNotFound, ModelVersionNotFound, RequestTooLarge
from wfmgmt.http.answers import (
    LIVENESS,
    NO_CACHE,
    NOT_READY_SHOWN,
    REQUEST_ID,
    health,
    json_body,
    readiness,
    sane_request_id,
)
from wfmgmt.serving.answers import DEFAULT_CONTENT_TYPE, TRACE_HEADER, VERSION_HEADER, joined, trace_text
from wfmgmt.serving.bodies import TRACE, encode_headers, read_fields
from wfmgmt.serving.inference_access import WORKFLOW, client_of
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_protocol import ID, OnAnswer, framework_error, json_answer, own_error
from wfmgmt.serving.models.base import NodeRequest
from wfmgmt.serving.openapi import INFERENCE_API
from wfmgmt.serving.predictions import Permit, Prediction
from wfmgmt.serving.runtime import Runtime
from wfmgmt.serving.workflows import Wanted

_RUNTIME = web.AppKey("runtime", Runtime)
_METRICS = web.AppKey("metrics", InferenceMetrics)
_DESCRIPTION = json_body(INFERENCE_API)
_VERSION_PATHS = ("/wfpredict/{name}/{version}", "/wfpredict/{name}/{version}/")
_NODE_VERSION_PATHS = ("/predictions/{model}/{version}", "/predictions/{model}/{version}/")
#: Keys of a request: what it holds until its answer is written, its version, the prediction whose trace is asked for.
_HELD = web.RequestKey("held", ExitStack)
_VERSION = web.RequestKey("version", str)
_TRACED = web.RequestKey("traced", Prediction)
#: Shorter answers fit into the buffers of the system, and are written without waiting for the client.
_WRITTEN_AT_ONCE = 64 * 1024
#: What aiohttp reads of a body ahead, at most: twice its limit.
_BUFFERED_BYTES = 2 * 64 * 1024
#: How long a client may take to receive an answer.
_WRITE_TIMEOUT_S = 60.0
#: Several leaves with longer answers are joined in a thread, so that others are served meanwhile.
_JOINED_AT_ONCE = 64 * 1024


def inference_app(runtime: Runtime, *, metrics: InferenceMetrics, on_answer: OnAnswer) -> web.Application:
    """Return the application that listens on the inference address.

    Args:
        runtime: Answers predictions.
        metrics: What `/metrics` gives.
        on_answer: Called with each answer that is sent from here; the protocol calls it with all others.
    """
    app = web.Application(middlewares=[_dress(on_answer)])
    app[_RUNTIME] = runtime
    app[_METRICS] = metrics
    for path in ("/wfpredict/{name}", "/wfpredict/{name}/", *_VERSION_PATHS):
        for method in ("GET", "POST", "PUT"):
            app.router.add_route(method, path, _predict, expect_handler=_expect)
    for path in ("/predictions/{model}", "/predictions/{model}/", *_NODE_VERSION_PATHS):
        for method in ("GET", "POST", "PUT"):
            app.router.add_route(method, path, _predict_node, expect_handler=_expect)
    for path in ("/ping", "/ping/"):
        app.router.add_get(path, _ping, expect_handler=_expect)
    for path in ("/readyz", "/readyz/"):
        app.router.add_get(path, _readyz, expect_handler=_expect)
    for path in ("/livez", "/livez/"):
        app.router.add_get(path, _livez, expect_handler=_expect)
    for path in ("/metrics", "/metrics/"):
        app.router.add_get(path, _metrics, expect_handler=_expect)
    for path in ("/api-description", "/api-description/"):
        app.router.add_get(path, _describe_api, expect_handler=_expect)
    app.router.add_route("OPTIONS", "/", _describe_api, expect_handler=_expect)
    return app


def _caller(request: web.Request) -> Caller:
    """Return who a request comes from.

    Raises:
        CredentialsRefused, TooManyFailedLogins, RegistryUnavailable: As `InferenceTokens.caller` says.
    """
    tokens = request.app[_RUNTIME].tokens
    return tokens.caller(request.headers.getall("Authorization", ()), partial(client_of, request))


def _usable(request: web.Request) -> Scope:
    """Return the workflows that exist for a client that predicts, which takes a token unless predictions need none.

    Raises:
        CredentialsRefused, TooManyFailedLogins, Forbidden: It may send no requests through workflows.
        RegistryUnavailable: The tokens could not be read yet.
    """
    tokens = request.app[_RUNTIME].tokens
    if tokens.has_open_predictions:
        return EVERYTHING
    caller = _caller(request)
    caller.check(Role.PREDICT)
    return caller.scope


async def _predict(request: web.Request) -> web.Response:
    """Have a version of a workflow answer."""
    return await _predict_by(request, _usable(request), request.match_info["name"])


async def _predict_node(request: web.Request) -> web.Response:
    """Have one node of a workflow answer, by the name that its model has in TorchServe."""
    scope, model = _usable(request), request.match_info["model"]
    found = request.app[_RUNTIME].catalog.node_called(model)
    if found is None:
        raise ModelNotFound(model)
    try:
        return await _predict_by(request, scope, *found)
    except (WorkflowNotFound, NodeNotFound):
        raise ModelNotFound(model) from None
    except VersionNotFound:
        raise ModelVersionNotFound(model, str(_named_version(request))) from None


def _named_version(request: web.Request) -> str | None:
    """Return the version that a request names; None when the release decides."""
    return request.match_info.get("version") or request.headers.get(VERSION_HEADER)


async def _predict_by(request: web.Request, scope: Scope, workflow: str, node: str | None = None) -> web.Response:
    """Have a version of a workflow answer, or one node of it, if the workflow exists for the client.

    Raises:
        NodeNotFound: The version has no such node.
        WfmgmtError: There is no answer; the text says why.
    """
    if workflow not in scope:
        raise WorkflowNotFound(workflow)
    runtime = request.app[_RUNTIME]
    catalog = runtime.catalog
    request_id = request[ID] = sane_request_id(request.headers.get(REQUEST_ID))
    request[WORKFLOW] = workflow
    wanted = Wanted(workflow, _named_version(request), request_id, request.headers)
    held = request[_HELD] = ExitStack()
    permit = held.enter_context(runtime.admission.admit())
    waited_s = 0.0 if catalog.can_answer(wanted) else await _wait_before_body(request, wanted, permit)
    fields = await read_fields(request, permit)
    version = catalog.serving(wanted)
    if version is None:
        waited_s = await catalog.wait_until_loaded(wanted, waited_s)
        version = catalog.find(wanted)
    if node is not None and not version.has_node(node):
        raise NodeNotFound(workflow, version.target.version, node)
    permit.begin()
    held.enter_context(version.accepting())
    request[_VERSION] = version.target.version
    first = NodeRequest(request_id=request_id, headers=encode_headers(request), fields=fields)
    if node is None and (mirrored := catalog.mirrored(wanted)) is not None:
        runtime.mirror.copy(first, mirrored)
    # What a node answers by itself says nothing about the release, so no guard looks at it.
    kind = wanted.kind if node is None else TrafficKind.PINNED
    prediction = Prediction(request=first, permit=permit, waited_s=waited_s, kind=kind, node=node)
    if request.query.get(TRACE) == "1":
        request[_TRACED] = prediction
    answers = await version.predict(prediction)
    if sum(len(each.content) for each in answers.values()) <= _JOINED_AT_ONCE or len(answers) == 1:
        answer = joined(answers)
    else:
        answer = await asyncio.to_thread(joined, answers)
        permit.reserve(len(answer.content))
    headers = {**answer.headers, "Content-Type": answer.content_type or DEFAULT_CONTENT_TYPE}
    return web.Response(body=answer.content, status=answer.status, headers=headers)


async def _wait_before_body(request: web.Request, wanted: Wanted, permit: Permit) -> float:
    """Wait until the version can answer and return for how long; a refusal comes before its body is read.

    What aiohttp reads of the body meanwhile counts as in flight.
    """
    length = request.content_length
    buffered = min(_BUFFERED_BYTES if length is None else length, _BUFFERED_BYTES) if request.body_exists else 0
    permit.reserve(buffered)
    try:
        return await request.app[_RUNTIME].catalog.wait_until_loaded(wanted)
    finally:
        permit.release(buffered)


async def _write(request: web.Request, answer: web.StreamResponse) -> None:
    """Send a long answer while its bytes still count, and close the connection of a client that does not take it."""
    try:
        async with asyncio.timeout(_WRITE_TIMEOUT_S):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Let a client go on that waits to send its body, and refuse any other expectation.

    aiohttp answers this before any middleware, so the answer gets its headers here.
    """
    limit_bytes = request.app[_RUNTIME].admission.limits.request_bytes
    if request.content_length is not None and request.content_length > limit_bytes:
        answer = own_error(RequestTooLarge(limit_bytes))
    elif request.headers["Expect"].strip().lower() == "100-continue":
        if request.version >= HttpVersion11:  # Older clients do not wait for it, nor know what it is.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # That was not yet the answer.
        return None
    else:
        raise web.HTTPExpectationFailed
    answer.headers.update({**NO_CACHE, REQUEST_ID: sane_request_id(request.headers.get(REQUEST_ID))})
    return answer


def _dress(on_answer: OnAnswer) -> Middleware:
    """Return the middleware that gives every answer its headers and every error its shape."""

    @web.middleware
    async def dress(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await _answer(request, handler)
            answer.headers.update(NO_CACHE)
            answer.headers[REQUEST_ID] = request.get(ID) or sane_request_id(request.headers.get(REQUEST_ID))
            if (version := request.get(_VERSION)) is not None:
                answer.headers[VERSION_HEADER] = version
            if (prediction := request.get(_TRACED)) is not None:
                answer.headers[TRACE_HEADER] = trace_text(prediction.traces)
            if _HELD in request and (answer.content_length or 0) > _WRITTEN_AT_ONCE:
                on_answer(request, answer)
                await _write(request, answer)
        finally:
            if (held := request.get(_HELD)) is not None:
                held.close()
        return answer

    return dress


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return what a handler answers, be it an error."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return framework_error(error)
    except WfmgmtError as error:
        return own_error(error)


async def _ping(request: web.Request) -> web.Response:
    """Answer whether everything runs, or what does not."""
    status_log = request.app[_RUNTIME].catalog.status_log
    not_ready = [report for report in status_log.reports() if report.is_missing]
    shown = {report.label: report.problem for report in _visible(request, not_ready)}
    status, body = health(status_log.problem, shown, len(not_ready))
    return json_answer(json_body(body), status)


def _visible(request: web.Request, reports: list[WorkflowReport]) -> Iterator[WorkflowReport]:
    """Yield the reports that a health check shows, which answers whatever the client shows: those that it may see."""
    try:
        caller = _caller(request)
    except (CredentialsRefused, TooManyFailedLogins, RegistryUnavailable):
        caller = Caller()
    return islice((report for report in reports if caller.sees(report.workflow)), NOT_READY_SHOWN)


async def _readyz(request: web.Request) -> web.Response:
    """Answer whether all that was ready is ready again, and what the start registers is there; or what is not."""
    catalog = request.app[_RUNTIME].catalog
    awaited = [report for report in catalog.status_log.reports() if report.is_awaited]
    shown = {report.label: report.awaited_for for report in _visible(request, awaited)}
    problem = "The server is stopping." if catalog.is_closing else catalog.status_log.problem
    problem = problem or request.app[_RUNTIME].start.problem
    status, body = readiness(problem, shown, len(awaited))
    return json_answer(json_body(body), status)


async def _livez(_request: web.Request) -> web.Response:
    """Answer that the process serves."""
    return json_answer(json_body(LIVENESS))


async def _metrics(request: web.Request) -> web.Response:
    """Give the metrics as Prometheus text."""
    tokens = request.app[_RUNTIME].tokens
    if not tokens.has_open_metrics:
        caller = _caller(request)
        caller.check(Role.VIEW)
        if caller.scope.patterns is not None:
            raise Forbidden(f"{caller.actor} is for {caller.scope} only, and metrics are about all workflows.")
    text = await request.app[_METRICS].text()
    held = request[_HELD] = ExitStack()  # All scrapers share the text, but each may leave it unread for a while.
    held.enter_context(request.app[_RUNTIME].admission.admit()).reserve(len(text))
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _describe_api(_request: web.Request) -> web.Response:
    """Give the OpenAPI description of the inference address."""
    return json_answer(_DESCRIPTION)
