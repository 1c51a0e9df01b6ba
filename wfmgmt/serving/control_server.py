"""The private side of the runtime, where the management plane has workflows loaded and unloaded."""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from wfmgmt.control.messages import DriftReport, FiguresReport, TrafficReport, decode, encode
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.memory import collect_and_measure
from wfmgmt.serving.models.base import DriftKind
from wfmgmt.serving.runtime import Runtime

_log = logging.getLogger("wfmgmt.runtime")

#: Process, user and group, as SO_PEERCRED has them.
_CREDENTIALS = struct.Struct("iII")
_RUNTIME = web.AppKey("runtime", Runtime)
_MAX_LOAD_REQUEST_BYTES = 64 * 1024 * 1024
_MAX_WAIT_S = 1_000_000.0
#: How often a client that waits hears that the runtime still works on it.
SIGN_OF_LIFE_S = 1.0
_INTERIM_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"


def control_app(runtime: Runtime) -> web.Application:
    """Return the application that listens on the control socket."""
    app = web.Application(client_max_size=_MAX_LOAD_REQUEST_BYTES, middlewares=[_refuse_other_users])
    app[_RUNTIME] = runtime
    app.router.add_put("/workflows/{uid}", _load)
    app.router.add_get("/workflows/{uid}", _report)
    app.router.add_delete("/workflows/{uid}", _unload)
    app.router.add_post("/workflows/{uid}/registered", _on_registered)
    app.router.add_post("/workflows/{uid}/reach", _reach)
    app.router.add_get("/workflows/{uid}/figures", _figures)
    app.router.add_post("/traffic", _traffic)
    app.router.add_get("/log", _log_lines)
    app.router.add_get("/status", _status)
    app.router.add_post("/reconcile_now", _reconcile_now)
    app.router.add_get("/check", _check)
    app.router.add_post("/check", _check)
    app.router.add_post("/collect", _collect)
    return app


@web.middleware
async def _refuse_other_users(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve processes of our own user, and root's; the socket's mode keeps all others out unless it is changed."""
    uid = _peer_uid(request)
    if uid is not None and uid not in {os.geteuid(), 0}:
        _log.warning("refused user %d on the control socket", uid)
        raise web.HTTPForbidden(text="The control socket serves the user of the service only.")
    return await handler(request)


def _peer_uid(request: web.Request) -> int | None:
    """Return the user whose process connected, None when it has gone already."""
    sock = request.get_extra_info("socket")
    if sock is None:
        return None
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _message(message: object) -> web.Response:
    return web.Response(body=encode(message), content_type="application/json")


def _wait_s(request: web.Request) -> float:
    try:
        return min(max(float(request.query.get("wait_s", "0")), 0.0), _MAX_WAIT_S)
    except ValueError as error:
        raise web.HTTPBadRequest(text="wait_s: expected a number") from error


def _number(request: web.Request, name: str) -> int:
    try:
        return int(request.query.get(name, "0"))
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"{name}: expected a whole number") from error


@asynccontextmanager
async def _signs_of_life(request: web.Request) -> AsyncIterator[None]:
    """Send interim responses, which a client passes over, until the block ends; without them it takes us for dead."""

    async def send() -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            if request.transport is None:
                return  # The client has gone.
            request.transport.write(_INTERIM_RESPONSE)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()


async def _load(request: web.Request) -> web.Response:
    """Load what the body describes, and report on it when that is done or `wait_s` is over; a repetition only waits."""
    try:
        target = decode(LoadRequest, await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not a load request: {error}") from error
    runtime = request.app[_RUNTIME]
    catalog = runtime.catalog
    runtime.loader.load(target)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _wait_s(request)
    async with _signs_of_life(request):
        while not catalog.report(target.uid).state.is_final and (left_s := deadline - loop.time()) > 0:
            await catalog.status_log.wait(left_s)
    return _message(catalog.report(target.uid))


async def _report(request: web.Request) -> web.Response:
    """Report on a workflow."""
    return _message(request.app[_RUNTIME].catalog.report(request.match_info["uid"]))


async def _on_registered(request: web.Request) -> web.Response:
    """Record that the database has a workflow as ready, so that clients may know of it at once."""
    request.app[_RUNTIME].reconciler.on_registered(request.match_info["uid"])
    return web.Response()


async def _reach(request: web.Request) -> web.Response:
    """Report on a workflow once a revision of it is in force, or cannot be, or `wait_s` is over."""
    reconciler, uid = request.app[_RUNTIME].reconciler, request.match_info["uid"]
    async with _signs_of_life(request):
        report = await reconciler.reach(uid, _number(request, "revision"), _wait_s(request))
    return _message(report)


async def _figures(request: web.Request) -> web.Response:
    """Report what is measured of a workflow."""
    runtime = request.app[_RUNTIME]
    uid = request.match_info["uid"]
    # The identity of a workflow is that of its first version, which may be newer than what was read of the registry.
    first = runtime.catalog.get(uid)
    workflow = runtime.catalog.workflow(uid) if first is None else runtime.catalog.named(first.target.workflow)
    if workflow is None:
        return _message(FiguresReport(revision=0, release=None))
    return _message(workflow.figures(await runtime.usages.read(workflow.workers)))


async def _traffic(request: web.Request) -> web.Response:
    """Report how many requests the workflows had whose identities are in the body."""
    try:
        uids = decode(list[str], await request.read())
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"not a list of identities: {error}") from error
    catalog, now = request.app[_RUNTIME].catalog, asyncio.get_running_loop().time()
    found = {uid: workflow for uid in uids if (workflow := catalog.workflow(uid)) is not None}
    return _message(TrafficReport(workflows={uid: workflow.served(now) for uid, workflow in found.items()}))


async def _log_lines(request: web.Request) -> web.Response:
    """Report the last lines of the log about a version of a workflow, or about one node of it."""
    query = request.query
    node_logs = request.app[_RUNTIME].node_logs
    workflow, version, node = query.get("workflow", ""), query.get("version", ""), query.get("node")
    lines, per_node = max(_number(request, "lines"), 0), max(_number(request, "per_node"), 0) or None
    return _message(node_logs.report(workflow, version, node, lines, per_node=per_node))


async def _unload(request: web.Request) -> web.Response:
    """Take a workflow down, answering after `wait_s` at the latest; it goes on in the background."""
    runtime, uid = request.app[_RUNTIME], request.match_info["uid"]
    async with _signs_of_life(request):
        await runtime.loader.unload_within(uid, _wait_s(request))
    return _message(runtime.catalog.report(uid))


async def _status(request: web.Request) -> web.Response:
    """Report what changed since the client's last request."""
    since = _number(request, "since")
    status_log = request.app[_RUNTIME].catalog.status_log
    changes = await status_log.changes(epoch=request.query.get("epoch", ""), since=since, wait_s=_wait_s(request))
    return _message(changes)


async def _reconcile_now(request: web.Request) -> web.Response:
    """Compare the loaded workflows with the database now, and attempt failed loads again at once."""
    request.app[_RUNTIME].reconciler.reconcile_now()
    return web.Response()


async def _check(request: web.Request) -> web.Response:
    """Compare the model servers with what they should hold, and report the differences; a POST also repairs them."""
    dry_run = request.method != "POST"
    try:
        async with _signs_of_life(request):
            drifts = await request.app[_RUNTIME].drift_check.check(dry_run=dry_run)
    except WfmgmtError as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from error
    failed = [drift for drift in drifts if drift.kind is DriftKind.UNKNOWN or not (drift.is_repaired or dry_run)]
    return _message(DriftReport(drifts=tuple(map(str, drifts)), is_in_step=not failed))


async def _collect(_request: web.Request) -> web.Response:
    """Run the cycle collector now, and report what the memory is used for: to find a leak."""
    return _message(collect_and_measure())
