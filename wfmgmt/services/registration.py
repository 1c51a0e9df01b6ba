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
from wfmgmt.domain.names import check_workflow_name
from wfmgmt.domain.redaction import redacted_yaml
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.workflow import LoadRequest, Node
from wfmgmt.errors import (
    BadRequest,
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
    WfmgmtError,
    WorkflowBusy,
    WorkflowExists,
)
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archives import Acquisition, ArchiveFile, folder_warnings
from wfmgmt.services.functions import check_found, check_functions
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
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
        response_timeout_s: Time in which the workflow has to answer a request, >= 1.
        startup_timeout_s: Time in which all workers have to be up, >= 1.
    """

    url: str
    workflow_name: str | None = None
    response_timeout_s: int = DEFAULT_TIMEOUT_S
    startup_timeout_s: int = DEFAULT_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registration that succeeded.

    Attributes:
        name: Of the workflow.
        warnings: What in the spec has no effect.
    """

    name: str
    warnings: tuple[str, ...]


class Registration:
    """Registers workflows. Thread-safe; each call works in the caller's thread, for as long as the workers take.

    Args:
        registry: The registry.
        folders: The archive stores.
        fetcher: Downloads archives.
        runtime: Loads workflows.
        removal: Undoes registrations.
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
        leases: Leases,
        limits: Limits,
        long_requests: LongRequests,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._fetcher = fetcher
        self._runtime = runtime
        self._removal = removal
        self._leases = leases
        self._limits = limits
        self._long_requests = long_requests
        self._lock = threading.Lock()
        self._under_way: set[tuple[bool, str]] = set()

    def register(self, request: RegistrationRequest, origin: Origin) -> Registered:
        """Register a workflow: when this returns, all its workers are up and it survives any restart.

        A registration that fails leaves an audit event and nothing else.

        Raises:
            WfmgmtError: One of its leaves; the text says what was wrong where.
        """
        attempt = _Attempt(name="", detail={})
        try:
            if request.workflow_name is not None:
                attempt.name = check_workflow_name(request.workflow_name)
            with self._only_one(request), self._slot(), self._leases.take() as lease:
                return self._register(request, origin, attempt, lease)
        except (TooManyRegistrations, ShuttingDown):
            raise  # It had not begun, or was recorded when it was undone.
        except WfmgmtError as error:
            if not attempt.is_recorded:
                self._removal.record_failure(attempt.event(origin, error), error)
            raise
        except Exception as error:  # The trail records our own defects, too; the log has the details.
            self._removal.record_failure(attempt.event(origin, error), error)
            raise

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
                return self._prepare(request, acquisition, _Attempt(name="", detail={})).spec
            finally:
                acquisition.undo()

    def refuse(self, error: BadRequest, origin: Origin) -> None:
        """Record a registration whose request could not even be understood."""
        self._removal.record_failure(_Attempt(name="", detail={}).event(origin, error), error)

    @contextmanager
    def _only_one(self, request: RegistrationRequest) -> Iterator[None]:
        """Refuse a second registration of one name in this process before it takes a slot.

        Without a name in the request, the same local archive means the same name.
        """
        wanted = request.workflow_name or request.url
        key = (request.workflow_name is not None, wanted)
        if request.workflow_name is None and is_remote(request.url):
            yield
            return
        with self._lock:
            if key in self._under_way:
                raise WorkflowExists(wanted) if request.workflow_name else WorkflowBusy(wanted, "being registered")
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

    def _register(self, request: RegistrationRequest, origin: Origin, attempt: "_Attempt", lease: str) -> Registered:
        acquisition = self._acquisition(self._folders, lease)
        try:
            prepared = self._prepare(request, acquisition, attempt)
            new = self._claim(prepared, acquisition, lease)
            target = new.target
        except BaseException:
            acquisition.undo()
            raise
        acquisition.keep()
        try:
            self._load(target)
            self._finish(target, attempt.event(origin, None))
        except WfmgmtError as error:
            attempt.is_recorded = True
            self._removal.undo(target.uid, attempt.event(origin, error), error)
            raise
        self._open_for_clients(target)
        return Registered(name=target.workflow, warnings=prepared.spec.warnings)

    def _acquisition(self, folders: StoreFolders, lease: str) -> Acquisition:
        return Acquisition(
            folders=folders,
            fetcher=self._fetcher,
            limits=self._limits,
            lease=lease,
            cancelled=self._long_requests.is_stopping,
        )

    def _prepare(self, request: RegistrationRequest, acquisition: Acquisition, attempt: "_Attempt") -> "_Prepared":
        """Check everything that can be checked without running code."""
        if request.workflow_name is not None:
            self._check_free(request.workflow_name)
        archive, contents = acquisition.workflow(request.url, attempt.detail)
        name = request.workflow_name or contents.name
        if name is None:
            raise InvalidWorkflow("Workflow name is not defined.")
        attempt.name = check_workflow_name(name)
        self._check_free(name)
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

    def _check_free(self, name: str) -> None:
        """Refuse a taken name early; the database decides for good when the name is claimed."""
        with self._registry.read() as reader:
            if reader.uid(name) is not None:
                raise WorkflowExists(name)

    def _claim(self, prepared: "_Prepared", acquisition: Acquisition, lease: str) -> NewWorkflow:
        new = prepared.record(acquisition.publish, lease)
        with self._registry.write() as writer:
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

    def _finish(self, target: LoadRequest, event: AuditEvent) -> None:
        with self._registry.write() as writer:
            if not writer.mark_ready(target.uid, actor=event.origin.actor):
                raise ShuttingDown(f"Workflow {target.workflow} was taken back by a reconciliation; try again.")
            writer.record(event)

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
            action=AuditAction.REGISTER,
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
