"""The part of a registration before any code runs: getting the archives, and checking all that can be checked."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.functions import check_functions
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.archives.signatures import Signers, read_signature
from wfmgmt.archives.stores import SIGNATURE_SUFFIX, StoreFolders, folder_warnings
from wfmgmt.archives.urls import is_remote, parse_url
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.model_config import configure, max_startup_s
from wfmgmt.domain.names import check_workflow_name
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.threads import ThreadPolicy
from wfmgmt.domain.workflow import LoadRequest, Node
from wfmgmt.domain.yaml_redaction import redacted_yaml
from wfmgmt.errors import InvalidWorkflow, VersionExists, WorkflowExists
from wfmgmt.errors.loading import NodesNotLoadable
from wfmgmt.errors.uploads import DigestMismatch
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archives import Acquisition, ArchiveFile, naming_workflow
from wfmgmt.services.changes import Change
from wfmgmt.services.libraries import LibrariesCheck
from wfmgmt.services.operation_records import described_error
from wfmgmt.services.planning import registration_plan
from wfmgmt.services.tracking import Tracker
from wfmgmt.services.uploads import Attachments

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
        sha256: The digest that the archive has to have; empty for any.
        attachments: Archives that came with it; None without any.
    """

    url: str
    workflow_name: str | None = None
    version: str | None = None
    set_default: bool = False
    response_timeout_s: int = DEFAULT_TIMEOUT_S
    startup_timeout_s: int = DEFAULT_TIMEOUT_S
    sha256: str = ""
    attachments: Attachments | None = None

    def folders(self, stores: StoreFolders) -> StoreFolders:
        """Return the stores, with what came with the request in them."""
        return stores if self.attachments is None else self.attachments.folders

    def handed_over(self) -> Self:
        """Return it for longer than the client's request lives."""
        return self if self.attachments is None else replace(self, attachments=self.attachments.handed_over())

    @property
    def facts(self) -> dict[str, Any]:
        """What is recorded of it, as plain JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "attachments"}


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The facts of one registration so far, for its audit event.

    Attributes:
        name: Of the workflow; empty while it is not known.
        detail: What the event says.
        is_further: Whether the workflow was there before.
        is_recorded: Whether its failure has an event already.
        tracker: How far it is.
        operation: The operation that it is; empty before there is one.
    """

    name: str
    detail: dict[str, Any]
    is_further: bool = False
    is_recorded: bool = False
    tracker: Tracker = field(default_factory=Tracker)
    operation: str = ""

    def event(self, origin: Origin, error: Exception | None) -> AuditEvent:
        """Return the event of a registration that failed with an error, or succeeded."""
        detail = dict(self.detail)
        if error is not None:
            detail["error"] = asdict(described_error(error))
            if len(detail.get("nodes", ())) > MAX_FAILED_NODES:
                detail["nodes"] = f"{len(detail['nodes'])} nodes"
        return AuditEvent(
            origin=origin,
            action=AuditAction.REGISTER_VERSION if self.is_further else AuditAction.REGISTER,
            workflow=self.name,
            outcome=AuditOutcome.SUCCEEDED if error is None else AuditOutcome.FAILED,
            detail=detail,
            operation=self.operation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A registration that passed every check.

    Attributes:
        request: What is to be registered.
        name: Of the workflow.
        archive: Its archive.
        contents: What that holds.
        spec: What its spec says, with the models' configuration files.
        models: Archive of each model node.
    """

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
                    threads=node.threads,
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


class Preparation:
    """Checks registrations. Thread-safe.

    Args:
        registry: The registry.
        fetcher: Downloads archives.
        kept: Where archives are kept.
        unpacks_models: Whether models are kept unpacked, too.
        limits: Bounds on archives and specs.
        libraries: Judges the libraries that archives list.
        cancelled: Becomes true when the server stops.
        threads: Says how many threads workers use.
        signers: Who has to have signed archives; None when nobody has to.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        fetcher: Fetcher,
        kept: KeptArchives,
        unpacks_models: bool,
        limits: Limits,
        libraries: LibrariesCheck,
        cancelled: Callable[[], bool],
        threads: ThreadPolicy,
        signers: Signers | None = None,
    ) -> None:
        self._signers = signers
        self._registry = registry
        self._fetcher = fetcher
        self._kept = kept
        self._unpacks_models = unpacks_models
        self._limits = limits
        self._libraries = libraries
        self._cancelled = cancelled
        self._threads = threads

    def acquisition(self, folders: StoreFolders, lease: str, tracker: Tracker, *, is_dry: bool = False) -> Acquisition:
        """Return what gets the archives of one registration, and keeps them unless it is a dry one."""
        return Acquisition(
            folders=folders,
            kept=None if is_dry else self._kept,
            unpacks_models=self._unpacks_models,
            fetcher=self._fetcher,
            limits=self._limits,
            lease=lease,
            cancelled=lambda: self._cancelled() or tracker.is_cancelled,
            tracker=tracker,
            signers=self._signers,
        )

    def check_early(
        self, request: RegistrationRequest, folders: StoreFolders, attempt: Attempt, change: Change
    ) -> None:
        """Check what can be checked at once, without reading an archive.

        Raises:
            WfmgmtError: The name is taken, or there is no such archive, or it is not signed or may not be downloaded.
        """
        if request.workflow_name is not None:
            self._check_free(request.workflow_name, request, attempt, change)
        if is_remote(request.url):
            self._fetcher.check(parse_url(request.url))
        else:
            with naming_workflow(request.url):
                folders.workflow.find(request.url)
                if self._signers is not None:
                    path = folders.workflow.path(request.url + SIGNATURE_SUFFIX)
                    self._signers.require(request.url, read_signature(path))

    def prepare(
        self, request: RegistrationRequest, acquisition: Acquisition, attempt: "Attempt", change: Change | None
    ) -> "Prepared":
        """Check everything that can be checked without running code.

        Args:
            request: What is to be registered.
            acquisition: Gets the archives.
            attempt: Gets the facts for the audit trail, as far as they are known.
            change: Under which conditions; None for none.

        Raises:
            WfmgmtError: Something is wrong with the request, an archive or the spec, or the name is taken.
        """
        if request.workflow_name is not None:
            self._check_free(request.workflow_name, request, attempt, change)
        archive, contents = acquisition.workflow(request.url, attempt.detail)
        if request.sha256 not in ("", archive.sha256):
            raise DigestMismatch(request.sha256, archive.sha256)
        name = request.workflow_name or contents.name
        if name is None:
            raise InvalidWorkflow("Workflow name is not defined.")
        attempt.name = attempt.tracker.workflow = check_workflow_name(name)
        self._check_free(name, request, attempt, change)
        spec = parse_spec(contents.spec_text, self._limits)
        check_functions(spec, contents)
        urls = {node.name: node.url for node in spec.nodes if node.url is not None}
        models, failures = acquisition.models(urls)
        failures |= self._libraries.failures(spec, archive, contents, models)
        if failures:
            raise NodesNotLoadable(
                name, {node.name: failures[node.name] for node in spec.nodes if node.name in failures}
            )
        attempt.detail["nodes"] = {
            node.name: {"kind": node.kind.value, **_identity(models.get(node.name))} for node in spec.nodes
        }
        configs = {node: model.config for node, model in models.items() if model.config is not None}
        spec = configure(spec, configs, request.startup_timeout_s)
        request = replace(request, startup_timeout_s=max_startup_s(request.startup_timeout_s, configs))
        spec = replace(spec, warnings=(*spec.warnings, *folder_warnings(urls)[:MAX_FOLDER_WARNINGS]))
        return Prepared(request=request, name=name, archive=archive, contents=contents, spec=spec, models=models)

    def _check_free(self, name: str, request: RegistrationRequest, attempt: Attempt, change: Change | None) -> None:
        """Refuse a taken name or version early; the database decides for good when it is claimed."""
        if change is not None:
            change.check_scope(name)
        with self._registry.read() as reader:
            is_there = reader.uid(name) is not None
            attempt.is_further = is_there and request.version is not None
            if change is not None:
                change.check(reader, name)
            if is_there and request.version is None:
                raise WorkflowExists(name)
            if is_there and reader.key(name, request.version) is not None:
                raise VersionExists(name, str(request.version))

    def plan(self, prepared: "Prepared") -> Plan:
        """Return what a registration that passed the checks would do."""
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
                threads=self._threads,
            )


def _identity(model: ArchiveFile | None) -> dict[str, str | None]:
    """Return what the audit trail says about the archive of a node."""
    if model is None:
        return {"sha256": None}
    return {"sha256": model.sha256, **({"signer": model.signer} if model.signer else {})}
