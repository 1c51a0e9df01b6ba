"""What changes would do, worked out from the registry and from checked archives."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from wfmgmt.archives.handler_names import function_lines, parse_module
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.domain.plans import (
    Change,
    Plan,
    PlanAction,
    PlannedArchive,
    PlannedFunction,
    PlannedModel,
    changes,
)
from wfmgmt.domain.releases import RoutingTable, WorkflowTarget
from wfmgmt.domain.rollouts import with_all_to
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.threads import ThreadPolicy
from wfmgmt.domain.traffic import table_json
from wfmgmt.domain.workflow import LoadRequest, NodeKind
from wfmgmt.errors import ArchiveNotFound, InvalidArchive
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.records import RegisteredArchive
from wfmgmt.services.archives import ArchiveFile


def workers_of(reader: Reader, target: WorkflowTarget, versions: Collection[str]) -> int:
    """Return how many workers versions of a workflow have at least."""
    uids = [uid for version, uid in target.versions.items() if version in versions]
    return sum(node.settings.min_workers for request in reader.load_requests(uids) for node in request.nodes)


def release_plan(reader: Reader, target: WorkflowTarget, before: RoutingTable, after: RoutingTable) -> Plan:
    """Return the plan of putting a routing table in force instead of another."""
    return Plan(
        action=PlanAction.NONE if before == after else PlanAction.RELEASE,
        workflow=target.name,
        uid=target.uid,
        revision=target.revision,
        changes=changes(_by_version(before), _by_version(after)),
        workers_now=workers_of(reader, target, before.versions),
        workers_after=workers_of(reader, target, after.versions),
        routes_before=before.weights,
        routes_after=after.weights,
    )


def lost_archives(kept: KeptArchives, folders: StoreFolders, versions: Iterable[LoadRequest]) -> tuple[str, ...]:
    """Return a sentence about each archive without which a version cannot be loaded."""
    return tuple(
        f"Version {version.version} has to be loaded first, but {archive.file} is neither kept nor in the "
        f"{archive.store} store any more."
        for version in versions
        for archive in _archives(version)
        if kept.file(archive.sha256) is None
        and not _is_there(folders.named(archive.store), archive.file)
        and kept.tree(archive.sha256) is None
    )


def _archives(version: LoadRequest) -> Iterable[RegisteredArchive]:
    own = RegisteredArchive("workflow", version.archive_file, version.archive_sha256)
    models = [
        RegisteredArchive("model", node.model_file, node.model_sha256)
        for node in version.nodes
        if node.model_file is not None and node.model_sha256 is not None
    ]
    return dict.fromkeys([own, *models])


def _is_there(folder: ArchiveFolder, file: str) -> bool:
    try:
        folder.find(file)
    except (ArchiveNotFound, InvalidArchive):
        return False
    return True


def _by_version(table: RoutingTable) -> dict[str, object]:
    return {**table_json(table), "routes": table.weights}


def removal_plan(reader: Reader, target: WorkflowTarget, table: RoutingTable, versions: Sequence[str]) -> Plan:
    """Return the plan of unregistering versions, which may be all that the workflow has."""
    uids = [target.versions[version] for version in versions]
    is_whole = len(versions) == len(target.versions)
    return Plan(
        action=PlanAction.REMOVE,
        workflow=target.name,
        version=None if is_whole else versions[0],
        uid=target.uid,
        revision=target.revision,
        changes=tuple(
            Change(path=f"versions[{request.version}]", before=request.archive_sha256, after=None)
            for request in reader.load_requests(uids)
        ),
        workers_now=workers_of(reader, target, table.versions),
        workers_after=0 if is_whole else workers_of(reader, target, table.versions),
        routes_before=table.weights,
        routes_after={} if is_whole else table.weights,
    )


def registration_plan(
    reader: Reader,
    *,
    workflow: str,
    version: str,
    set_default: bool,
    archive: ArchiveFile,
    contents: WorkflowArchive,
    spec: WorkflowSpec,
    models: Mapping[str, ArchiveFile],
    timeouts_s: Mapping[str, int],
    threads: ThreadPolicy,
) -> Plan:
    """Return the plan of registering a version, whose archives were checked."""
    target = reader.target(workflow)
    before = RoutingTable() if target is None or target.release is None else target.release.table
    after = with_all_to(before, version) if set_default or target is None else before
    now = 0 if target is None else workers_of(reader, target, before.versions)
    kept = now if target is None or after == before else workers_of(reader, target, after.versions)
    used_threads = {node.name: threads.of(node) for node in spec.nodes}
    functions, unknown = _functions(spec, contents, used_threads)
    return Plan(
        action=PlanAction.CREATE if target is None else PlanAction.ADD_VERSION,
        workflow=workflow,
        version=version,
        uid=None if target is None else target.uid,
        revision=None if target is None else target.revision,
        archive=PlannedArchive(
            url=archive.shown_url,
            sha256=archive.sha256,
            size_bytes=archive.path.stat().st_size,
            source=archive.source,
            same_as=None if target is None else _same_archive(reader, target, archive.sha256),
        ),
        changes=changes({}, timeouts_s),
        models=tuple(
            PlannedModel(
                node=node,
                url=model.shown_url,
                sha256=model.sha256,
                size_bytes=model.path.stat().st_size,
                threads=used_threads[node],
            )
            for node, model in models.items()
        ),
        functions=functions,
        workers_now=now,
        workers_after=kept + sum(node.settings.min_workers for node in spec.nodes),
        routes_before=before.weights,
        routes_after=after.weights,
        unknown=unknown,
        warnings=spec.warnings,
    )


def _same_archive(reader: Reader, target: WorkflowTarget, sha256: str) -> str | None:
    requests: list[LoadRequest] = list(reader.load_requests(target.versions.values()))
    return next((request.version for request in requests if request.archive_sha256 == sha256), None)


def _functions(
    spec: WorkflowSpec, contents: WorkflowArchive, threads: Mapping[str, int | None]
) -> tuple[tuple[PlannedFunction, ...], tuple[str, ...]]:
    """Return the functions that are nodes, and sentences about those that the source does not show."""
    names = [node.name for node in spec.nodes if node.kind is NodeKind.FUNCTION]
    source, file = contents.handler_source, contents.handler or ""
    module = None if source is None else parse_module(source, file)
    lines = {} if module is None else function_lines(module)
    found = tuple(
        PlannedFunction(name=name, line=lines[name], threads=threads[name]) for name in names if name in lines
    )
    return found, tuple(f"Only running {file} shows what {name} is." for name in names if name not in lines)
