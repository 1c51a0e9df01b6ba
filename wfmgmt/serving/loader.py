"""Loads that were asked for: which begins when, what happens after one that failed, and how they are ended."""

import asyncio
import logging
from collections.abc import Coroutine

from wfmgmt.backoff import Backoff
from wfmgmt.control.load_state import LoadState
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import FIRST_LANE, LAST_LANE, Lane, LoadHistory
from wfmgmt.serving.loading import LoadedWorkflow
from wfmgmt.serving.waiting import wait_for_event

_log = logging.getLogger("wfmgmt.runtime")

#: After a failed load, the wait before the next attempt doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 300.0
#: Failed loads of a workflow that worked before during which requests wait for it still.
PATIENT_RETRIES = 3
#: A slot is held for this long before a retry, which bounds what many failing workflows cost together.
RETRY_SPACING_S = 0.2


class Loader:
    """Loads the workflows of a catalog and takes them down, in the background. For the event loop only.

    Args:
        catalog: The workflows.
        history: How loads went.

    Attributes:
        unloaded: Registrations that were unloaded since the reconciler emptied it last.
    """

    def __init__(self, catalog: Catalog, history: LoadHistory) -> None:
        self.unloaded: set[str] = set()
        self._catalog = catalog
        self._history = history
        self._first_lane, self._last_lane = Lane(*FIRST_LANE), Lane(*LAST_LANE)
        self._retry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unloads: dict[str, asyncio.Task[None]] = {}

    def load(self, target: LoadRequest) -> None:
        """Begin to load a workflow for a registration; nothing happens when it is loaded or being loaded."""
        if self._catalog.get(target.uid) is None and not self._catalog.is_closing:
            self._spawn(self._replace_and_load(self._catalog.add(target)))

    async def _replace_and_load(self, workflow: LoadedWorkflow) -> None:
        for other in self._catalog:
            if other is not workflow and other.target.workflow == workflow.target.workflow:
                await self.unload(other.target.uid)  # The registry gave the name away, so that one is gone.
        await self._load(workflow)
        if workflow.state is LoadState.DOWN:  # It was registered meanwhile.
            await self._load_until_it_works(workflow)

    def on_registered(self, workflow: LoadedWorkflow) -> None:
        """Have a workflow served whose registration is finished.

        A registration is finished once its workflow came up. If the registry calls one ready that failed, as after a
        change by hand, it is loaded again and again until it works, as any other that is ready.
        """
        has_failed = workflow.state is LoadState.FAILED
        workflow.on_registered()
        if has_failed:
            self._spawn(self._load_until_it_works(workflow))

    def load_registered(self, target: LoadRequest) -> None:
        """Begin to load a workflow that is ready in the registry, again and again until it works.

        Nothing happens when it is loaded or being loaded, or was taken down a moment ago.
        """
        if self._catalog.get(target.uid) is None and target.uid not in self.unloaded:
            workflow = self._catalog.add(target)
            workflow.worked_before = workflow.is_hopeful = not self._history.has_failed(target.uid)
            workflow.on_registered()
            self._spawn(self._load_until_it_works(workflow))

    async def _load_until_it_works(self, workflow: LoadedWorkflow) -> None:
        """Load a workflow; while that fails, try again with growing pauses, after all others."""
        uid, backoff, failures = workflow.target.uid, Backoff(FIRST_RETRY_S, MAX_RETRY_S), 0
        while self._catalog.get(uid) is workflow:
            lane = self._first_lane
            if self._history.has_failed(uid):
                await self._first_lane.wait_until_idle()
                lane = self._last_lane
            async with lane.turn(self._history.hold_s(uid), lambda: self._history.record(uid, None)):
                if failures:
                    await asyncio.sleep(RETRY_SPACING_S)
                await self._load(workflow)
            if not workflow.state.has_failed:
                return
            failures += 1
            if failures >= PATIENT_RETRIES:
                workflow.is_hopeful = False
                self._catalog.wake(workflow.target.workflow)
            await wait_for_event(self._retry, backoff.next_pause())

    async def _load(self, workflow: LoadedWorkflow) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await workflow.load()
        if workflow.state.is_loaded or workflow.state.has_failed:
            took_s = round(clock() - began, 3) if workflow.state.is_loaded else None
            self._history.record(workflow.target.uid, took_s)

    def retry_now(self) -> None:
        """End the pauses after failed loads."""
        self._retry.set()
        self._retry = asyncio.Event()

    async def unload(self, uid: str) -> None:
        """Take a workflow down once what was accepted is answered; one that is not loaded is fine."""
        self.unloaded.add(uid)
        await self._catalog.unload(uid)

    async def unload_within(self, uid: str, wait_s: float) -> None:
        """Take a workflow down, returning after `wait_s` at the latest while it goes on in the background."""
        task = self._unloads.get(uid)
        if task is None:
            task = self._unloads[uid] = asyncio.ensure_future(self.unload(uid))
            task.add_done_callback(lambda _: self._unloads.pop(uid, None))
        await asyncio.wait([task], timeout=wait_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_finished)

    def _on_finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("loading broke off", exc_info=error)

    async def close(self) -> None:
        """End all loads that go on, and begin none any more."""
        self._catalog.is_closing = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
