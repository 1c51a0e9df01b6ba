"""The services of the management plane, built from the settings; commands use them, too, and load no Flask for it."""

from collections.abc import Callable

from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.receiving import Receiver
from wfmgmt.archives.report import ReportRules
from wfmgmt.archives.signatures import Signers
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.figures_cache import TIMEOUT_S, FiguresCache
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.limits import MIB
from wfmgmt.domain.operations import OperationKind
from wfmgmt.host import available_cores
from wfmgmt.http.failed_logins import SHARED, FailedLogins
from wfmgmt.loops import FailureCounter
from wfmgmt.registry.registry import Registry
from wfmgmt.services.access import Access
from wfmgmt.services.anchor_keys import SigningKey
from wfmgmt.services.anchoring import Anchoring, CheckpointCounter
from wfmgmt.services.anchors import POST_TIMEOUT_S, make_anchor
from wfmgmt.services.applying import Applying
from wfmgmt.services.archive_store import ArchiveStore
from wfmgmt.services.archive_sweep import ArchiveSweep
from wfmgmt.services.audit_trail import AuditTrail
from wfmgmt.services.cancellation import Cancellation
from wfmgmt.services.change_queue import ChangeQueue
from wfmgmt.services.enforcement import Enforcement
from wfmgmt.services.explaining import Explaining
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.failure_budget import FailureBudget
from wfmgmt.services.idempotency import Idempotency
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.leases import Leases
from wfmgmt.services.libraries import LibrariesCheck
from wfmgmt.services.load_at_start import LoadAtStart
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import EndCounter, Operations
from wfmgmt.services.overview import Overview
from wfmgmt.services.preparation import Preparation
from wfmgmt.services.registration import Registration
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.services.releases import Releases
from wfmgmt.services.removal import Removal
from wfmgmt.services.scaling import Scaling
from wfmgmt.services.sessions import Sessions
from wfmgmt.services.store_files import StoreFiles
from wfmgmt.services.store_watch import StoreWatch
from wfmgmt.services.tokens import Tokens
from wfmgmt.services.uploads import UploadCounter, Uploads
from wfmgmt.services.worker_counts import WorkerCounts
from wfmgmt.settings import Settings, thread_policy


class Services:
    """The services of the management plane, over one database and one runtime.

    Args:
        settings: The settings in force.
        on_loop_failure: Counts failures of what goes on in the background.
        on_operation_ended: Counts operations that ended.
        on_stored: Counts uploads that were stored.
        on_login_failed: Counts tokens that are refused.
        on_checkpoint: Counts checkpoints of the audit trail.
        runtime: Calls the runtime; over the socket of the instance unless given.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_loop_failure: FailureCounter = lambda _: None,
        on_operation_ended: EndCounter = lambda *_: None,
        on_stored: UploadCounter = lambda _store, _bytes: None,
        on_login_failed: Callable[[str], None] = lambda _: None,
        on_checkpoint: CheckpointCounter = lambda _: None,
        runtime: RuntimeClient | None = None,
    ) -> None:
        self.settings = settings
        self.registry = Registry(
            settings.database, connections=settings.web_threads + settings.operations + settings.max_uploads + 3
        )
        self.leases = Leases(settings.run_folder / "leases")
        self.runtime = runtime or RuntimeClient(
            settings.control_socket, drain_timeout_s=settings.drain_timeout_s, max_install_s=settings.max_install_s
        )
        self.status = StatusCache(runtime or RuntimeClient(settings.control_socket), on_failure=on_loop_failure)
        self.folders = StoreFolders.at(workflow=settings.workflow_store, model=settings.model_store)
        self.kept = KeptArchives(settings.archives_folder, keeps_bytes=settings.keep_archives == "all")
        signers = None if settings.signers is None else Signers(settings.signers)
        threads = thread_policy(settings, available_cores())
        looking = runtime or RuntimeClient(settings.control_socket, call_timeout_s=TIMEOUT_S, silence_s=2 * TIMEOUT_S)
        figures = FiguresCache(looking)
        self.inspection = Inspection(
            registry=self.registry,
            status=self.status,
            figures=figures,
            runtime=self.runtime,
            threads=threads,
            store_files=StoreFiles(self.folders, self.kept),
        )
        self.overview = Overview(
            registry=self.registry, inspection=self.inspection, status=self.status, runtime=looking
        )
        self.explaining = Explaining(
            registry=self.registry,
            inspection=self.inspection,
            status=self.status,
            figures=figures,
            runtime=looking,
            instance=settings.instance,
            queue_size=settings.queue_size,
        )
        self.long_requests = LongRequests(
            settings.concurrent_registrations, settings.concurrent_changes, waits=settings.concurrent_waits
        )
        self.failures = FailedChanges(
            registry=self.registry,
            budget=FailureBudget(max(1, settings.max_audited_failures // settings.web_workers)),
        )
        self.idempotency = Idempotency(registry=self.registry, leases=self.leases)
        self.access = Access(
            self.registry,
            failed=FailedLogins(SHARED, on_refused=on_login_failed),
            anonymous=settings.anonymous,
            until_first_token=settings.is_open_until_first_token,
        )
        self.sessions = Sessions(self.access, settings.instance / "session.key")
        self.audit_trail = AuditTrail(self.registry)
        self.anchoring = make_anchoring(settings, self.registry, on_attempt=on_checkpoint)
        self.tokens = Tokens(self.registry, on_created=self.access.end_anonymous_access)
        self.operations = Operations(
            registry=self.registry,
            leases=self.leases,
            status=self.status,
            long_requests=self.long_requests,
            kept=settings.operations_kept,
            on_ended=on_operation_ended,
        )
        self.removal = Removal(
            registry=self.registry,
            folders=self.folders,
            kept=self.kept,
            runtime=self.runtime,
            leases=self.leases,
            long_requests=self.long_requests,
            failures=self.failures,
            operations=self.operations,
        )
        self.archive_sweep = ArchiveSweep(
            registry=self.registry, kept=self.kept, leases=self.leases, keep_s=settings.archives_keep_s
        )
        enforcement = Enforcement(registry=self.registry, runtime=self.runtime, long_requests=self.long_requests)
        self.releases = Releases(
            registry=self.registry,
            folders=self.folders,
            kept=self.kept,
            enforcement=enforcement,
            operations=self.operations,
            failures=self.failures,
            long_requests=self.long_requests,
        )
        worker_counts = WorkerCounts(
            registry=self.registry,
            enforcement=enforcement,
            operations=self.operations,
            long_requests=self.long_requests,
        )
        self.scaling = Scaling(registry=self.registry, enforcement=enforcement, worker_counts=worker_counts)
        self.registration = Registration(
            registry=self.registry,
            folders=self.folders,
            runtime=self.runtime,
            removal=self.removal,
            failures=self.failures,
            leases=self.leases,
            operations=self.operations,
            preparation=Preparation(
                registry=self.registry,
                fetcher=Fetcher(
                    allowed_urls=settings.allowed_urls,
                    timeout_s=settings.download_timeout_s,
                    limit_bytes=settings.download_limit_mb * MIB,
                ),
                kept=self.kept,
                unpacks_models=settings.model_server == "local",
                limits=settings.limits,
                libraries=LibrariesCheck(settings.model_requirements, has_models=settings.model_server == "local"),
                cancelled=self.long_requests.is_stopping,
                threads=threads,
                signers=signers,
            ),
            enforcement=enforcement,
            long_requests=self.long_requests,
        )
        rules = ReportRules(
            limits=settings.limits,
            requirements=settings.model_requirements,
            has_models=settings.model_server == "local",
            signers=signers,
        )
        self.archive_store = ArchiveStore(
            registry=self.registry,
            folders=self.folders,
            kept=self.kept,
            rules=rules,
            reports=max(1, settings.web_threads // 4),
        )
        self.uploads = Uploads(
            registry=self.registry,
            folders=self.folders,
            seen=self.kept.seen,
            leases=self.leases,
            receiver=Receiver(
                self.folders,
                max_bytes=settings.upload_limit_mb * MIB,
                max_store_bytes=settings.store_limit_mb * MIB,
            ),
            rules=rules,
            on_stored=on_stored,
        )
        self.cancellation = Cancellation(self.registry, self.operations)
        self.registration_queue = RegistrationQueue(
            registration=self.registration,
            operations=self.operations,
            leases=self.leases,
            long_requests=self.long_requests,
            size=settings.operations,
        )
        self.applying = Applying(
            registry=self.registry,
            queue=self.registration_queue,
            scaling=self.scaling,
            releases=self.releases,
            removal=self.removal,
            operations=self.operations,
            failures=self.failures,
            long_requests=self.long_requests,
        )
        self.change_queues = tuple(
            ChangeQueue(
                kind,
                work,
                operations=self.operations,
                long_requests=self.long_requests,
                size=settings.operations,
            )
            for kind, work in (
                (OperationKind.RELEASE, self.releases.carry_out),
                (OperationKind.SCALE, worker_counts.carry_out),
                (OperationKind.APPLY, self.applying.carry_out),
            )
        )
        self.start_marker = StartMarker(settings.start_marker)
        self.load_at_start = LoadAtStart(
            registry=self.registry,
            folder=self.folders.workflow,
            queue=self.registration_queue,
            wanted=settings.load_at_start,
            marker=self.start_marker,
        )
        self.store_watch = StoreWatch(
            registry=self.registry,
            folders=self.folders,
            archives=self.archive_store,
            queue=self.registration_queue,
            limits=settings.limits,
            record=settings.run_folder / "store-watch.json",
        )


def make_anchoring(
    settings: Settings,
    registry: Registry,
    *,
    timeout_s: float = POST_TIMEOUT_S,
    on_attempt: CheckpointCounter = lambda _: None,
) -> Anchoring | None:
    """Return what makes checkpoints of the audit trail; None when there is no anchor.

    Args:
        settings: The settings in force.
        registry: Has the audit trail.
        timeout_s: How long an address may take.
        on_attempt: Counts attempts.
    """
    if not settings.audit_anchor:
        return None
    return Anchoring(
        registry=registry,
        anchor=make_anchor(settings.audit_anchor, allowed_urls=settings.allowed_urls, timeout_s=timeout_s),
        key=None if settings.audit_key is None else SigningKey(settings.audit_key),
        kept=settings.last_checkpoint,
        on_attempt=on_attempt,
    )
