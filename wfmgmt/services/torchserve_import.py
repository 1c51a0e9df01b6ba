"""The import from a TorchServe that runs: registering here what is registered there."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from wfmgmt.archives.manifest import read_war, requirements_of_mar
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders, model_file_name
from wfmgmt.archives.urls import is_remote, parse_url
from wfmgmt.control.client import RuntimeClient
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.names import check_workflow_name, shortened
from wfmgmt.domain.requirements import ModelRequirements
from wfmgmt.domain.spec import parse_spec
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import InvalidArchive, WfmgmtError
from wfmgmt.errors.commands import NotImported
from wfmgmt.registry.records import WorkflowDetail
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.leases import Leases
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration import Registration
from wfmgmt.services.staging import FoundArchive, find_archive, find_there, planned, staged
from wfmgmt.torchserve.responses import GRAPH, Figures, Listed

_EDGES = re.compile(r"([^=,{}\[\]]+)=\[([^\[\]]*)\]")
_FILE_SCHEME = re.compile(r"\Afile:.*/", re.IGNORECASE)

#: Store and name of the archives that a dry run would have copied by now.
_Plan = set[tuple[str, str]]


class Verdict(StrEnum):
    """How the import of a workflow can end."""

    REGISTERED = "registered"
    PLANNED = "would be registered"
    HERE = "is here already"
    NOT_IMPORTED = "not imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the import of one workflow ended, and why.

    Attributes:
        workflow: Its name as the other server gives it, which may be anything.
        verdict: What became of it.
        reason: Why it was not imported; empty when it was.
        notes: What is different here, and what was done besides; phrases for the operator.
    """

    workflow: str
    verdict: Verdict
    reason: str = ""
    notes: tuple[str, ...] = ()


class WorkflowListing(Protocol):
    """The workflows of a TorchServe. Both methods raise WfmgmtError when it cannot be asked."""

    def workflows(self) -> list[Listed]:
        """Return all workflows, each name once."""

    def figures(self, workflow: str) -> Figures:
        """Return what TorchServe says about a workflow whose name has the form that is allowed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A TorchServe that workflows are imported from: its list of them, and its stores.

    Attributes:
        listing: Which there are.
        stores: TorchServe's folders of archives, `workflow` and `model`, as far as they are at hand.
    """

    listing: WorkflowListing
    stores: Mapping[str, ArchiveFolder]


class TorchServeImport:
    """Registers what a TorchServe has, in the caller's thread, one workflow after the other.

    Args:
        registry: The registry.
        folders: The archive stores.
        runtime: Has to run, since it loads what is registered.
        registration: Registers.
        leases: Proof that archives are being staged.
        limits: Bounds on archives and specs.
        policy: What is done with the libraries that archives list.
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
        policy: ModelRequirements,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._runtime = runtime
        self._registration = registration
        self._leases = leases
        self._limits = limits
        self._policy = policy

    def run(
        self, source: Source, origin: Origin, *, only: Collection[str] = (), is_dry: bool = False
    ) -> Iterator[Outcome]:
        """Register what TorchServe has, and yield what became of each workflow as soon as that is known.

        One that cannot be imported does not keep the others from it. Timeouts are those of a registration without any,
        since TorchServe does not say its own.

        Args:
            source: The TorchServe.
            origin: Who asks, for the audit trail.
            only: Names to restrict it to; all when there are none.
            is_dry: Change nothing, and find out what would be done, which needs no runtime.

        Raises:
            WfmgmtError: TorchServe cannot be asked what it has.
            RuntimeUnavailable: Nothing can be registered, or no longer; what was yielded before holds. A dry run ends
                with it.
        """
        listed = {each.name: each for each in source.listing.workflows()}
        plan: _Plan | None = set() if is_dry else None
        for name in dict.fromkeys(only or listed):
            if not is_dry:
                self._runtime.report("none")
            try:
                if name not in listed:
                    raise NotImported("TorchServe has no workflow of that name")
                outcome = self._import(listed[name], source, origin, plan)
            except WfmgmtError as error:
                outcome = Outcome(workflow=name, verdict=Verdict.NOT_IMPORTED, reason=str(error))
            except OSError as error:  # Files may go, or be closed to us, while they are copied.
                reason = f"a file cannot be read or written: {error.strerror}"
                outcome = Outcome(workflow=name, verdict=Verdict.NOT_IMPORTED, reason=reason)
            yield outcome
        if is_dry:
            self._runtime.report("none")

    def _import(self, listed: Listed, source: Source, origin: Origin, plan: _Plan | None) -> Outcome:
        """Register one workflow, or only find out whether that could be done when there is a plan."""
        check_workflow_name(listed.name)
        there = source.listing.figures(listed.name)
        registered = self._registered(listed.name)
        if registered is not None:
            notes = [
                *_differences(there, registered.defaults, registered.dag),
                *self._compare(listed, registered, source),
            ]
            return _outcome(listed, Verdict.HERE, notes)
        url, needed = self._needed(listed, source)
        libraries = self._library_notes(needed)
        missing = [each for each in needed if not each.is_here]
        request = RegistrationRequest(url=url, workflow_name=listed.name)
        if plan is not None:
            planned = self._plan(listed, request, missing, there, plan)
            return replace(planned, notes=(*planned.notes, *libraries))
        warnings = self._register(request, missing, origin)
        registered = self._registered(listed.name)
        differences = [] if registered is None else _differences(there, registered.defaults, registered.dag)
        notes = [*_downloaded(url, ""), *_staging_notes(missing, "copied"), *differences, *warnings, *libraries]
        return _outcome(listed, Verdict.REGISTERED, notes)

    def _registered(self, name: str) -> WorkflowDetail | None:
        with self._registry.read() as reader:
            return reader.describe(name)

    def _compare(self, listed: Listed, registered: WorkflowDetail, source: Source) -> list[str]:
        """Refuse what is registered here from something else; say what else of it is different over there."""
        if is_remote(listed.url):
            shown = parse_url(listed.url).shown
            if registered.url != shown:
                raise NotImported(f"it is registered here from {registered.url}, and there from {shown}")
            return ["registered from the same address; what lies there now was not looked at"]
        if registered.archive.sha256 != self._find("workflow", _file_name(listed.url), source).sha256:
            raise NotImported("it is registered here from another archive")
        return self._changed_models(registered, source)

    def _needed(self, listed: Listed, source: Source) -> tuple[str, list[FoundArchive]]:
        """Return by which url a workflow is to be registered, and its archives, as far as they are not downloaded."""
        if is_remote(listed.url):
            # What it downloaded lies in its store, and names the models that will be needed.
            seen = find_there("workflow", parse_url(listed.url).file_name, source.stores)
            return listed.url, [] if seen is None else self._models(seen, source)
        war = self._find("workflow", _file_name(listed.url), source)
        return war.name, [war, *self._models(war.path, source)]

    def _library_notes(self, archives: list[FoundArchive]) -> list[str]:
        """Say which archives may have relied on TorchServe's installing what they list."""
        notes = []
        for each in archives:
            with suppress(InvalidArchive):  # Its registration says what is wrong with it.
                if each.store == "model" and (file := requirements_of_mar(each.path, self._limits)) is not None:
                    notes.append(
                        f"{each.name} lists libraries in {file.name}, which TorchServe installs if "
                        "install_py_dep_per_model is true; here that is WFMGMT_MODEL_REQUIREMENTS, which is "
                        f"{self._policy}"
                    )
        return notes

    def _plan(
        self,
        listed: Listed,
        request: RegistrationRequest,
        missing: list[FoundArchive],
        there: Figures,
        plan: _Plan,
    ) -> Outcome:
        """Check all that a registration checks before it runs code, and say what would be done."""
        spec = self._registration.rehearse(request, planned(missing, self._folders))
        to_stage = [each for each in missing if (each.store, each.name) not in plan]
        plan |= {(each.store, each.name) for each in missing}
        differences = _differences(there, spec.defaults, spec.dag.text)
        notes = [*_downloaded(request.url, "would be "), *_staging_notes(to_stage, "would be copied"), *differences]
        return _outcome(listed, Verdict.PLANNED, [*notes, *spec.warnings])

    def _register(self, request: RegistrationRequest, missing: list[FoundArchive], origin: Origin) -> tuple[str, ...]:
        """Register as a client would, with copies of what is missing, and return the warnings."""
        with (
            self._leases.take() as lease,
            staged(missing, folders=self._folders, lease=lease, is_used=self._is_used),
        ):
            return self._registration.register(request, Change(origin=origin)).warnings

    def _models(self, war: Path, source: Source) -> list[FoundArchive]:
        """Find the archives of all models that are not downloaded; say all that is wrong with them at once."""
        spec = parse_spec(read_war(war, self._limits).spec_text, self._limits)
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
            url = node.model_url
            if url is None or is_remote(url):
                continue
            try:
                found = self._find("model", url, source)
            except WfmgmtError as error:
                changed.append(str(error))
            else:
                changed += [] if found.sha256 == node.model_sha256 else [f"{url} is not the file that was registered"]
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


def _staging_notes(archives: list[FoundArchive], verb: str) -> list[str]:
    return [f"{each.name} {verb} into the {each.store} store" for each in archives]


def _outcome(listed: Listed, verdict: Verdict, notes: list[str]) -> Outcome:
    return Outcome(workflow=listed.name, verdict=verdict, notes=tuple(notes))


def _differences(there: Figures, defaults: NodeSettings, dag: str) -> list[str]:
    """Say which of the figures that TorchServe gives are not the same here."""
    here: Figures = {**defaults.by_api_name(), GRAPH: dag}
    same: dict[str, Callable[[object], object]] = {GRAPH: _edges}
    return [
        f"{name}: {shortened(str(there[name]))} there, {shortened(str(value))} here"
        for name, value in here.items()
        if name in there and same.get(name, str)(there[name]) != same.get(name, str)(value)
    ]


def _edges(text: object) -> object:
    """Return the edges of a graph in TorchServe's form, whose order means nothing."""
    return {
        (source.strip(), target.strip())
        for source, targets in _EDGES.findall(str(text))
        for target in targets.split(",")
        if target.strip()
    }
