"""The life of the runtime process: its sockets, its signals and its end."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from wfmgmt.control.connection import short_socket_path
from wfmgmt.domain.forwarding import Forwarding
from wfmgmt.domain.limits import LISTEN_BACKLOG
from wfmgmt.http.addresses import listening_url
from wfmgmt.http.browser_guard import BrowserGuard
from wfmgmt.serving.allocation import keep_freed_memory, trim_memory
from wfmgmt.serving.connections import ConnectionLimits, Connections
from wfmgmt.serving.control_server import control_app
from wfmgmt.serving.inference_guard import InferenceGuard
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_protocol import InferenceProtocol
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.request_heads import is_last
from wfmgmt.serving.runtime import Runtime

_log = logging.getLogger("wfmgmt.runtime")

RequestHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: How long answers under way may take once the runtime is stopping.
SHUTDOWN_TIMEOUT_S = 2.0
#: How long connections without a request stay open then, for requests that are on their way.
FAREWELL_S = 1.0
#: How often freed memory is given back to the system.
TRIM_INTERVAL_S = 20.0
#: Objects that are made before the youngest are looked through, and how many such rounds before older ones are.
_COLLECTOR_THRESHOLDS = (20_000, 10, 10)


async def serve(
    make_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
    *,
    control_socket: Path,
    inference_socket: socket.socket,
    lifeline: int | None,
    connection_limits: ConnectionLimits,
    guard: BrowserGuard,
    forwarding: Forwarding,
) -> None:
    """Run until SIGTERM arrives or the service that started the runtime is gone.

    Args:
        make_runtime: Gives the runtime inside the event loop, and ends what it started afterwards.
        control_socket: Where to listen for the management plane; its folder is private to our user.
        inference_socket: A socket that listens on the inference address already.
        lifeline: Read end of a pipe that the service holds open as long as it lives.
        connection_limits: What clients may keep open.
        guard: Decides which requests of browsers are refused.
        forwarding: Says which proxies are believed.

    Raises:
        SettingsInvalid: A module to preload cannot be imported.
    """
    stop = _stop_event(lifeline)
    _allow_many_descriptors()
    _use_memory_for_speed()
    async with make_runtime() as runtime:
        control = await _serve(control_app(runtime), web.RequestHandler, listen_privately(control_socket))
        await runtime.tokens.try_to_look()
        connections = Connections(_affordable(connection_limits))
        inference = await _serve_clients(runtime, inference_socket, connections, guard, forwarding)
        _log.info("runtime is up, inference at %s", listening_url(inference_socket.getsockname()))
        await _run_until(stop, *runtime.loops(), _keep_memory_trimmed())
        # New connections wait for the next runtime, if another process holds the socket for it; those that are open end
        # with an answer that says so, since a client that has just sent a request on one cannot know.
        inference.stop_listening()
        await connections.close_after_answers(FAREWELL_S)
        await runtime.catalog.drain()
        await asyncio.to_thread(control_socket.unlink, missing_ok=True)
        for serving in (control, inference):
            await serving.end()
    _log.info("runtime is down")


async def _run_until(stop: asyncio.Event, *loops: Coroutine[Any, Any, None]) -> None:
    """Run loops until the event is set. Only a wrong setting or an unforeseen error ends one before, and is raised."""
    running = [asyncio.create_task(each) for each in loops]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([*running, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        if task.done():
            task.result()
        task.cancel()


def _stop_event(lifeline: int | None) -> asyncio.Event:
    """Return an event that is set when the runtime is to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # A terminal sends SIGINT to all processes at once; the service decides when the runtime goes.
    loop.add_signal_handler(signal.SIGINT, lambda: None if lifeline is not None else stop.set())
    if lifeline is not None:
        loop.add_reader(lifeline, _check_lifeline, lifeline, stop)
    return stop


def _allow_many_descriptors() -> None:
    """Raise the soft limit to the hard one: each worker costs the runtime three descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _use_memory_for_speed() -> None:
    """Keep freed memory, and run the cycle collector less often: nearly everything is freed without it."""
    keep_freed_memory()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


async def _keep_memory_trimmed() -> None:
    """Give back what was freed now and then: seldom enough that requests find it meanwhile."""
    while True:
        await asyncio.sleep(TRIM_INTERVAL_S)
        trim_memory()


def _affordable(limits: ConnectionLimits) -> ConnectionLimits:
    """Leave half of the descriptors that this process may have to the workers."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=min(limits.connections, descriptors // 2))


@dataclass(frozen=True, slots=True)
class _Serving:
    """An application that is served on a socket."""

    listening: asyncio.Server
    runner: web.AppRunner

    def stop_listening(self) -> None:
        """Accept no more connections."""
        self.listening.close()

    async def end(self) -> None:
        """Stop serving, giving answers under way a moment."""
        self.stop_listening()
        await self.runner.cleanup()


async def _serve_clients(
    runtime: Runtime,
    sock: socket.socket,
    connections: Connections,
    browser_guard: BrowserGuard,
    forwarding: Forwarding,
) -> _Serving:
    """Serve the inference address."""
    metrics = InferenceMetrics(runtime)
    guard = InferenceGuard(browser_guard, forwarding=forwarding, count_refused=metrics.count_refused)

    def on_answer(request: web.BaseRequest, answer: web.StreamResponse) -> None:
        guard.add_headers(request, answer)
        if is_last(request):
            answer.force_close()
        metrics.count(request, answer.status)

    protocol = partial(InferenceProtocol, connections=connections, on_answer=on_answer)
    app = inference_app(runtime, metrics=metrics, on_answer=on_answer)
    return await _serve(app, protocol, sock, around=guard.around)


async def _serve(
    app: web.Application,
    protocol: Callable[..., web.RequestHandler],
    sock: socket.socket,
    around: Callable[[RequestHandler], RequestHandler] = lambda handler: handler,
) -> _Serving:
    """Serve an application on a socket."""
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_TIMEOUT_S, handle_signals=False, handler_cancellation=True)
    await runner.setup()
    server, loop = runner.server, asyncio.get_running_loop()
    if server is None:
        raise RuntimeError("the runner was not set up")
    server.request_handler = around(server.request_handler)
    # It listens again, with this backlog.
    listening = await loop.create_server(lambda: protocol(server, loop=loop), sock=sock, backlog=LISTEN_BACKLOG)
    return _Serving(listening, runner)


def _check_lifeline(lifeline: int, stop: asyncio.Event) -> None:
    if not os.read(lifeline, 1):
        asyncio.get_running_loop().remove_reader(lifeline)
        stop.set()


def listen_privately(path: Path) -> socket.socket:
    """Return a socket that listens at a path which only our user can reach, in place of a stale one."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_socket_path(path) as address:
            sock.bind(address)
        path.chmod(0o600)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    sock.settimeout(0)
    return sock
