"""The runtime process: its model servers and its view of the registry, built from the settings."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.changes import Changes, RegistrySlice
from wfmgmt.domain.limits import MIB
from wfmgmt.domain.releases import Release, WorkflowTarget
from wfmgmt.domain.rollouts import NextRelease, Verdict
from wfmgmt.domain.tokens import Token
from wfmgmt.domain.workflow import LoadRequest, NodeKind
from wfmgmt.errors.commands import ResourcesExhausted, SettingsInvalid
from wfmgmt.folders import remove_folders, replace_folder
from wfmgmt.http.failed_logins import FailedLogins
from wfmgmt.model_servers import make_model_servers, make_worker_sources
from wfmgmt.registry.files import FileIdentity
from wfmgmt.registry.registry import Registry, timestamp, utc_now
from wfmgmt.services.release_rules import make_release
from wfmgmt.serving.catalog import Catalog
from wfmgmt.serving.drift_check import DriftCheck
from wfmgmt.serving.inference_tokens import InferenceTokens
from wfmgmt.serving.load_order import LoadHistory
from wfmgmt.serving.loader import Loader
from wfmgmt.serving.loading import LoadedVersion
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.mirroring import Mirror
from wfmgmt.serving.models.base import Drift
from wfmgmt.serving.models.local.environments import UNFINISHED
from wfmgmt.serving.models.local.model import WORKING
from wfmgmt.serving.node_logs import NodeLogs
from wfmgmt.serving.predictions import AdmissionControl, PredictionLimits
from wfmgmt.serving.reconciler import Reconciler
from wfmgmt.serving.rollouts import RolloutLoop
from wfmgmt.serving.runtime import Runtime
from wfmgmt.serving.worker_usage import WorkerUsages
from wfmgmt.settings import Settings


class DatabaseView:
    """The registry as the runtime uses it; satisfies `wfmgmt.serving.registry_view.RegistryView`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def uids(self) -> set[str]:
        """Return the registration of every version, finished or not."""
        with self._registry.read() as reader:
            return reader.uids()

    def changes(self, since: int) -> Changes:
        """Return which workflows changed after a change of the registry."""
        with self._registry.read() as reader:
            return reader.changes(since)

    def slice_after(self, last: int, *, limit: int) -> RegistrySlice:
        """Return some of all workflows."""
        with self._registry.read() as reader:
            return reader.slice_after(last, limit=limit)

    def targets(self, uids: Sequence[str]) -> list[WorkflowTarget]:
        """Return what each of these workflows is to be."""
        with self._registry.read() as reader:
            return reader.targets(uids)

    def load_requests(self, uids: list[str]) -> Iterable[LoadRequest]:
        """Return what is needed to load these versions."""
        with self._registry.read() as reader:
            return list(reader.load_requests(uids))

    def make_release(self, name: str, judged: Release, following: NextRelease, verdict: Verdict) -> None:
        """Make the release that follows one that was judged, unless that is not the current one any more."""
        with self._registry.write() as writer:
            current = writer.release(name)
            if current is not None and current.number == judged.number:
                make_release(
                    writer,
                    name,
                    following.table,
                    kind=following.kind,
                    origin=Origin(actor=following.actor),
                    reason=verdict.reason,
                    detail={"figures": verdict.figures},
                )

    def record(self, drifts: Sequence[Drift]) -> None:
        """Write down how model servers differed from what they should hold."""
        with self._registry.write() as writer:
            for drift in drifts:
                writer.record(_audit_event(drift))

    def last_change(self) -> int:
        """Return the number of the registry's last change."""
        with self._registry.read() as reader:
            return reader.last_change_number()

    def tokens(self) -> tuple[Sequence[Token], bool]:
        """Return the tokens that are accepted, and whether there has ever been one."""
        with self._registry.read() as reader:
            return reader.tokens.all_valid(timestamp(utc_now())), reader.tokens.any()

    def record_uses(self, ids: Sequence[int]) -> None:
        """Write down that tokens were used."""
        with self._registry.write(is_durable=False) as writer:
            writer.tokens.record_uses(ids)

    def identity(self) -> str:
        """Return the identity of this installation."""
        with self._registry.write() as writer:
            return writer.identity()


def _audit_event(drift: Drift) -> AuditEvent:
    return AuditEvent(
        origin=Origin(actor="runtime"),
        action=AuditAction.RECONCILE,
        workflow=drift.workflow,
        outcome=AuditOutcome.SUCCEEDED if drift.is_repaired else AuditOutcome.FAILED,
        detail={"server": drift.server, "model": drift.model, "found": drift.kind.value, "did": drift.did},
    )


@asynccontextmanager
async def create_runtime(
    settings: Settings, database_file: FileIdentity = None, *, worker_umask: int | None = None
) -> AsyncIterator[Runtime]:
    """Give the runtime with its model server; end all processes that it started at the end.

    Args:
        settings: The settings in force.
        database_file: The only file that is accepted as the SQLite database; any unless given.
        worker_umask: The umask of workers, this process's own when None: what handlers write is theirs to protect.
    """
    node_logs = NodeLogs()
    logging.getLogger("wfmgmt").addHandler(node_logs)
    measurements = Measurements()
    sources = make_worker_sources(settings, measurements, worker_umask)
    registry = Registry(settings.database, connections=2)
    registry.pin(database_file)
    view = DatabaseView(registry)
    servers = make_model_servers(settings, view.identity, sources, measurements)
    make_version = partial(
        LoadedVersion,
        servers=servers,
        workflow_store=settings.workflow_store,
        model_store=settings.model_store,
        measurements=measurements,
    )
    catalog = Catalog(make_version, queue_size=settings.queue_size, drain_timeout_s=settings.drain_timeout_s)
    history = LoadHistory(settings.run_folder / "loads.json")
    loader = Loader(catalog, history)
    limits = PredictionLimits(
        requests=settings.max_inflight_requests,
        in_flight_bytes=settings.max_inflight_mb * MIB,
        request_bytes=settings.request_limit_bytes,
    )
    mirror = Mirror(limits)

    async def users_of_environments() -> set[str]:
        return await asyncio.to_thread(view.uids) if settings.model_requirements == "install" else set()

    sweeping = asyncio.create_task(sources.environments.keep_swept(users_of_environments))
    try:
        yield Runtime(
            catalog=catalog,
            loader=loader,
            reconciler=Reconciler(
                registry=view,
                catalog=catalog,
                loader=loader,
                history=history,
                standby_s=settings.standby_s,
                prepare=sources.forkserver.preload,
            ),
            drift_check=DriftCheck(
                models=servers[NodeKind.MODEL],
                registry=view,
                catalog=catalog,
                measurements=measurements,
                interval_s=settings.torchserve_check_s if settings.model_server == "torchserve" else None,
            ),
            history=history,
            measurements=measurements,
            admission=AdmissionControl(limits),
            mirror=mirror,
            rollouts=RolloutLoop(catalog, view.make_release),
            node_logs=node_logs,
            usages=WorkerUsages(),
            tokens=InferenceTokens(
                view,
                failed=FailedLogins(on_refused=measurements.record_failed_login),
                anonymous=settings.anonymous,
                until_first_token=settings.is_open_until_first_token,
                has_open_predictions=not settings.inference_tokens,
                has_open_metrics=settings.open_metrics,
            ),
            start=StartMarker(settings.start_marker),
        )
    finally:
        await mirror.close()
        await loader.close()
        await asyncio.gather(*(server.close() for server in servers.values()), history.save())
        sweeping.cancel()
        await sources.close()
        registry.close()
        logging.getLogger("wfmgmt").removeHandler(node_logs)


def renew_folders(settings: Settings) -> None:
    """Give a runtime a new, empty folder for its workers; those of earlier ones are removed in the background.

    So is what is left of environments that earlier ones did not finish.

    Raises:
        SettingsInvalid: That cannot be done.
        ResourcesExhausted: There is no space for it.
    """
    try:
        replace_folder(settings.run_folder / WORKING)
    except OSError as error:
        kind = ResourcesExhausted if error.errno in ResourcesExhausted.ERRNOS else SettingsInvalid
        raise kind(f"cannot create {error.filename}: {error.strerror}") from error
    run_folder = settings.run_folder
    leftovers = [
        *run_folder.glob("*.old-*"),
        *run_folder.glob("unpacked"),  # Earlier versions unpacked archives there.
        *settings.environments_folder.glob(f"{UNFINISHED}*"),
        *KeptArchives(settings.archives_folder, owner=RUNTIME).parts(),
    ]
    if leftovers:
        threading.Thread(target=remove_folders, args=(leftovers,), daemon=True).start()
