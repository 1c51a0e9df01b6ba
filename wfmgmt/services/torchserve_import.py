"""Taking workflows over from a TorchServe that runs: registering here what is registered there."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from wfmgmt.archives.manifest import read_war
from wfmgmt.archives.stores import StoreFolders, model_file_name
from wfmgmt.archives.urls import is_remote, parse_url
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.names import check_workflow_name, shortened
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import NotImported, WfmgmtError
from wfmgmt.registry.records import WorkflowDetail
from wfmgmt.registry.registry import Registry
from wfmgmt.services.leases import Leases
from wfmgmt.services.registration import Registration, RegistrationRequest
from wfmgmt.services.staging import ForeignStores, FoundArchive, copied, find_archive, find_there, planned
from wfmgmt.services.torchserve_listing import Figures, ForeignWorkflow, TorchServeListing

_EDGES = re.compile(r"([^=,{}\[\]]+)=\[([^\[\]]*)\]")
_FILE_SCHEME = re.compile(r"\Afile:.*/", re.IGNORECASE)


#: Registry and name of the archives that a dry run would have copied by now.
_Plan = set[tuple[str, str]]


class Verdict(StrEnum):
    """What became of a workflow."""

    REGISTERED = "registered"
    PLANNED = "would be registered"
    HERE = "is here already"
    NOT_TAKEN = "not taken over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one workflow.

    Attributes:
        workflow: Its name as the other server gives it, which may be anything.
        verdict: What became of it.
        reason: Why it was not taken over; empty when it was.
        notes: What is different here, and what was done besides; phrases for the operator.
    """

    workflow: str
    verdict: Verdict
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where workflows are taken over from.

    Attributes:
        listing: Tells which there are.
        stores: Where their archives lie.
    """

    listing: TorchServeListing
    stores: ForeignStores


class TorchServeImport:
    """The use case. Each call works in the caller's thread, one workflow after the other.

    Args:
        registry: The registry.
        folders: The archive stores.
        runtime: Has to run, since it loads what is registered.
        registration: Registers.
        leases: Proof that copies are being made.
        limits: Bounds on archives and specs.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        runtime: RuntimeClient,
        registration: Registration,
        leases: Leases,
        limits: Limits,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._runtime = runtime
        self._registration = registration
        self._leases = leases
        self._limits = limits

    def take_over(
        self, source: Source, origin: Origin, *, only: Collection[str] = (), is_dry: bool = False
    ) -> Iterator[Outcome]:
        """Register what the other server has, and yield what became of each as soon as that is known.

        A workflow that cannot be taken over does not keep the others from it. Timeouts are those of a registration
        without any, since the other server does not tell its own.

        Args:
            source: The other server.
            origin: Who asks, for the audit trail.
            only: Names to restrict it to; all when there are none.
            is_dry: Change nothing, and find out what would be done, which needs no runtime.

        Raises:
            ListingFailed: The other server does not tell what it has.
            RuntimeUnavailable: Nothing can be registered, or no longer; what was yielded before holds. A dry run ends
                with it.
        """
        listed = {each.name: each for each in source.listing.workflows()}
        plan: _Plan | None = set() if is_dry else None
        for name in dict.fromkeys(only or listed):
            if not is_dry:
                self._runtime.report("none")
            if name not in listed:
                yield _refused(name, "TorchServe has no workflow of that name")
                continue
            try:
                outcome = self._take(listed[name], source, origin, plan)
            except WfmgmtError as error:
                outcome = _refused(name, str(error))
            except OSError as error:  # Somebody takes files away, or keeps them from us.
                outcome = _refused(name, f"a file cannot be read or written: {error.strerror}")
            yield outcome
        if is_dry:
            self._runtime.report("none")

    def _take(self, listed: ForeignWorkflow, source: Source, origin: Origin, plan: "_Plan | None") -> Outcome:
        """Register one workflow, or only find out whether that could be done when there is a plan."""
        check_workflow_name(listed.name)
        there = source.listing.figures(listed.name)
        with self._registry.read() as reader:
            registered = reader.describe(listed.name)
        if registered is not None:
            notes = [*_differences(there, _registered_figures(registered)), *self._compare(listed, registered, source)]
            return _outcome(listed, Verdict.HERE, notes)
        url, missing = self._needed(listed, source)
        request = RegistrationRequest(url=url, workflow_name=listed.name)
        if plan is not None:
            return self._plan(listed, request, missing, there, plan)
        warnings = self._register(request, missing, origin)
        with self._registry.read() as reader:
            registered = reader.describe(listed.name)
        notes = [] if registered is None else _differences(there, _registered_figures(registered))
        return _outcome(
            listed, Verdict.REGISTERED, [*_downloaded(url, ""), *_copies(missing, "copied"), *notes, *warnings]
        )

    def _compare(self, listed: ForeignWorkflow, registered: WorkflowDetail, source: Source) -> list[str]:
        """Refuse what is registered here from something else; say what else of it is different over there."""
        if is_remote(listed.url):
            shown = parse_url(listed.url).shown
            if registered.url != shown:
                raise NotImported(f"it is registered here from {registered.url}, and there from {shown}")
            return ["registered from the same address; what lies there now was not looked at"]
        if registered.archive_sha256 != self._find("workflow", _file_name(listed.url), source).sha256:
            raise NotImported("it is registered here from another archive")
        return self._changed_models(registered, source)

    def _needed(self, listed: ForeignWorkflow, source: Source) -> tuple[str, list[FoundArchive]]:
        """Return by which url a workflow is to be registered, and which archives have to be copied first."""
        if is_remote(listed.url):
            # What it downloaded lies in its store, and tells which models will be needed.
            seen = find_there("workflow", parse_url(listed.url).file_name, source.stores)
            found = [] if seen is None else self._models(self._spec(seen), source)
            return listed.url, [each for each in found if not each.is_here]
        war = self._find("workflow", _file_name(listed.url), source)
        found = [war, *self._models(self._spec(war), source)]
        return war.name, [each for each in found if not each.is_here]

    def _plan(
        self,
        listed: ForeignWorkflow,
        request: RegistrationRequest,
        missing: list[FoundArchive],
        there: Figures,
        plan: "_Plan",
    ) -> Outcome:
        """Check all that a registration checks before it runs code, and say what would be done."""
        spec = self._registration.rehearse(request, planned(missing, self._folders))
        copies = [each for each in missing if (each.store, each.name) not in plan]
        plan |= {(each.store, each.name) for each in missing}
        differences = _differences(there, _figures(spec.defaults, spec.dag.text))
        notes = [*_downloaded(request.url, "would be "), *_copies(copies, "would be copied"), *differences]
        return _outcome(listed, Verdict.PLANNED, [*notes, *spec.warnings])

    def _register(self, request: RegistrationRequest, missing: list[FoundArchive], origin: Origin) -> tuple[str, ...]:
        """Register as a client would, with copies of what is missing, and return the warnings."""
        with (
            self._leases.take() as lease,
            copied(missing, folders=self._folders, lease=lease, is_used=self._is_used),
        ):
            return self._registration.register(request, origin).warnings

    def _spec(self, war: FoundArchive) -> WorkflowSpec:
        contents = read_war(war.path, self._limits, shown_name=war.name)
        return parse_spec(contents.spec_text, self._limits)

    def _models(self, spec: WorkflowSpec, source: Source) -> list[FoundArchive]:
        """Find the archives of all models that are not downloaded; say all that is wrong with them at once."""
        urls = dict.fromkeys(node.url for node in spec.nodes if node.url is not None and not is_remote(node.url))
        found: dict[str, FoundArchive] = {}
        wrong = []
        for url in urls:
            try:
                name = model_file_name(url)
                found.setdefault(name, self._find("model", name, source))
            except WfmgmtError as error:
                wrong.append(str(error))
        if wrong:
            raise NotImported("; ".join(wrong))
        return list(found.values())

    def _changed_models(self, registered: WorkflowDetail, source: Source) -> list[str]:
        """Say which models the other server has other files of; what cannot be compared is left out."""
        changed = []
        for node in registered.nodes:
            if node.url is None or is_remote(node.url):
                continue
            try:
                found = self._find("model", node.url, source)
            except WfmgmtError as error:
                changed.append(str(error))
            else:
                changed += [] if found.sha256 == node.sha256 else [f"{node.url} is not the file that was registered"]
        return changed

    def _find(self, store: str, name: str, source: Source) -> FoundArchive:
        return find_archive(store, name, ours=self._folders, theirs=source.stores)

    def _is_used(self, store: str, file: str) -> bool:
        with self._registry.read() as reader:
            return reader.is_file_used(store, file)


def _file_name(url: str) -> str:
    """Return the name in its store: TorchServe copies what it registers by a file: address there."""
    return _FILE_SCHEME.sub("", url)


def _downloaded(url: str, verb: str) -> list[str]:
    return [f"{verb}downloaded from {parse_url(url).shown}"] if is_remote(url) else []


def _copies(archives: list[FoundArchive], verb: str) -> list[str]:
    return [f"{each.name} {verb} into the {each.store} store" for each in archives]


def _refused(name: str, reason: str) -> Outcome:
    return Outcome(workflow=name, verdict=Verdict.NOT_TAKEN, reason=reason)


def _outcome(listed: ForeignWorkflow, verdict: Verdict, notes: list[str]) -> Outcome:
    return Outcome(workflow=listed.name, verdict=verdict, notes=tuple(notes))


def _registered_figures(registered: WorkflowDetail) -> Figures:
    return _figures(registered.defaults, registered.dag)


def _figures(defaults: NodeSettings, dag: str) -> Figures:
    """Return what a description here says by the names of TorchServe."""
    return {
        "minWorkers": defaults.min_workers,
        "maxWorkers": defaults.max_workers,
        "batchSize": defaults.batch_size,
        "maxBatchDelay": defaults.max_batch_delay_ms,
        "workflowDag": dag,
    }


def _differences(there: Figures, here: Figures) -> list[str]:
    """Say which of the figures that both have are not the same."""
    same: dict[str, Callable[[object], object]] = {"workflowDag": _edges}
    return [
        f"{key}: {shortened(str(there[key]))} there, {shortened(str(value))} here"
        for key, value in here.items()
        if key in there and same.get(key, str)(there[key]) != same.get(key, str)(value)
    ]


def _edges(text: object) -> object:
    """Return the edges of a graph in TorchServe's form, whose order means nothing."""
    return {
        (source.strip(), target.strip())
        for source, targets in _EDGES.findall(str(text))
        for target in targets.split(",")
        if target.strip()
    }
