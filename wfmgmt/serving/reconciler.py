"""The loop that keeps what is loaded in step with the registry."""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable

from wfmgmt.backoff import Backoff
from wfmgmt.control.load_state import LoadState
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.registry_view import RegistryView
from wfmgmt.serving.registry_watch import RegistryWatch
from wfmgmt.serving.waiting import wait_for_event

_log = logging.getLogger("wfmgmt.runtime")

#: How often it is looked whether the registry changed; a look that failed is repeated after growing pauses up to this.
LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S = 1.0, 5.0
#: Workflows that one look at the registry begins to load; the next look follows at once.
LOADS_PER_ROUND = 500


class Reconciler:
    """Loads what is `ready` in the registry, and takes down what is not there. For the event loop only.

    Registrations ask for a load before their row is `ready`, so a row of any status protects what is loaded.

    Args:
        registry: The registry.
        catalog: The workflows.
        loader: Loads them and takes them down.
        history: How loads went.
        prepare: Called before anything is loaded.
    """

    def __init__(
        self,
        *,
        registry: RegistryView,
        catalog: Catalog,
        loader: Loader,
        history: LoadHistory,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._loader = loader
        self._history = history
        self._prepare = prepare
        self._watch = RegistryWatch(registry, lambda: {*catalog.uids, *history.uids()})
        self._missing: set[str] = set()
        self._wanted = asyncio.Event()

    def on_registered(self, uid: str) -> None:
        """Have a workflow served whose registration is finished."""
        workflow = self._catalog.get(uid)
        if workflow is not None:
            self._loader.on_registered(workflow)
        else:
            self._wanted.set()  # This runtime was started after that workflow was loaded.

    def reconcile_now(self) -> None:
        """Compare with the whole registry now, and try failed loads again."""
        self._watch.compare_all()
        self._wanted.set()
        self._loader.retry_now()

    async def run(self) -> None:
        """Look for changes of the registry again and again.

        Raises:
            SettingsInvalid: No worker can ever be started.
        """
        await self._prepare()
        backoff = Backoff(LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S)
        while True:
            self._wanted.clear()
            pause_s = LOOK_INTERVAL_S
            try:
                await self._reconcile()
                self._catalog.status_log.record_catalog("")
                backoff.reset()
            except WfmgmtError as error:
                self._catalog.status_log.record_catalog(str(error))
                _log.warning("cannot read the workflows to load: %s", error)
                pause_s = backoff.next_pause()
            self._catalog.wake_all()
            await wait_for_event(self._wanted, pause_s)

    async def _reconcile(self) -> None:
        self._missing -= self._loader.unloaded
        self._loader.unloaded.clear()
        look = await self._watch.look()
        for uid in look.removed:
            await self._on_removed(uid)
        for uid, status in look.statuses.items():
            self._on_status(uid, status)
        self._catalog.is_behind = bool(self._missing)
        if self._missing:
            await self._load_missing()

    async def _on_removed(self, uid: str) -> None:
        self._missing.discard(uid)
        self._history.forget(uid)
        workflow = self._catalog.get(uid)
        if workflow is not None:
            if workflow.state is not LoadState.LEAVING:
                _log.info("unloading a workflow that is not registered", extra={"workflow": workflow.target.workflow})
            await self._loader.unload_within(uid, 0)

    def _on_status(self, uid: str, status: WorkflowStatus) -> None:
        workflow = self._catalog.get(uid)
        if status is not WorkflowStatus.READY:
            self._missing.discard(uid)
            if workflow is not None and status is WorkflowStatus.UNREGISTERING:
                workflow.leave()
        elif workflow is not None:
            self._loader.on_registered(workflow)
        elif uid not in self._loader.unloaded:
            self._missing.add(uid)

    async def _load_missing(self) -> None:
        """Begin to load the first of what is ready and not loaded, those that failed before last."""
        batch = heapq.nsmallest(LOADS_PER_ROUND, self._missing, key=lambda uid: (self._history.has_failed(uid), uid))
        targets = await asyncio.to_thread(self._registry.load_requests, batch)
        for target in sorted(targets, key=lambda each: (self._history.has_failed(each.uid), each.workflow)):
            self._loader.load_registered(target)
        self._missing.difference_update(batch)
        self._catalog.is_behind = bool(self._missing)
        if self._missing:
            self._wanted.set()
