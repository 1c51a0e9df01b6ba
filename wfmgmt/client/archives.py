"""Archives in the stores as the service shows them, as frozen values."""

from datetime import datetime
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE

Kind = Literal["workflow", "model"]
#: Of what an archive is, by what its name ends in.
STORES: dict[str, Kind] = {".war": "workflow", ".mar": "model"}


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Use:
    """A version of a workflow that has an archive.

    Attributes:
        workflow: The workflow; empty while a registration has not found it out.
        version: The version.
        node: Whose model it is; None for the archive of the workflow itself.
    """

    workflow: str
    version: str
    node: str | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Archive:
    """A file in a store.

    Attributes:
        file: Its name.
        kind: In which store it is: `workflow` or `model`.
        sha256: Its digest; None while it is not known.
        bytes: Its size.
        stored_at: When it was written.
        used_by: Versions that have it, finished or not.
    """

    file: str
    kind: Kind
    sha256: str | None
    bytes: int
    stored_at: datetime
    used_by: tuple[Use, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Archives:
    """A part of the list of archives.

    Attributes:
        archives: Those of workflows first, in the order of their names.
        next_after: There unless this is the last page.
    """

    archives: tuple[Archive, ...]
    next_after: str | None = None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ReportedNode:
    """A node of the graph in an archive; `in_store` says whether its model is there, None when that is no question."""

    name: str
    kind: str
    url: str | None
    in_store: bool | None
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    retry_attempts: int
    timeout_ms: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ReportedFunction:
    """A function in the handler file: its name, and the line where it begins."""

    name: str
    line: int


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Import:
    """A module that the handler imports.

    Attributes:
        name: Before its first dot.
        available: Whether workers find it; None when only installing the libraries of the archive shows that.
        source: Where it comes from: `standard`, `archive`, `installed` or `requirements`; None when that is not known.
    """

    name: str
    available: bool | None
    source: str | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ArchiveReport(Archive):
    """What is in an archive.

    Attributes:
        files: Files in it; None when it is no archive.
        unpacked_bytes: What they say to unpack to; None likewise.
        manifest: Its manifest; None when it cannot be read.
        spec: Its spec, without credentials in addresses; None for models, and when it cannot be read.
        workflow_dag: The graph; None likewise.
        nodes: Those of the graph; None likewise.
        functions: Those in the handler file.
        imports: What that imports, by itself or by other files of the archive.
        warnings: What is most likely a mistake but does no harm.
        problems: What would keep it from being registered.
    """

    files: int | None
    unpacked_bytes: int | None
    manifest: dict[str, Any] | None
    spec: str | None
    workflow_dag: str | None
    nodes: tuple[ReportedNode, ...] | None
    functions: tuple[ReportedFunction, ...]
    imports: tuple[Import, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Uploaded:
    """An archive, or the signature of one, that a store has now.

    Attributes:
        file: Its name there.
        sha256: Its digest.
        bytes: Its size.
        report: What it holds, with the fields of `ArchiveReport` but those of the stored file; None for a signature.
    """

    file: str
    sha256: str
    bytes: int
    report: dict[str, Any] | None
