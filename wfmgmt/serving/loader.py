"""Loads that were asked for: which begins when, what happens after one that failed, and how they are ended."""

import asyncio
import logging
from collections.abc import Coroutine

from wfmgmt.backoff import Backoff
from wfmgmt.control.load_state import LoadState
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import FIRST_LANE, LAST_LANE, Lane, LoadHistory
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.waiting import wait_for_event

_log = logging.getLogger("wfmgmt.runtime")

#: After a failed load, the wait before the next attempt doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 300.0
#: Failed loads of a workflow that worked before during which requests wait for it still.
PATIENT_RETRIES = 3
#: A slot is held for this long before a retry, which bounds what many failing workflows cost together.
RETRY_SPACING_S = 0.2


class Loader:
    """Loads the versions of a catalog and takes them down, in the background. For the event loop only.

    Args:
        catalog: The versions.
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
        """Begin to load a version for a registration or a release.

        Nothing happens when it is loaded or being loaded. A load of a version that is ready in the registry and failed
        is tried again at once.
        """
        version = self._catalog.get(target.uid)
        if version is not None and version.state is LoadState.DOWN:
            version.retry()
            self.retry_now()
        elif version is None and self._catalog.is_known(target):
            self.load_registered(target)
        elif version is None and not self._catalog.is_closing:
            self._spawn(self._replace_and_load(self._catalog.add(target)))

    async def _replace_and_load(self, version: LoadedVersion) -> None:
        for other in self._catalog:
            if other is not version and _name(other) == _name(version):
                await self.unload(other.target.uid)  # The registry gave the name away, so that one is gone.
        await self._load(version)
        if version.state is LoadState.DOWN:  # It was registered meanwhile.
            await self._load_until_it_works(version)

    def on_registered(self, version: LoadedVersion) -> None:
        """Have a version served whose registration is finished.

        A registration is finished once its version came up. If the registry calls one ready that failed, as after a
        change by hand, it is loaded again and again until it works, as any other that is ready.
        """
        has_failed = version.state is LoadState.FAILED
        self._catalog.on_registered(version)
        if has_failed:
            self._spawn(self._load_until_it_works(version))

    def load_registered(self, target: LoadRequest) -> None:
        """Begin to load a version that is ready in the registry, again and again until it works.

        Nothing happens when it is loaded or being loaded, or was taken down for good a moment ago.
        """
        if self._catalog.get(target.uid) is None and target.uid not in self.unloaded:
            version = self._catalog.add(target)
            version.worked_before = version.is_hopeful = not self._history.has_failed(target.uid)
            self._catalog.on_registered(version)
            self._spawn(self._load_until_it_works(version))

    async def _load_until_it_works(self, version: LoadedVersion) -> None:
        """Load a version; while that fails, try again with growing pauses, after all others."""
        uid, backoff, failures = version.target.uid, Backoff(FIRST_RETRY_S, MAX_RETRY_S), 0
        while self._catalog.get(uid) is version:
            lane = self._first_lane
            if self._history.has_failed(uid):
                await self._first_lane.wait_until_idle()
                lane = self._last_lane
            async with lane.turn(self._history.hold_s(uid), lambda: self._history.record(uid, None)):
                if failures:
                    await asyncio.sleep(RETRY_SPACING_S)
                await self._load(version)
            if not version.state.has_failed:
                return
            failures += 1
            if failures >= PATIENT_RETRIES:
                version.is_hopeful = False
                self._catalog.wake(version.target.workflow)
            await wait_for_event(self._retry, backoff.next_pause())

    async def _load(self, version: LoadedVersion) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await version.load()
        if version.state.is_loaded or version.state.has_failed:
            took_s = round(clock() - began, 3) if version.state.is_loaded else None
            self._history.record(version.target.uid, took_s)

    def retry_now(self) -> None:
        """End the pauses after failed loads."""
        self._retry.set()
        self._retry = asyncio.Event()

    async def unload(self, uid: str) -> None:
        """Take a version down for good once what was accepted is answered; one that is not loaded is fine."""
        self.unloaded.add(uid)
        await self._catalog.unload(uid)

    def park(self, uid: str) -> None:
        """Begin to take a version down that is to be loaded again when it is asked for."""
        self._spawn(self._catalog.park(uid))

    async def unload_within(self, uid: str, wait_s: float) -> None:
        """Take a version down, returning after `wait_s` at the latest while it goes on in the background."""
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


def _name(version: LoadedVersion) -> tuple[str, str]:
    return version.target.workflow, version.target.version
