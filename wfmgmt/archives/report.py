"""Reports of archives: what is in one and whether it can be registered, found out without running any of it."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from wfmgmt.archives.functions import check_functions
from wfmgmt.archives.handler_names import function_lines, parse_module
from wfmgmt.archives.imports import MAX_IMPORTS, ArchiveCode, ImportedModule, is_installed
from wfmgmt.archives.manifest import (
    MAR_MANIFEST,
    WAR_MANIFEST,
    ModelArchive,
    WorkflowArchive,
    model_in,
    read_manifest,
    workflow_in,
)
from wfmgmt.archives.reading import ArchiveReader, open_archive
from wfmgmt.archives.signatures import Signers, signature_beside
from wfmgmt.archives.stores import ArchiveFolder, folder_warnings, model_file_name
from wfmgmt.archives.urls import is_remote
from wfmgmt.archives.verified import VerifiedFile, open_verified
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.handler_strings import handler_file, parse_handler
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.names import check_workflow_name
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.requirements import ModelRequirements, RequirementsFile, RequirementsInvalid, libraries_problem
from wfmgmt.domain.spec import WorkflowSpec, parse_spec
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.domain.yaml_redaction import redacted_yaml
from wfmgmt.errors import ArchiveNotFound, ArchiveNotSigned, BadRequest, InvalidArchive, InvalidWorkflow, WfmgmtError
from wfmgmt.errors.loading import NodesNotLoadable

#: Functions that a report lists.
_MAX_FUNCTIONS = 1000
_LIBRARY = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRules:
    """What a registration would hold an archive to.

    Attributes:
        limits: Bounds on archives and specs.
        requirements: What is done with the libraries that archives list.
        has_models: Whether models run here, and not on other servers.
        signers: Who has to have signed it; None when nobody has to.
    """

    limits: Limits
    requirements: ModelRequirements = "ignore"
    has_models: bool = True
    signers: Signers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedNode:
    """A node of the graph in a workflow archive.

    Attributes:
        name: As in the graph.
        kind: Model or function.
        url: What the spec names, without credentials and query; None for functions.
        in_store: Whether that file is in the model store; None for functions, for addresses, and where no store is.
        settings: What the spec says about its workers, by the names of the API.
    """

    name: str
    kind: NodeKind
    url: str | None
    in_store: bool | None
    settings: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFunction:
    """A function in the handler file: its name, and the line where it begins."""

    name: str
    line: int


@dataclass(slots=True, kw_only=True)
class _Findings:
    """What was found so far. What could not be read is missing, and a problem says why."""

    file_count: int | None = None
    unpacked_bytes: int | None = None
    manifest: dict[str, Any] | None = None
    spec: str | None = None
    dag: str | None = None
    nodes: tuple[ReportedNode, ...] | None = None
    functions: tuple[ReportedFunction, ...] = ()
    imports: tuple[ImportedModule, ...] = ()
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What is in an archive.

    Attributes:
        file: Its name.
        kind: What it holds.
        sha256: Its digest; None when it could not be read to its end.
        size_bytes: Its size.
        file_count: Files in it; None when it is no archive.
        unpacked_bytes: What they say to unpack to; None likewise.
        manifest: Its manifest; None when there is none that can be read.
        spec: The text of its spec, without credentials in addresses; None for models, and when it cannot be read.
        dag: The graph in TorchServe's form; None likewise, and when the spec is wrong.
        nodes: In topological order; None likewise.
        functions: Those of the handler file.
        imports: Modules that the handler file imports, by itself or by other files of the archive.
        warnings: What is most likely a mistake but does no harm.
        problems: What would keep it from being registered, in the words of a registration.
    """

    file: str
    kind: ArchiveKind
    sha256: str | None
    size_bytes: int
    file_count: int | None
    unpacked_bytes: int | None
    manifest: Mapping[str, Any] | None
    spec: str | None
    dag: str | None
    nodes: tuple[ReportedNode, ...] | None
    functions: tuple[ReportedFunction, ...]
    imports: tuple[ImportedModule, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as answers show it."""
        return {
            "file": self.file,
            "kind": self.kind.value,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "files": self.file_count,
            "unpackedBytes": self.unpacked_bytes,
            "manifest": self.manifest,
            "spec": self.spec,
            "workflowDag": self.dag,
            "nodes": None if self.nodes is None else [_node_json(node) for node in self.nodes],
            "functions": [asdict(function) for function in self.functions],
            "imports": [asdict(module) for module in self.imports],
            "warnings": list(self.warnings),
            "problems": list(self.problems),
        }


def report_on(
    path: Path,
    kind: ArchiveKind,
    rules: ReportRules,
    *,
    file: str | None = None,
    sha256: str | None = None,
    is_checked: bool = False,
    models: ArchiveFolder | None = None,
) -> ArchiveReport:
    """Return what is in an archive, and what would keep it from being registered.

    Args:
        path: Where it is.
        kind: What it should hold.
        rules: What a registration would hold it to.
        file: What it is called; the file's name unless given.
        sha256: Its digest, if it is known; else all of the file is read for it.
        is_checked: Whether all of it was found to unpack before, so that only its parts are read.
        models: The model store, in which the models of a workflow are looked for; None when there is none.

    Raises:
        FileNotFoundError: There is no such file.
        InvalidArchive: It cannot be read at all, or is no regular file.
    """
    with open_verified(path) as content:
        look = _Look(kind, rules, file or path.name, models)
        with look.noted(), open_archive(content, rules.limits) as archive:
            look.at(archive, is_checked=is_checked)
        with look.noted():
            sha256 = sha256 or content.sha256
            if rules.signers is not None:
                rules.signers.check(look.file, sha256, signature_beside(path, look.file))
        return look.report(sha256, _size(content))


class _Look:
    """One look at an archive."""

    def __init__(self, kind: ArchiveKind, rules: ReportRules, file: str, models: ArchiveFolder | None) -> None:
        self._kind = kind
        self._rules = rules
        self.file = file
        self._models = models
        self._found = _Findings()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take what is wrong with the archive for a problem, in the words of a registration."""
        try:
            yield
        except InvalidArchive as error:
            what = "Workflow archive " if self._kind is ArchiveKind.WORKFLOW else ""
            self._found.problems.append(f"{what}{self.file}: {error.reason}")
        except (InvalidWorkflow, BadRequest, ArchiveNotSigned) as error:
            self._found.problems.append(str(error))

    def report(self, sha256: str | None, size_bytes: int) -> ArchiveReport:
        """Return the report."""
        found = self._found
        return ArchiveReport(
            file=self.file,
            kind=self._kind,
            sha256=sha256,
            size_bytes=size_bytes,
            file_count=found.file_count,
            unpacked_bytes=found.unpacked_bytes,
            manifest=found.manifest,
            spec=found.spec,
            dag=found.dag,
            nodes=found.nodes,
            functions=found.functions,
            imports=found.imports,
            warnings=tuple(found.warnings),
            problems=tuple(dict.fromkeys(found.problems)),
        )

    def at(self, archive: ArchiveReader, *, is_checked: bool) -> None:
        """Look at an open archive: at its parts first, as a registration does."""
        limits, found = self._rules.limits, self._found
        found.file_count = len(archive.names)
        found.unpacked_bytes = sum(archive.size(name) for name in archive.names)
        is_workflow = self._kind is ArchiveKind.WORKFLOW
        with suppress(InvalidArchive):  # Reading the parts gives the same error.
            found.manifest = read_manifest(archive, WAR_MANIFEST if is_workflow else MAR_MANIFEST, limits)
        workflow = model = None
        with self.noted():
            if is_workflow:
                workflow = workflow_in(archive, limits)
            else:
                model = model_in(archive, limits)
        if not is_checked:
            with self.noted():
                archive.check()
        if workflow is not None:
            self._at_workflow(archive, workflow)
        if model is not None:
            self._at_model(archive, model)

    def _at_workflow(self, archive: ArchiveReader, workflow: WorkflowArchive) -> None:
        found = self._found
        with self.noted():
            if workflow.name is None:
                raise InvalidWorkflow("Workflow name is not defined.")
            check_workflow_name(workflow.name)
        spec = None
        with self.noted():
            spec = parse_spec(workflow.spec_text, self._rules.limits)
            found.spec = redacted_yaml(workflow.spec_text)
        if workflow.handler is not None:
            self._at_code(archive, workflow.handler, workflow.handler_source, workflow.handler, workflow.requirements)
        if spec is not None:
            self._at_spec(spec, workflow)

    def _at_spec(self, spec: WorkflowSpec, workflow: WorkflowArchive) -> None:
        found = self._found
        found.dag = spec.dag.text
        urls = {node.name: node.url for node in spec.nodes if node.url is not None}
        found.warnings += spec.warnings
        with self.noted():
            found.warnings += folder_warnings(urls)
        with self.noted():
            check_functions(spec, workflow)
        failures = {node: problem for node, url in urls.items() if (problem := self._model_problem(url))}
        libraries = self._libraries_problem(workflow.requirements)
        if libraries:
            failures |= {node.name: libraries for node in spec.nodes if node.kind is NodeKind.FUNCTION}
        if failures:
            ordered = {node.name: failures[node.name] for node in spec.nodes if node.name in failures}
            found.problems.append(str(NodesNotLoadable(workflow.name or Path(self.file).stem, ordered)))
        found.nodes = tuple(
            ReportedNode(
                name=node.name,
                kind=node.kind,
                url=None if node.url is None else redacted_address(node.url),
                in_store=None
                if node.url is None or self._models is None or is_remote(node.url)
                else node.name not in failures,
                settings=node.settings.by_api_name(),
            )
            for node in spec.nodes
        )

    def _model_problem(self, url: str) -> str:
        """Return why a model is not in the store, if it should be."""
        if self._models is None or is_remote(url):
            return ""
        try:
            self._models.find(model_file_name(url))
        except ArchiveNotFound:
            return f"Model not found at: {redacted_address(url)}"
        except InvalidArchive as error:
            return f"{redacted_address(url)}: {error.reason}"
        except WfmgmtError as error:
            return str(error)
        return ""

    def _at_model(self, archive: ArchiveReader, model: ModelArchive) -> None:
        found = self._found
        if model.config is not None:
            found.warnings += [f"{model.config.file}: {problem}" for problem in model.config.problems]
        if self._rules.has_models and (problem := self._libraries_problem(model.requirements)):
            found.problems.append(problem)
        name = parse_handler(model.handler)
        file = handler_file(name, frozenset(archive.names))
        if file is None:
            # What the archive does not have is installed, or comes with torchserve.
            module = name.module.partition(".")[0]
            names = {module if is_installed(module) or not name.is_bare else "ts"}
            found.imports = ArchiveCode(archive, "", 0).sources(names, self._listed(model.requirements))
            return
        source, max_bytes = None, self._rules.limits.handler_bytes
        if file.endswith(".py") and archive.size(file) <= max_bytes:
            source = archive.read(file, max_bytes)
        self._at_code(archive, file, source, model.handler, model.requirements)

    def _at_code(
        self,
        archive: ArchiveReader,
        file: str,
        source: str | bytes | None,
        handler: str,
        requirements: RequirementsFile | None,
    ) -> None:
        """Look at the handler file."""
        found = self._found
        with self.noted():
            module = None if source is None else parse_module(source, file)
            if module is None:
                found.warnings.append(f"Only running {file} shows its functions, and what it imports.")
                return
            lines = sorted(function_lines(module).items(), key=itemgetter(1))
            found.functions = tuple(ReportedFunction(name=name, line=line) for name, line in lines[:_MAX_FUNCTIONS])
            if len(lines) > _MAX_FUNCTIONS:
                found.warnings.append(f"{file} has {len(lines)} functions, of which {_MAX_FUNCTIONS} are listed.")
            code = ArchiveCode(archive, parse_handler(handler).folder, self._rules.limits.handler_bytes)
            names = code.imported(module, file)
            found.imports = code.sources(names, self._listed(requirements))
            if len(names) > MAX_IMPORTS:
                found.warnings.append(f"{file} imports {len(names)} modules, of which {MAX_IMPORTS} are listed.")

    def _libraries_problem(self, requirements: RequirementsFile | None) -> str:
        problem = "" if requirements is None else libraries_problem(requirements, self._rules.requirements)
        return f"{self.file}: {problem}" if problem else ""

    def _listed(self, requirements: RequirementsFile | None) -> Collection[str] | None:
        """Return the libraries that are installed for the archive, None when none are."""
        if requirements is None or self._rules.requirements != "install":
            return None
        with suppress(RequirementsInvalid):
            names = map(_LIBRARY.match, requirements.libraries(for_install=True))
            return frozenset(name[0] for name in names if name is not None)
        return None


def _node_json(node: ReportedNode) -> dict[str, object]:
    return {
        "name": node.name,
        "kind": node.kind.value,
        "url": node.url,
        "inStore": node.in_store,
        **node.settings,
    }


def _size(content: VerifiedFile) -> int:
    return content.seek(0, 2)
