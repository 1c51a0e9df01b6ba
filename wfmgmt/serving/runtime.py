"""The runtime: which workflows are loaded, and the loop that keeps them in step with the database."""

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from wfmgmt.backoff import Backoff
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import LoadRequest, NodeKind
from wfmgmt.errors import ShuttingDown, WfmgmtError, WorkflowNotFound, WorkflowNotReady
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.load_order import FIRST_LANE, LAST_LANE, Lane, LoadHistory
from wfmgmt.serving.loading import LoadedWorkflow
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.base import Drift
from wfmgmt.serving.models.protocol import ModelServer
from wfmgmt.serving.predictions import AdmissionControl, PredictionLimits
from wfmgmt.serving.registry_watch import RegistryWatch
from wfmgmt.serving.status_log import StatusLog
from wfmgmt.serving.waiting import WaitingRequests

_log = logging.getLogger("wfmgmt.runtime")

#: How often it is looked whether the registry changed; a look that failed is repeated after growing pauses up to this.
LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S = 1.0, 5.0
#: After a failed load, the wait before the next try doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 300.0
#: Failed loads of a workflow that worked before during which requests wait for it still.
PATIENT_RETRIES = 3
#: A slot is held for this long before a retry, which bounds what many failing workflows cost together.
RETRY_SPACING_S = 0.2
#: Workflows that one look at the registry begins to load; the next look follows at once.
LOADS_PER_ROUND = 500
#: How long a request may wait for the database to be read: until then nobody knows the time that its workflow has.
UNREAD_WAIT_S = 30.0
#: Differences of model servers that are kept while they cannot be recorded; all of them are in the log.
UNRECORDED = 10_000


class Runtime:
    """All loaded workflows. For the event loop only.

    What runs is derived from the database: workflows that are `ready` there get loaded, those that are not there get
    unloaded. Registrations ask for a load before their row is `ready`, so a row of any status protects what is loaded.

    Args:
        servers: Where nodes of each kind run.
        catalog: The database's view.
        workflow_store: Folder of the .war files.
        model_store: Folder of the .mar files.
        measurements: Where to count what happens at the nodes.
        limits: How much is taken on at a time.
        check_interval_s: How often model servers are compared with what they should hold; None for once, at start.
        prepare: Called before anything is loaded from the database.
        history: How loads went.

    Attributes:
        feed: How the workflows are.
        measurements: What happens at their nodes.
        admission: The requests that are under way.
        is_closing: Whether it is stopping.
    """

    def __init__(
        self,
        *,
        servers: Mapping[NodeKind, ModelServer],
        catalog: Catalog,
        workflow_store: Path,
        model_store: Path,
        measurements: Measurements,
        limits: PredictionLimits,
        check_interval_s: float | None,
        prepare: Callable[[], Awaitable[None]],
        history: LoadHistory,
    ) -> None:
        self.feed = StatusLog()
        self.measurements = measurements
        self.admission = AdmissionControl(limits)
        self._waiting = WaitingRequests(limits.queue_size)
        self._prepare = prepare
        self._servers = servers
        self._models = servers[NodeKind.MODEL]
        self._catalog = catalog
        self._workflow_store = workflow_store
        self._model_store = model_store
        self._workflows: dict[str, LoadedWorkflow] = {}
        self._by_name: dict[str, LoadedWorkflow] = {}
        self._watch = RegistryWatch(catalog, lambda: {*self._workflows, *history.uids()})
        self._missing: set[str] = set()
        self._unloaded_meanwhile: set[str] = set()
        self._unloads: dict[str, asyncio.Task[None]] = {}
        self._history = history
        self._first_lane, self._last_lane = Lane(*FIRST_LANE), Lane(*LAST_LANE)
        self._reconcile_wanted = asyncio.Event()
        self._retry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_closing = False
        self._check_interval_s = check_interval_s
        self._checking = asyncio.Lock()
        self._standing: set[tuple[str, str, str]] = set()
        self._unrecorded: deque[Drift] = deque(maxlen=UNRECORDED)

    def report(self, uid: str) -> WorkflowReport:
        """Return how a workflow is; its state is `absent` when it is not loaded."""
        return self.feed.report(uid) or WorkflowReport(uid=uid, workflow="", state=LoadState.ABSENT)

    def find(self, name: str) -> LoadedWorkflow:
        """Return the workflow that a client means.

        Raises:
            WorkflowNotFound: None of that name is registered.
            WorkflowNotReady: It is registered, or may be, but cannot answer now.
            ShuttingDown: The runtime is stopping.
        """
        if self.is_closing:
            raise ShuttingDown("The server is stopping.")
        workflow = self._by_name.get(name)
        if workflow is None or not workflow.state.is_registered:
            if self._missing or not self.feed.is_complete:
                raise WorkflowNotReady(
                    self.feed.catalog_error or "The runtime has not read the database yet; try again later."
                )
            raise WorkflowNotFound(name)
        if workflow.state is LoadState.SERVING:
            return workflow
        if workflow.state is LoadState.RESTORING:
            raise WorkflowNotReady(f"Workflow {name} is being loaded; try again later.")
        raise WorkflowNotReady(f"Workflow {name} is not loaded: {workflow.report().problem}")

    def can_answer(self, name: str) -> bool:
        """Return whether `find` finds a workflow now."""
        workflow = self._by_name.get(name)
        return workflow is not None and workflow.state is LoadState.SERVING

    async def wait_until_loaded(self, name: str, waited_s: float = 0.0) -> float:
        """Wait for a workflow that is still being loaded, or may be; `find` finds it then.

        Returns:
            For how long the request has waited in all, with `waited_s` from before: a part of its `response_timeout`.

        Raises:
            WorkflowNotReady: The time is over, or waiting longer is not likely to help.
            TooManyRequests: Too many wait for it already.
            WfmgmtError: As for `find`.
        """
        clock = asyncio.get_running_loop().time
        since = clock() - waited_s
        with self._waiting.admit(name):
            while True:
                try:
                    self.find(name)
                except WorkflowNotReady:
                    left_s = since + self._patience_s(name) - clock()
                    if left_s <= 0:
                        raise
                else:
                    return clock() - since
                await self._waiting.wait(name, left_s)

    def _patience_s(self, name: str) -> float:
        """Return for how long a request may wait for a workflow that cannot answer now."""
        workflow = self._by_name.get(name)
        if workflow is None or not workflow.state.is_registered:
            return UNREAD_WAIT_S
        is_coming = workflow.state is LoadState.RESTORING or workflow.is_hopeful
        return workflow.target.response_timeout_s if is_coming else 0.0

    def on_registered(self, uid: str) -> None:
        """Take note that a registration is finished: clients may know of the workflow."""
        workflow = self._workflows.get(uid)
        if workflow is not None:
            workflow.on_registered()
        else:
            self._reconcile_wanted.set()  # This runtime was started after that workflow was loaded.

    def start_load(self, target: LoadRequest) -> None:
        """Begin to load a workflow for a registration; nothing happens when it is loaded or being loaded."""
        if target.uid not in self._workflows and not self.is_closing:
            self._spawn(self._replace_and_load(self._add(target)))

    async def _replace_and_load(self, workflow: LoadedWorkflow) -> None:
        for other in list(self._workflows.values()):
            if other is not workflow and other.target.workflow == workflow.target.workflow:
                await self.unload(other.target.uid)  # The database gave the name away, so that one is gone.
        await self._load(workflow)

    def _add(self, target: LoadRequest) -> LoadedWorkflow:
        workflow = LoadedWorkflow(
            target,
            servers=self._servers,
            workflow_store=self._workflow_store,
            model_store=self._model_store,
            measurements=self.measurements,
            publish=self._publish,
        )
        self._workflows[target.uid] = self._by_name[target.workflow] = workflow
        workflow.publish()
        return workflow

    def _publish(self, report: WorkflowReport) -> None:
        self.feed.publish(report)
        self._waiting.wake(report.workflow)

    async def unload(self, uid: str) -> None:
        """Take a workflow down once what was accepted is answered; one that is not loaded is fine."""
        self._unloaded_meanwhile.add(uid)
        self._missing.discard(uid)
        workflow = self._workflows.get(uid)
        if workflow is not None:
            await workflow.unload(self.admission.limits.drain_timeout_s)
            self._workflows.pop(uid, None)
            if self._by_name.get(workflow.target.workflow) is workflow:
                del self._by_name[workflow.target.workflow]
            self._waiting.wake(workflow.target.workflow)
        self.feed.forget(uid)

    async def unload_within(self, uid: str, wait_s: float) -> None:
        """Take a workflow down, returning after `wait_s` at the latest while it goes on in the background."""
        task = self._unloads.get(uid)
        if task is None:
            task = self._unloads[uid] = asyncio.ensure_future(self.unload(uid))
            task.add_done_callback(lambda _: self._unloads.pop(uid, None))
        await asyncio.wait([task], timeout=wait_s)

    def reconcile_now(self) -> None:
        """Compare with the whole registry now, and try failed loads again."""
        self._watch.compare_all()
        self._reconcile_wanted.set()
        self._retry.set()
        self._retry = asyncio.Event()

    async def keep_in_step(self) -> None:
        """Keep the loaded workflows in step with the registry.

        Raises:
            SettingsInvalid: No worker can ever be started.
        """
        self._spawn(self._history.keep_saved())
        await self._prepare()
        backoff = Backoff(LOOK_INTERVAL_S, MAX_LOOK_PAUSE_S)
        while True:
            self._reconcile_wanted.clear()
            pause_s = LOOK_INTERVAL_S
            try:
                await self._reconcile()
                self.feed.record_catalog("")
                backoff.reset()
            except WfmgmtError as error:
                self.feed.record_catalog(str(error))
                _log.warning("cannot read the workflows to load: %s", error)
                pause_s = backoff.next_pause()
            self._waiting.wake_all()
            await _wait(self._reconcile_wanted, pause_s)

    async def _reconcile(self) -> None:
        self._unloaded_meanwhile.clear()
        look = await self._watch.look()
        for uid in look.removed:
            await self._on_removed(uid)
        for uid, status in look.statuses.items():
            self._on_status(uid, status)
        if self._missing:
            await self._load_missing()

    async def _on_removed(self, uid: str) -> None:
        self._missing.discard(uid)
        self._history.forget(uid)
        workflow = self._workflows.get(uid)
        if workflow is not None:
            if workflow.state is not LoadState.LEAVING:
                _log.info("unloading a workflow that is not registered", extra={"workflow": workflow.target.workflow})
            await self.unload_within(uid, 0)

    def _on_status(self, uid: str, status: WorkflowStatus) -> None:
        workflow = self._workflows.get(uid)
        if status is not WorkflowStatus.READY:
            self._missing.discard(uid)
            if workflow is not None and status is WorkflowStatus.UNREGISTERING:
                workflow.leave()
        elif workflow is not None:
            workflow.on_registered()
        elif uid not in self._unloaded_meanwhile:
            self._missing.add(uid)

    async def _load_missing(self) -> None:
        """Begin to load the first of what is ready and not loaded, those that failed before last."""
        batch = heapq.nsmallest(LOADS_PER_ROUND, self._missing, key=lambda uid: (self._history.has_failed(uid), uid))
        targets = await asyncio.to_thread(self._catalog.load_requests, batch)
        self._missing.difference_update(batch)
        if self._missing:
            self._reconcile_wanted.set()
        for target in sorted(targets, key=lambda each: (self._history.has_failed(each.uid), each.workflow)):
            if target.uid not in self._workflows and target.uid not in self._unloaded_meanwhile:
                workflow = self._add(target)
                workflow.worked_before = workflow.is_hopeful = not self._history.has_failed(target.uid)
                workflow.on_registered()
                self._spawn(self._load_until_it_works(workflow))

    async def keep_models_in_step(self) -> None:
        """Compare the model servers with what they should hold again and again, and mend them."""
        while True:
            self._models.check_wanted.clear()
            try:
                await self.check_models(dry_run=False)
            except WfmgmtError as error:
                _log.warning("the model servers could not be checked: %s", error)
            await _wait(self._models.check_wanted, self._check_interval_s)

    async def check_models(self, *, dry_run: bool) -> Sequence[Drift]:
        """Compare the model servers with what they should hold, once; mend, count and record what is different.

        A difference that cannot be mended is recorded when it is found first.

        Raises:
            WfmgmtError: The database cannot be read.
        """
        async with self._checking:
            known = {*await asyncio.to_thread(self._catalog.uids), *self._workflows}
            drifts = await self._models.check(known, dry_run=dry_run)
            if not dry_run:
                standing = {(drift.server, drift.model, drift.kind.value) for drift in drifts if not drift.is_repaired}
                for drift in drifts:
                    if (drift.server, drift.model, drift.kind.value) not in self._standing:
                        _log.warning("%s", drift, extra={"workflow": drift.workflow})
                        self.measurements.record_drift(drift)
                        self._unrecorded.append(drift)
                self._standing = standing
                await self._record_drifts()
        return drifts

    async def _record_drifts(self) -> None:
        drifts = list(self._unrecorded)
        if not drifts:
            return
        try:
            await asyncio.to_thread(self._catalog.record, drifts)
            self._unrecorded.clear()
        except WfmgmtError as error:
            _log.warning("differences of model servers have to be recorded later: %s", error)

    async def _load_until_it_works(self, workflow: LoadedWorkflow) -> None:
        """Load a workflow of the database; while that fails, try again with growing pauses, after all others."""
        uid, backoff, failures = workflow.target.uid, Backoff(FIRST_RETRY_S, MAX_RETRY_S), 0
        while self._workflows.get(uid) is workflow:
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
                self._waiting.wake(workflow.target.workflow)
            await _wait(self._retry, backoff.next_pause())

    async def _load(self, workflow: LoadedWorkflow) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await workflow.load()
        if workflow.state.is_loaded or workflow.state.has_failed:
            took_s = round(clock() - began, 3) if workflow.state.is_loaded else None
            self._history.record(workflow.target.uid, took_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("loading broke off", exc_info=error)

    async def drain(self) -> None:
        """Accept no more requests, and return when those accepted are answered or the time for that is over."""
        self.is_closing = True
        self._waiting.wake_all()
        timeout_s = self.admission.limits.drain_timeout_s
        await asyncio.gather(*(workflow.drain(timeout_s) for workflow in self._workflows.values()))

    async def close(self) -> None:
        """Take everything down."""
        self.is_closing = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(server.close() for server in self._servers.values()), self._history.save())


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return when the event is set, or after the time."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
