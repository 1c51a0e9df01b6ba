"""The loop that keeps what is loaded, and the routing in force, in step with the registry."""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from wfmgmt.backoff import Backoff
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import ReachReport
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.registry_view import RegistryView
from wfmgmt.serving.registry_watch import RegistryWatch
from wfmgmt.serving.waiting import wait_for_event

_log = logging.getLogger("wfmgmt.runtime")

#: How often it is looked whether the registry changed; a look that failed is repeated after growing pauses up to this.
LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S = 1.0, 5.0
#: Versions that one look at the registry begins to load; the next look follows at once.
LOADS_PER_ROUND = 500
#: A version without a share stays up for so long after a request at least: the next one may be on its way.
MIN_STANDBY_S = 1.0


class Reconciler:
    """Carries each workflow from what is in force to what the registry says. For the event loop only.

    What a release names is loaded before its routing is put in force; what has lost its share stands by for a while and
    is parked then. Registrations ask for a load before their row is `ready`, so a row of any status protects what is
    loaded.

    Args:
        registry: The registry.
        catalog: The workflows.
        loader: Loads their versions and takes them down.
        history: How loads went.
        standby_s: How long a version without a share stays loaded after its last request.
        prepare: Called before anything is loaded.
    """

    def __init__(
        self,
        *,
        registry: RegistryView,
        catalog: Catalog,
        loader: Loader,
        history: LoadHistory,
        standby_s: float,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._loader = loader
        self._history = history
        self._standby_s = max(standby_s, MIN_STANDBY_S)
        self._prepare = prepare
        self._watch = RegistryWatch(registry, self._unread_uids)
        #: Versions of which it has to be read what to load.
        self._unread: set[str] = set()

    def _unread_uids(self) -> Collection[str]:
        """Return the registrations that are loaded without their workflow having been read."""
        return {version.target.uid for version in self._catalog if not self._catalog.is_known(version.target)}

    def on_registered(self, uid: str) -> None:
        """Have a version served whose registration is finished."""
        version = self._catalog.get(uid)
        if version is not None:
            self._loader.on_registered(version)
        self._catalog.look_wanted.set()  # There may be a release with it, or this runtime was started meanwhile.

    def reconcile_now(self) -> None:
        """Compare with the whole registry now, and try failed loads again."""
        self._watch.compare_all()
        self._catalog.look_wanted.set()
        self._loader.retry_now()

    async def reach(self, uid: str, revision: int, wait_s: float) -> ReachReport:
        """Look at a workflow now, and wait until a revision of it is in force, or something keeps it from that."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        self._catalog.look_wanted.set()
        while True:
            report = self._reached(uid, revision)
            left_s = deadline - clock()
            if report.reached or report.problem or left_s <= 0:
                return report
            await wait_for_event(self._catalog.progress, left_s)

    def _reached(self, uid: str, revision: int) -> ReachReport:
        workflow = self._catalog.workflow(uid)
        if workflow is None or workflow.target is None or workflow.target.revision < revision:
            return ReachReport(revision=0, reached=False, problem=self._catalog.status_log.catalog_error)
        return workflow.reached(revision)

    async def run(self) -> None:
        """Look for changes of the registry again and again.

        Raises:
            SettingsInvalid: No worker can ever be started.
        """
        await self._prepare()
        backoff = Backoff(LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S)
        while True:
            self._catalog.look_wanted.clear()
            pause_s = LOOK_INTERVAL_S
            try:
                if await self._reconcile():
                    self._catalog.status_log.record_catalog("")
                backoff.reset()
            except WfmgmtError as error:
                self._catalog.status_log.record_catalog(str(error))
                _log.warning("cannot read the workflows to load: %s", error)
                pause_s = backoff.next_pause()
            self._catalog.wake_all()
            self._catalog.signal()
            await wait_for_event(self._catalog.look_wanted, pause_s)

    async def _reconcile(self) -> bool:
        """Look at the registry once, and return whether nothing of it is left to be read."""
        self._unread -= self._loader.unloaded
        self._loader.unloaded.clear()
        added = self._catalog.added
        look = await self._watch.look()
        for uid in look.removed:
            await self._on_removed(uid, added)
        for target in look.targets:
            await self._on_target(target, added)
        self._take_calls()
        self._advance()
        self._catalog.is_behind = look.is_behind
        if self._unread:
            await self._read_versions()
            self._advance()
        self._park_idle()
        if look.is_behind or self._unread:
            self._catalog.look_wanted.set()
            return False
        if not self._catalog.status_log.is_complete:
            self._forget_unknown()
        return True

    async def _on_removed(self, uid: str, added: int) -> None:
        """Take down what is loaded of a workflow that is not registered any more."""
        workflow = self._catalog.workflow(uid)
        gone = {uid} if workflow is None else {uid, *workflow.registrations}
        self._catalog.drop(uid)
        await self._on_gone(gone, added)

    async def _on_gone(self, uids: Iterable[str], added: int) -> None:
        """Take down registrations that are gone, of those that were added before the registry was read."""
        for uid in uids:
            self._unread.discard(uid)
            self._history.forget(uid)
            version = self._catalog.get(uid)
            if version is not None and version.number <= added:
                if version.state is not LoadState.LEAVING:
                    _log.info("unloading a version that is not registered", extra={"workflow": version.target.workflow})
                await self._loader.unload_within(uid, 0)

    async def _on_target(self, target: WorkflowTarget, added: int) -> None:
        """Take what the registry says of a workflow."""
        if not target.versions and self._catalog.workflow(target.uid) is None and self._catalog.get(target.uid) is None:
            return  # Nothing of it is ready or loaded yet, as of very many that are being registered.
        before = self._catalog.workflow(target.uid)
        known = set() if before is None else set(before.registrations)
        workflow = self._catalog.follow(target)
        await self._on_gone(known.union(workflow.loaded).difference(target.statuses), added)
        workflow.forget(self._loader.unloaded)  # They were taken down while the registry was read.
        for version in list(workflow.versions.values()):
            self._on_status(version, target.statuses.get(version.target.uid))
        self._catalog.changed.add(workflow.name)

    def _on_status(self, version: LoadedVersion, status: WorkflowStatus | None) -> None:
        if status is WorkflowStatus.UNREGISTERING:
            version.leave()
        elif status is WorkflowStatus.READY and version.state is not LoadState.LEAVING:
            self._loader.on_registered(version)
            self._unread.add(version.target.uid)  # Settings of its nodes may have changed.

    def _take_calls(self) -> None:
        """Have parked versions loaded that requests wait for; one that is still being parked has to be gone first."""
        gone = {uid for uid in self._catalog.called_for if self._catalog.get(uid) is None}
        self._unread |= gone - self._loader.unloaded
        self._catalog.called_for -= gone

    def _advance(self) -> None:
        """Take each workflow about which something changed as far towards its target as what is loaded allows."""
        changed = filter(None, map(self._catalog.named, self._catalog.changed))
        self._catalog.changed = set()
        for workflow in changed:
            missing = {each for each in workflow.awaited.values() if self._catalog.get(each) is None}
            self._unread |= missing - self._loader.unloaded
            if not workflow.is_release_in_force and workflow.may_switch:
                self._catalog.route(workflow)
            if workflow.is_enforced and self._unread.isdisjoint(workflow.loaded):
                workflow.settle()

    async def _read_versions(self) -> None:
        """Read what the first versions of those that are unread consist of, and load them or follow their settings."""
        batch = heapq.nsmallest(LOADS_PER_ROUND, self._unread, key=lambda uid: (self._history.has_failed(uid), uid))
        requests = await asyncio.to_thread(self._registry.load_requests, batch)
        for request in sorted(requests, key=lambda each: (self._history.has_failed(each.uid), each.workflow)):
            version = self._catalog.get(request.uid)
            self._catalog.changed.add(request.workflow)
            workflow = self._catalog.named(request.workflow)
            if version is not None:
                target = None if workflow is None else workflow.target
                version.follow(request, 0 if target is None else target.revision)
            else:
                self._loader.load_registered(request)
        self._unread.difference_update(batch)

    def _forget_unknown(self) -> None:
        """Drop what is known of loads of versions that are gone, once everything was read."""
        known = {uid for workflow in self._catalog.followed for uid in workflow.registrations}
        for uid in set(self._history.uids()) - known - set(self._catalog.uids):
            self._history.forget(uid)

    def _park_idle(self) -> None:
        """Park versions that have had neither a share nor a request for a while."""
        now = asyncio.get_running_loop().time()
        for uid in list(self._catalog.standby):
            version = self._catalog.get(uid)
            if version is not None and version.may_be_parked and now - version.last_used >= self._standby_s:
                self._loader.park(uid)
