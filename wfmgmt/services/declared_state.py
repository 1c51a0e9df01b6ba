"""What differs between what is declared about a workflow and what is there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wfmgmt.archives.urls import is_remote
from wfmgmt.domain.declared import DeclaredWorkflow
from wfmgmt.domain.names import nearest, quoted
from wfmgmt.domain.plans import Change
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.releases import ReleaseKind, WorkflowTarget
from wfmgmt.domain.workflow import LoadRequest, NodeSettings
from wfmgmt.errors import BadRequest
from wfmgmt.errors.declared import DeclaredOtherwise
from wfmgmt.registry.declarations import KeptDeclaration
from wfmgmt.registry.reading import Reader
from wfmgmt.services.scaling import checked

#: Names that one look asks the registry about at a time.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVersion:
    """A version as it is registered.

    Attributes:
        url: What it was registered from.
        request: What the runtime loads, with the settings that its nodes have.
        spec: The settings that the spec gives them.
    """

    url: str
    request: LoadRequest
    spec: Mapping[str, NodeSettings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A workflow as it is.

    Attributes:
        name: Its name.
        target: The workflow; None when there is none of the name.
        versions: Its versions.
        kept: What was applied to it last; None when it comes from no source.
    """

    name: str
    target: WorkflowTarget | None = None
    versions: Mapping[str, FoundVersion] = field(default_factory=dict)
    kept: KeptDeclaration | None = None

    @property
    def traffic(self) -> Mapping[str, int]:
        """Share of each version in percent."""
        release = None if self.target is None else self.target.release
        return {} if release is None else release.table.weights


def look_at(reader: Reader, names: Sequence[str]) -> dict[str, Found]:
    """Return workflows as they are, by their names."""
    kept = reader.declarations.all() if len(names) > 1 else {name: reader.declarations.get(name) for name in names}
    urls = reader.declarations.urls(None if len(names) > 1 else names[0]) if names else {}
    found: dict[str, Found] = {}
    for start in range(0, len(names), _AT_ONCE):
        targets = reader.targets_named(names[start:][:_AT_ONCE])
        uids = [uid for target in targets.values() for uid in target.versions.values()]
        requests = {request.uid: request for request in reader.load_requests(uids)}
        specs = reader.all_spec_settings(uids)
        for name in names[start:][:_AT_ONCE]:
            target = targets.get(name)
            is_ready = target is not None and target.release is not None
            ready = target.versions if target is not None and is_ready else {}
            found[name] = Found(
                name=name,
                target=target if is_ready else None,
                versions={
                    version: FoundVersion(url=urls[name][version], request=requests[uid], spec=specs[uid])
                    for version, uid in ready.items()
                },
                kept=kept.get(name),
            )
    return found


def differences(found: Found, wanted: DeclaredWorkflow, *, prune: bool = False) -> tuple[Change, ...]:
    """Return what has to change, in the order in which that is done: add, set, route, remove.

    Args:
        found: The workflow as it is.
        wanted: As it is declared.
        prune: Whether versions go that are not declared.

    Raises:
        DeclaredOtherwise: A version was registered from another archive.
        BadRequest: A node is declared that no version has, or with settings that do not go together.
    """
    _check_versions(found, wanted)
    _check_nodes(found, wanted)
    missing = [version for version in wanted.versions if version not in found.versions]
    return (
        *(Change(path=f"versions[{version}]", before=None, after=wanted.versions[version].url) for version in missing),
        *_settings(found, wanted),
        *_traffic(found, wanted),
        *(
            Change(path=f"versions[{version}]", before=each.url, after=None)
            for version, each in found.versions.items()
            if prune and version not in wanted.versions
        ),
    )


def _check_versions(found: Found, wanted: DeclaredWorkflow) -> None:
    for version, declared in wanted.versions.items():
        registered = found.versions.get(version)
        if registered is None:
            continue
        digest = registered.request.archive_sha256
        if declared.sha256 not in ("", digest):
            raise DeclaredOtherwise(wanted.name, version, f"bytes with the SHA-256 {digest}", declared.sha256)
        url = redacted_address(declared.url) if is_remote(declared.url) else declared.url
        if not declared.sha256 and registered.url != url:
            raise DeclaredOtherwise(wanted.name, version, registered.url, url)


def _check_nodes(found: Found, wanted: DeclaredWorkflow) -> None:
    """Refuse nodes that no version has, once all are known."""
    known = {node.name for each in found.versions.values() for node in each.request.nodes}
    if found.versions.keys() >= wanted.versions.keys():
        for node in wanted.nodes:
            if node not in known:
                close = nearest(node, known)
                hint = f", did you mean {quoted(close)}?" if close else f"; there are {', '.join(sorted(known))}."
                raise BadRequest(f"nodes.{node}: workflow {wanted.name} has no such node{hint}")


def _settings(found: Found, wanted: DeclaredWorkflow) -> Iterator[Change]:
    for version in wanted.versions:
        each = found.versions.get(version)
        for node in each.request.nodes if each is not None else ():
            before = node.settings.by_api_name()
            spec = each.spec[node.name] if each is not None else node.settings
            after = checked(replace(spec, **wanted.nodes.get(node.name, {}))).by_api_name()
            for name, value in after.items():
                if before[name] != value:
                    path = f"versions[{version}].nodes.{node.name}.{name}"
                    yield Change(path=path, before=before[name], after=value)


def _traffic(found: Found, wanted: DeclaredWorkflow) -> Iterator[Change]:
    """Yield the change of the traffic; what a guard has taken back stays so until another traffic is declared."""
    if not wanted.traffic or found.traffic == wanted.traffic:
        return
    release = None if found.target is None else found.target.release
    is_taken_back = release is not None and release.kind is ReleaseKind.GUARD
    if is_taken_back and found.kept is not None and found.kept.declared.traffic == wanted.traffic:
        return
    if found.target is None and list(wanted.traffic) == list(wanted.versions)[:1]:
        return  # The first version gets everything by itself.
    yield Change(path="traffic", before=dict(found.traffic) or None, after=dict(wanted.traffic))


def drift(found: Found) -> tuple[Change, ...]:
    """Return what was changed since a workflow was applied last: from what is declared to what is there."""
    if found.kept is None:
        return ()
    wanted = found.kept.declared
    if found.target is None:
        return (Change(path="workflow", before=wanted.name, after=None),)
    settled = [version for version in wanted.versions if version in found.versions]
    gone = [version for version in wanted.versions if version not in found.versions]
    known = replace(wanted, versions={version: wanted.versions[version] for version in settled})
    return (
        *(Change(path=f"versions[{version}]", before=wanted.versions[version].url, after=None) for version in gone),
        *(_reversed(each) for each in _settings(found, known)),
        *(
            Change(path="traffic", before=dict(wanted.traffic), after=dict(found.traffic))
            for _ in range(bool(wanted.traffic) and found.traffic != wanted.traffic)
        ),
        *(
            Change(path=f"versions[{version}]", before=None, after=each.url)
            for version, each in found.versions.items()
            if version not in wanted.versions
        ),
    )


def _reversed(change: Change) -> Change:
    return Change(path=change.path, before=change.after, after=change.before)


def names_of(declared: Collection[str], kept: Mapping[str, KeptDeclaration], source: str, *, prune: bool) -> list[str]:
    """Return the workflows that applying a source is about: those that it declares, and perhaps its former ones."""
    former = [name for name, each in kept.items() if prune and each.source == source and name not in declared]
    return [*declared, *former]
