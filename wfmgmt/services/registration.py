"""Registering a workflow: from the request to workers that are up and a row that says so."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.archives.urls import is_remote
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.model_config import configure, max_startup_s
from wfmgmt.domain.names import check_version, check_workflow_name
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.redaction import redacted_yaml
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.domain.rollouts import with_all_to
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.traffic import table_json
from wfmgmt.domain.workflow import LoadRequest, Node
from wfmgmt.errors import (
    InsufficientStorage,
    InvalidWorkflow,
    ModelNameTaken,
    ModelServerFailed,
    ModelServerTimedOut,
    ModelServerUnreachable,
    NodesFailedToLoad,
    NodesNotLoadable,
    RuntimeUnavailable,
    ShuttingDown,
    TooManyRegistrations,
    TooManyWorkers,
    VersionExists,
    WfmgmtError,
    WorkflowBusy,
    WorkflowExists,
)
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archives import Acquisition, ArchiveFile, folder_warnings
from wfmgmt.services.changes import Change
from wfmgmt.services.failed_changes import FailedChanges
from wfmgmt.services.functions import check_found, check_functions
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.planning import registration_plan
from wfmgmt.services.removal import Removal

_log = logging.getLogger("wfmgmt.registration")

_LOAD_FAILURES = {
    Fault.MODEL: NodesFailedToLoad,
    Fault.FILE: NodesNotLoadable,
    Fault.ARCHIVE: NodesNotLoadable,
    Fault.NAME_TAKEN: ModelNameTaken,
    Fault.UNREACHABLE: ModelServerUnreachable,
    Fault.FAILED: ModelServerFailed,
    Fault.TIMED_OUT: ModelServerTimedOut,
    Fault.NO_ROOM: TooManyWorkers,
}

DEFAULT_TIMEOUT_S = 120
#: Nodes that the event of a failed registration lists; a registered workflow lists all of them.
MAX_FAILED_NODES = 20
MAX_FOLDER_WARNINGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequest:
    """The parameters of a registration, as a client gives them.

    Attributes:
        url: Name of a .war in the workflow store, or an http(s) URL.
        workflow_name: The name to register; the archive's own when None.
        version: Which version of the workflow this is; the first one when None.
        set_default: Whether it gets all requests once it is up; the first version does in any case.
        response_timeout_s: Time in which the workflow has to answer a request, >= 1.
        startup_timeout_s: Time in which all workers have to be up, >= 1.
    """

    url: str
    workflow_name: str | None = None
    version: str | None = None
    set_default: bool = False
    response_timeout_s: int = DEFAULT_TIMEOUT_S
    startup_timeout_s: int = DEFAULT_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registration that succeeded.

    Attributes:
        name: Of the workflow.
        version: The version.
        is_named: Whether the client named the version.
        is_further: Whether the workflow was there before.
        is_default: Whether it has the largest share of the requests.
        revision: The workflow's revision.
        warnings: What in the spec has no effect.
    """

    name: str
    version: str = FIRST_VERSION
    is_named: bool = False
    is_further: bool = False
    is_default: bool = True
    revision: int = 1
    warnings: tuple[str, ...] = ()


class Registration:
    """Registers workflows. Thread-safe; each call works in the caller's thread, for as long as the workers take.

    Args:
        registry: The registry.
        folders: The archive stores.
        fetcher: Downloads archives.
        runtime: Loads workflows.
        removal: Undoes registrations.
        failures: Records failed registrations.
        leases: Proof that a registration is still under way.
        limits: Bounds on archives and specs.
        long_requests: How many registrations there may be at a time, and when they have to end.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        fetcher: Fetcher,
        runtime: RuntimeClient,
        removal: Removal,
        failures: FailedChanges,
        leases: Leases,
        limits: Limits,
        long_requests: LongRequests,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._fetcher = fetcher
        self._runtime = runtime
        self._removal = removal
        self._failures = failures
        self._leases = leases
        self._limits = limits
        self._long_requests = long_requests
        self._lock = threading.Lock()
        self._under_way: set[tuple[bool, str, str | None]] = set()

    def register(self, request: RegistrationRequest, change: Change) -> Registered:
        """Register a version of a workflow: when this returns, all its workers are up and it survives any restart.

        A registration that fails leaves an audit event and nothing else.

        Raises:
            WfmgmtError: One of its leaves; the text says what was wrong where.
        """
        attempt = _Attempt(name="", detail={})
        origin = change.origin
        try:
            if request.workflow_name is not None:
                attempt.name = check_workflow_name(request.workflow_name)
            if request.version is not None:
                attempt.detail["version"] = check_version(request.version)
            attempt.detail |= change.stated_reason
            with self._only_one(request), self._slot(), self._leases.take() as lease:
                return self._register(request, change, attempt, lease)
        except (TooManyRegistrations, ShuttingDown):
            raise  # It had not begun, or was recorded when it was undone.
        except WfmgmtError as error:
            if not attempt.is_recorded:
                self._failures.record(attempt.event(origin, error), error)
            raise
        except Exception as error:  # The trail records our own defects, too; the log has the details.
            self._failures.record(attempt.event(origin, error), error)
            raise

    def plan(self, request: RegistrationRequest, change: Change) -> Plan:
        """Check everything that `register` checks before it runs code, and return what it would do.

        Raises:
            WfmgmtError: What `register` would raise.
        """
        for name, check in ((request.workflow_name, check_workflow_name), (request.version, check_version)):
            if name is not None:
                check(name)
        with self._slot(), self._leases.take() as lease:
            acquisition = self._acquisition(self._folders, lease)
            try:
                plan = self._plan(self._prepare(request, acquisition, _Attempt(name="", detail={}), change))
                change.check_plan(plan)
                return plan
            finally:
                acquisition.undo()

    def rehearse(self, request: RegistrationRequest, folders: StoreFolders) -> WorkflowSpec:
        """Check everything that `register` checks before it runs code, and change nothing; return what it would load.

        Args:
            request: What `register` would be asked.
            folders: The stores as they would be then; downloads are made into them, and are gone afterwards.

        Raises:
            WfmgmtError: What `register` would raise.
        """
        with self._leases.take() as lease:
            acquisition = self._acquisition(folders, lease)
            try:
                return self._prepare(request, acquisition, _Attempt(name="", detail={}), None).spec
            finally:
                acquisition.undo()

    @contextmanager
    def _only_one(self, request: RegistrationRequest) -> Iterator[None]:
        """Refuse a second registration of one version in this process before it takes a slot.

        Without a name in the request, the same local archive means the same name.
        """
        wanted = request.workflow_name or request.url
        key = (request.workflow_name is not None, wanted, request.version)
        if request.workflow_name is None and is_remote(request.url):
            yield
            return
        with self._lock:
            if key in self._under_way:
                if request.workflow_name is None or request.version is not None:
                    raise WorkflowBusy(wanted, "being registered")
                raise WorkflowExists(wanted)
            self._under_way.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(key)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if self._long_requests.is_stopping():
            raise ShuttingDown("The server is stopping.")
        with self._long_requests.slot() as is_free:
            if not is_free:
                raise TooManyRegistrations(
                    "As many registrations as allowed are under way (WFMGMT_MAX_OPERATIONS); try again later."
                )
            yield

    def _register(self, request: RegistrationRequest, change: Change, attempt: "_Attempt", lease: str) -> Registered:
        acquisition = self._acquisition(self._folders, lease)
        try:
            prepared = self._prepare(request, acquisition, attempt, change)
            if change.plan:
                plan = self._plan(prepared)
                change.check_plan(plan)
                change = replace(change, expected=frozenset({plan.revision}))
            new = self._claim(prepared, acquisition, lease, change)
            target = new.target
        except BaseException:
            acquisition.undo()
            raise
        acquisition.keep()
        try:
            self._load(target)
            registered = self._finish(prepared, target, attempt, change)
        except WfmgmtError as error:
            attempt.is_recorded = True
            self._removal.undo(target.uid, attempt.event(change.origin, error), error)
            raise
        self._open_for_clients(target)
        return registered

    def _acquisition(self, folders: StoreFolders, lease: str) -> Acquisition:
        return Acquisition(
            folders=folders,
            fetcher=self._fetcher,
            limits=self._limits,
            lease=lease,
            cancelled=self._long_requests.is_stopping,
        )

    def _prepare(
        self, request: RegistrationRequest, acquisition: Acquisition, attempt: "_Attempt", change: Change | None
    ) -> "_Prepared":
        """Check everything that can be checked without running code."""
        if request.workflow_name is not None:
            self._check_free(request.workflow_name, request, change)
        archive, contents = acquisition.workflow(request.url, attempt.detail)
        name = request.workflow_name or contents.name
        if name is None:
            raise InvalidWorkflow("Workflow name is not defined.")
        attempt.name = check_workflow_name(name)
        attempt.is_further = self._check_free(name, request, change)
        spec = parse_spec(contents.spec_text, self._limits)
        check_functions(spec, contents)
        urls = {node.name: node.url for node in spec.nodes if node.url is not None}
        models, failures = acquisition.models(urls)
        if failures:
            raise NodesNotLoadable(
                name, {node.name: failures[node.name] for node in spec.nodes if node.name in failures}
            )
        attempt.detail["nodes"] = {
            node.name: {"kind": node.kind.value, "sha256": models[node.name].sha256 if node.name in models else None}
            for node in spec.nodes
        }
        configs = {node: model.config for node, model in models.items() if model.config is not None}
        spec = configure(spec, configs, request.startup_timeout_s)
        request = replace(request, startup_timeout_s=max_startup_s(request.startup_timeout_s, configs))
        spec = replace(spec, warnings=(*spec.warnings, *folder_warnings(urls)[:MAX_FOLDER_WARNINGS]))
        return _Prepared(request=request, name=name, archive=archive, contents=contents, spec=spec, models=models)

    def _check_free(self, name: str, request: RegistrationRequest, change: Change | None) -> bool:
        """Refuse a taken name or version early; the database decides for good when it is claimed.

        Returns:
            Whether the workflow is there already, so that this is a further version of it.
        """
        with self._registry.read() as reader:
            if change is not None:
                change.check(reader, name)
            if reader.uid(name) is None:
                return False
            if request.version is None:
                raise WorkflowExists(name)
            if reader.key(name, request.version) is not None:
                raise VersionExists(name, request.version)
        return True

    def _plan(self, prepared: "_Prepared") -> Plan:
        request = prepared.request
        with self._registry.read() as reader:
            return registration_plan(
                reader,
                workflow=prepared.name,
                version=request.version or FIRST_VERSION,
                set_default=request.set_default,
                archive=prepared.archive,
                contents=prepared.contents,
                spec=prepared.spec,
                models=prepared.models,
                timeouts_s={
                    "responseTimeout": request.response_timeout_s,
                    "startupTimeout": request.startup_timeout_s,
                },
            )

    def _claim(self, prepared: "_Prepared", acquisition: Acquisition, lease: str, change: Change) -> NewWorkflow:
        new = prepared.record(acquisition.publish, lease)
        with self._registry.write() as writer:
            change.check(writer, new.name)
            if prepared.request.version is None:
                writer.claim_name(new)
            elif not writer.claim_version(new):
                if writer.status(new.name) is WorkflowStatus.REGISTERING:
                    raise WorkflowBusy(new.name, "being registered")
                writer.claim_name(new)
        return new

    def _load(self, target: LoadRequest) -> None:
        report = self._runtime.load(target, cancelled=self._long_requests.is_stopping)
        if report.is_out_of_space:
            raise InsufficientStorage(f"No space is left to unpack the archives of workflow {target.workflow}.")
        if report.failures:
            if report.fault is Fault.ARCHIVE:
                check_found(target, report.failures)
            raise _LOAD_FAILURES[report.fault](target.workflow, report.failures)

    def _finish(self, prepared: "_Prepared", target: LoadRequest, attempt: "_Attempt", change: Change) -> Registered:
        with self._registry.write() as writer:
            before = writer.release(target.workflow)
            attempt.is_further = before is not None
            if before is not None:
                change.check(writer, target.workflow)
            table = None
            if before is not None and prepared.request.set_default:
                table = with_all_to(before.table, target.version)
                attempt.detail |= {"before": table_json(before.table), "after": table_json(table)}
            if not writer.mark_ready(target.uid, actor=change.origin.actor, reason=change.reason, table=table):
                raise ShuttingDown(f"Workflow {target.workflow} was taken back by a reconciliation; try again.")
            writer.record(attempt.event(change.origin, None))
            registered = Registered(
                name=target.workflow,
                version=target.version,
                is_named=prepared.request.version is not None,
                is_further=attempt.is_further,
                is_default=table is not None or not attempt.is_further,
                revision=writer.revision(target.workflow) or 0,
                warnings=prepared.spec.warnings,
            )
            change.on_made(writer, registered)
        return registered

    def _open_for_clients(self, target: LoadRequest) -> None:
        """Have the runtime serve what is registered now; it would find out by itself a little later."""
        try:
            self._runtime.on_registered(target.uid)
        except RuntimeUnavailable as error:
            extra = {"workflow": target.workflow}
            _log.warning("the runtime could not be notified of the registration: %s", error, extra=extra)


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """The facts of one registration so far, for its audit event."""

    name: str
    detail: dict[str, Any]
    is_further: bool = False
    is_recorded: bool = False

    def event(self, origin: Origin, error: Exception | None) -> AuditEvent:
        detail = dict(self.detail)
        if error is not None:
            message = str(error) if isinstance(error, WfmgmtError) else "Internal error; the log has the details."
            detail["error"] = {"type": type(error).__name__, "message": message}
            if len(detail.get("nodes", ())) > MAX_FAILED_NODES:
                detail["nodes"] = f"{len(detail['nodes'])} nodes"
        return AuditEvent(
            origin=origin,
            action=AuditAction.REGISTER_VERSION if self.is_further else AuditAction.REGISTER,
            workflow=self.name,
            outcome=AuditOutcome.SUCCEEDED if error is None else AuditOutcome.FAILED,
            detail=detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A registration that passed every check."""

    request: RegistrationRequest
    name: str
    archive: ArchiveFile
    contents: WorkflowArchive
    spec: WorkflowSpec
    models: Mapping[str, ArchiveFile]

    def record(self, publish: Callable[[str, ArchiveFile], str], lease: str) -> NewWorkflow:
        """Return what is written to the database, giving downloads their names in the stores."""
        # Nodes that name the same url share one file, which must not be published twice.
        archives = {archive.path: archive for archive in self.models.values()}
        files = {path: publish("model", archive) for path, archive in archives.items()}
        nodes = []
        for node in self.spec.nodes:
            model = self.models.get(node.name)
            nodes.append(
                Node(
                    name=node.name,
                    kind=node.kind,
                    model_url=None if model is None else model.shown_url,
                    model_file=None if model is None else files[model.path],
                    model_downloaded=model is not None and model.wanted_name is not None,
                    model_sha256=None if model is None else model.sha256,
                    settings=node.settings,
                )
            )
        target = LoadRequest(
            uid=uuid.uuid4().hex,
            workflow=self.name,
            version=self.request.version or FIRST_VERSION,
            archive_file=publish("workflow", self.archive),
            archive_sha256=self.archive.sha256,
            handler=self.contents.handler,
            startup_timeout_s=self.request.startup_timeout_s,
            response_timeout_s=self.request.response_timeout_s,
            nodes=tuple(nodes),
            edges=self.spec.dag.edges,
        )
        return NewWorkflow(
            target=target,
            url=self.archive.shown_url,
            archive_downloaded=self.archive.wanted_name is not None,
            spec=redacted_yaml(self.contents.spec_text),
            dag=self.spec.dag.text,
            lease=lease,
            defaults=self.spec.defaults,
        )
