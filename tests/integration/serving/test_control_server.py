"""The control socket as the management plane's client sees it, over a runtime that takes its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import ShuttingDown
from wfmgmt.serving import control_server
from wfmgmt.serving.process import listen_privately
from wfmgmt.serving.status_log import StatusLog
from wfmgmt.testing import in_event_loop

LOAD_REQUEST = LoadRequest(
    uid="u1", workflow="seq", archive_file="seq.war", archive_sha256="a" * 64, handler=None, startup_timeout_s=60,
    response_timeout_s=60, nodes=(), edges=(),
)  # fmt: skip
#: A client that hears nothing for so long takes the runtime for dead; work takes longer.
CALL_TIMEOUT_S, WORK_S = 1.0, 2.0


class SlowRuntime:
    """Catalog, loader and drift check of a runtime, as far as the control socket needs them.

    Attributes:
        loads: How often a load was asked for.
        repairs: How often the model servers were not only compared.
    """

    def __init__(self) -> None:
        self.status_log = StatusLog()
        self.loads = self.repairs = 0
        self._tasks: list[asyncio.Task[None]] = []

    def load(self, target: LoadRequest) -> None:
        """Begin to load."""
        self.loads += 1
        self._publish(target.uid, LoadState.LOADING)
        self._tasks.append(asyncio.create_task(self._load(target.uid)))

    async def _load(self, uid: str) -> None:
        await asyncio.sleep(WORK_S)
        self._publish(uid, LoadState.LOADED)

    def _publish(self, uid: str, state: LoadState) -> None:
        self.status_log.publish(WorkflowReport(uid=uid, workflow="seq", state=state))

    async def unload_within(self, uid: str, wait_s: float) -> None:
        """Unload, which takes longer than may be waited when that is short."""
        await asyncio.sleep(min(WORK_S, wait_s))
        if wait_s >= WORK_S:
            self.status_log.forget(uid)

    async def check(self, *, dry_run: bool) -> tuple[()]:
        """Compare the model servers, and find no difference."""
        await asyncio.sleep(WORK_S)
        self.repairs += not dry_run
        return ()

    def report(self, uid: str) -> WorkflowReport:
        """Return how a workflow is."""
        return self.status_log.report(uid) or WorkflowReport(uid=uid, workflow="", state=LoadState.ABSENT)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[SlowRuntime, RuntimeClient]]:
    """Serve the control socket, and give a client of it."""
    runtime = SlowRuntime()
    parts: Any = SimpleNamespace(catalog=runtime, loader=runtime, drift_check=runtime)
    runner = web.AppRunner(control_server.control_app(parts), handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listen_privately(folder / "s")).start()
    try:
        yield runtime, RuntimeClient(folder / "s", drain_timeout_s=5, call_timeout_s=CALL_TIMEOUT_S)
    finally:
        await runner.cleanup()


@pytest.fixture(name="often", autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_server, "SIGN_OF_LIFE_S", 0.1)


@in_event_loop
async def test_load_and_unload_are_one_call_each_however_long_they_take(tmp_path: Path) -> None:
    """The runtime says that it lives while it works, so nobody asks again."""
    async with serving(tmp_path) as (runtime, client):
        report = await asyncio.to_thread(client.load, LOAD_REQUEST, cancelled=lambda: False)
        assert (report.state, runtime.loads) == (LoadState.LOADED, 1)
        await asyncio.to_thread(client.unload, "u1")
        assert runtime.report("u1").state is LoadState.ABSENT


@in_event_loop
async def test_check_is_one_call_however_long_it_takes(tmp_path: Path) -> None:
    """Many servers take minutes; a dry run is known by its method."""
    async with serving(tmp_path) as (runtime, client):
        for dry_run, repairs in ((True, 0), (False, 1)):
            assert await asyncio.to_thread(client.check, dry_run=dry_run) == ([], True)
            assert runtime.repairs == repairs


@in_event_loop
async def test_load_goes_on_when_its_client_has_gone(tmp_path: Path) -> None:
    """A client that is cancelled leaves at once; what it began is its to undo."""
    async with serving(tmp_path) as (runtime, client):
        with pytest.raises(ShuttingDown):
            await asyncio.to_thread(client.load, LOAD_REQUEST, cancelled=lambda: runtime.loads > 0)
        assert runtime.report("u1").state is LoadState.LOADING
        while runtime.report("u1").state is LoadState.LOADING:
            await runtime.status_log.wait(1)
        assert runtime.report("u1").state is LoadState.LOADED
