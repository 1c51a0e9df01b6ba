"""What requests that end badly leave behind: nothing, even if nobody looks for unreachable objects."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.factories import make_mar
from tests.support.model_servers import digest, until
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.runtime_factory import create_runtime
from wfmgmt.serving.connections import ConnectionLimits, Connections
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_protocol import InferenceProtocol
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.models.local.channel import Channel
from wfmgmt.serving.models.local.worker_process import WorkerProcess
from wfmgmt.serving.runtime import Runtime
from wfmgmt.settings import Settings
from wfmgmt.testing import in_event_loop

BODY_BYTES = 1_000_000
ROUNDS = 10
#: Does what the body begins with, in the node `a` beside the node `b`.
SOURCE = """\
import os, time
class PredictionException(Exception):
    def __init__(self, message, error_code):
        super().__init__(message)
        self.message, self.error_code = message, error_code
def handle(data, context):
    if data is None:
        return None
    for row in data:
        word = bytes(row["body"][:8]).strip()
        if context.model_name.endswith("__a"):
            if word == b"raise":
                raise ValueError("no")
            if word == b"refuse":
                raise PredictionException("no", 422)
            if word == b"exit":
                os._exit(3)
            if word == b"hang":
                time.sleep(60)
            if word == b"nap":
                time.sleep(1.5)
    return [row["body"] for row in data]
"""
GRAPH = {"pre": ["a", "b"], "a": [], "b": []}


def make_load_request(store: Path, name: str, *, response_timeout_s: int) -> LoadRequest:
    """Return a workflow that branches, and write its archive."""
    archive = make_mar(store, name="m", source=SOURCE)
    settings = NodeSettings(retry_attempts=0, timeout_ms=2000)
    return LoadRequest(
        uid=name,
        workflow=name,
        archive_file="w.war",
        archive_sha256="",
        handler=None,
        startup_timeout_s=60,
        response_timeout_s=response_timeout_s,
        nodes=tuple(
            Node(
                name=node,
                kind=NodeKind.MODEL,
                model_file=archive.name,
                model_sha256=digest(archive),
                settings=settings,
            )
            for node in GRAPH
        ),
        edges=tuple((source, target) for source, targets in GRAPH.items() for target in targets),
    )


Ask = Callable[[str, bytes], Awaitable[int | None]]


def is_loaded(runtime: Runtime, name: str) -> bool:
    """Return whether a workflow is up."""
    return runtime.catalog.report(name).state.is_loaded


@asynccontextmanager
async def serving(instance: Path) -> AsyncIterator[Ask]:
    """Serve the workflows `w` and, with a second to answer, `hasty`; give what asks them and returns the status."""
    settings = Settings.load({}, instance=instance)
    for folder in (settings.model_store, settings.workflow_store, settings.run_folder):
        folder.mkdir(parents=True)
    async with create_runtime(settings) as runtime:
        for name, response_timeout_s in (("w", 60), ("hasty", 1)):
            target = make_load_request(settings.model_store, name, response_timeout_s=response_timeout_s)
            runtime.loader.load(target)
            await until(partial(is_loaded, runtime, name), timeout_s=60)
            runtime.reconciler.on_registered(name)
        runtime.catalog.status_log.record_catalog("")
        app = inference_app(
            runtime,
            metrics=InferenceMetrics(runtime),
            on_answer=lambda *_: None,
        )
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        assert runner.server is not None
        protocol = partial(
            InferenceProtocol,
            runner.server,
            connections=Connections(ConnectionLimits()),
            on_answer=lambda *_: None,
            loop=asyncio.get_running_loop(),
        )
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()[:2]
        async with aiohttp.ClientSession() as client:

            async def ask(name: str, body: bytes) -> int | None:
                with suppress(TimeoutError):
                    timeout = aiohttp.ClientTimeout(total=0.2 if body.startswith(b"nap") and name == "w" else 60)
                    url = f"http://{host}:{port}/wfpredict/{name}"
                    async with client.post(url, data=body, timeout=timeout) as answer:
                        await answer.read()
                        return answer.status
                return None

            yield ask
        server.close()
        await runner.cleanup()


@pytest.fixture(name="_traced")
def _traced() -> Iterator[None]:
    """Count memory, and look for no unreachable objects."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize(
    ("name", "word", "status"),
    [
        ("w", b"raise   ", 500),
        ("w", b"refuse  ", 422),
        ("w", b"exit    ", 500),
        ("w", b"hang    ", 500),
        ("hasty", b"nap     ", 504),
        ("w", b"nap     ", None),
        ("w", b"fine    ", 200),
        ("nosuch", b"        ", 404),
    ],
    ids=["failed", "refused", "worker exited", "worker hung", "timed out", "cancelled", "answered", "unknown"],
)
@in_event_loop
async def test_requests_leave_nothing_behind(tmp_path: Path, name: str, word: bytes, status: int | None) -> None:
    """No body, or part of an answer, is held by the leftovers of its request, its branches, or its worker."""
    body = word + bytes(BODY_BYTES)
    async with serving(tmp_path / "instance") as ask:
        rounds = 3 if word.startswith(b"hang") else ROUNDS
        assert {await ask(name, body) for _ in range(3)} <= {status, 503}
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(rounds):
            assert await ask(name, body) in (status, 503)
        # Two bodies may be on their way still; a leftover of each request would be many.
        await until(lambda: tracemalloc.get_traced_memory()[0] < before + 2 * BODY_BYTES, what="free memory")


def living_workers() -> int:
    """Return how many workers' objects there are, those included that nothing but each other refers to."""
    return sum(isinstance(each, WorkerProcess | Channel) for each in gc.get_objects())


@pytest.mark.usefixtures("_traced")
@in_event_loop
async def test_workers_that_died_leave_nothing_behind(tmp_path: Path) -> None:
    """Whether they were at work or idle, their objects are gone when they are, with buffers and descriptors."""
    async with serving(tmp_path / "instance") as ask:
        assert await ask("w", b"fine    ") == 200
        before = living_workers()
        for _ in range(5):
            assert await ask("w", b"exit    ") in (500, 503)
        await until(lambda: living_workers() <= before, timeout_s=30, what="their end")
