"""What lies in the stores: lists, reports, and the removal of what no version uses."""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.report import ArchiveReport, ReportRules, report_on
from wfmgmt.archives.seen import looks_of
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.domain.access import Scope
from wfmgmt.domain.archives import ArchiveKind, ArchiveUse
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.domain.names import shortened
from wfmgmt.domain.plans import ArchiveSource, Plan, PlanAction, PlannedArchive
from wfmgmt.errors import (
    ArchiveInUse,
    ArchiveNotFound,
    BadRequest,
    FolderUnavailable,
    RelativePathRefused,
    Saturated,
    UrlNotAllowed,
)
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change

#: How long one list may read files whose digests are not known yet.
MAX_HASHING_S = 1.0
_CHUNK_BYTES = 1024 * 1024
#: In which the stores are listed.
_ORDER = tuple(ArchiveKind)
#: Files that are known to unpack.
_MAX_CHECKED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArchive:
    """A file in a store.

    Attributes:
        kind: In which store it lies.
        file: Its name.
        sha256: Its digest; None when that is not known yet.
        size_bytes: Its size.
        stored_at: When it was written.
        uses: Versions that it belongs to.
    """

    kind: ArchiveKind
    file: str
    sha256: str | None
    size_bytes: int
    stored_at: datetime
    uses: Sequence[ArchiveUse]


class ArchiveStore:
    """Looks at the archives in the stores, and removes them. Thread-safe.

    Args:
        registry: Knows who uses an archive.
        folders: The stores.
        kept: Knows the digests of files.
        rules: What registrations hold archives to.
        reports: Reports at a time, each of which may read a large file.
    """

    def __init__(
        self, *, registry: Registry, folders: StoreFolders, kept: KeptArchives, rules: ReportRules, reports: int
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._kept = kept
        self._rules = rules
        self._reports = threading.BoundedSemaphore(reports)
        self._checked: dict[str, None] = {}

    def page(
        self, kinds: Sequence[ArchiveKind], *, after: tuple[ArchiveKind, str] | None, limit: int
    ) -> tuple[list[StoredArchive], bool]:
        """Return one page of the archives in these stores, in the order of their names, and whether others follow.

        Args:
            kinds: Of the stores, workflows first.
            after: Which archive to list after, which may be gone; None for the start.
            limit: Archives wanted, >= 1.
        """
        names = [
            (kind, name)
            for kind in kinds
            for name in self._folders.named(kind).names()
            if after is None or (_ORDER.index(kind), name) > (_ORDER.index(after[0]), after[1])
        ]
        found = list(islice(self._found(names), limit + 1))
        page = found[:limit]
        deadline = time.monotonic() + MAX_HASHING_S
        with self._registry.read() as reader:
            uses = {
                kind: reader.archive_uses(kind, [path.name for each, path in page if each is kind]) for kind in kinds
            }
        listed = [self._stored(kind, path, uses[kind][path.name], deadline) for kind, path in page]
        return [each for each in listed if each is not None], len(found) > limit

    def names(self, kind: ArchiveKind, *, limit: int) -> list[str]:
        """Return the names of the first archives of a store."""
        found = self._found((kind, name) for name in self._folders.named(kind).names())
        return [path.name for _, path in islice(found, limit)]

    def _found(self, names: Iterable[tuple[ArchiveKind, str]]) -> Iterator[tuple[ArchiveKind, Path]]:
        """Yield those that are regular files, looking at no more than are wanted."""
        for kind, name in names:
            path = self._folders.named(kind).path(name)
            if path.is_file():
                yield kind, path

    def _stored(
        self, kind: ArchiveKind, path: Path, uses: Sequence[ArchiveUse], deadline: float
    ) -> StoredArchive | None:
        """Return a file as lists show it; None when it went."""
        try:
            status = path.stat()
            sha256 = self._digest(path, deadline)
        except OSError:
            return None
        return StoredArchive(
            kind=kind,
            file=path.name,
            sha256=sha256,
            size_bytes=status.st_size,
            stored_at=datetime.fromtimestamp(status.st_mtime, UTC),
            uses=uses,
        )

    def _digest(self, path: Path, deadline: float) -> str | None:
        """Return the digest of a file, None when it cannot be had in time; it is read once as long as it looks alike.

        Raises:
            OSError: It cannot be read.
        """
        looks = looks_of(path)
        if looks is None or (known := self._kept.seen.digest(looks)) is not None:
            return None if looks is None else known
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                if time.monotonic() >= deadline:
                    return None
                digest.update(chunk)
        if looks_of(path) == looks:
            self._kept.seen.remember(looks, digest.hexdigest())
        return digest.hexdigest()

    def report(self, kind: ArchiveKind, file: str) -> tuple[ArchiveReport, StoredArchive]:
        """Return what is in an archive, and what is known about its file.

        Raises:
            ArchiveNotFound, InvalidArchive: As `ArchiveFolder.find` says; what cannot be a name is not there, either.
            Saturated: As many archives as allowed are looked into.
        """
        path = self._find(kind, file)
        with self._slot():
            try:
                report = self._report(kind, path)
            except FileNotFoundError as error:
                raise ArchiveNotFound(file, kind) from error
        with self._registry.read() as reader:
            uses = reader.users_of(kind, file)
        stored = self._stored(kind, path, uses, 0)
        if stored is None:
            raise ArchiveNotFound(file, kind)
        return report, stored

    def _report(self, kind: ArchiveKind, path: Path) -> ArchiveReport:
        looks = looks_of(path)
        report = report_on(
            path,
            kind,
            self._rules,
            sha256=self._kept.seen.digest(looks),
            is_checked=looks in self._checked,
            models=self._folders.model,
        )
        if looks is not None and looks_of(path) == looks:
            if report.sha256 is not None:
                self._kept.seen.remember(looks, report.sha256)
            if not report.problems:
                if len(self._checked) >= _MAX_CHECKED:
                    self._checked.clear()
                self._checked[looks] = None
        return report

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._reports.acquire(blocking=False):
            raise Saturated("As many archives as allowed are being looked into; try again later.")
        try:
            yield
        finally:
            self._reports.release()

    def remove(self, kind: ArchiveKind, file: str, change: Change) -> str:
        """Remove a file that no version uses, and return its name.

        The file goes in the transaction that holds the write lock, so no registration can claim it meanwhile. One that
        has read it and not claimed it yet has kept its bytes, and needs the file no more.

        Raises:
            ArchiveNotFound, InvalidArchive: As `ArchiveFolder.find` says; what cannot be a name is not there, either.
            ArchiveInUse: A version uses it, finished or not.
            StalePlan: The plan that this carries out is outdated.
            FolderUnavailable, InsufficientStorage: The store cannot be written.
        """
        plan = self._plan(kind, file)
        change.check_plan(plan)
        with self._registry.write() as writer:
            _check_unused(writer, kind, file, change.scope)
            removed = plan.archive
            detail = {
                "store": kind.value,
                "file": file,
                "archive_sha256": None if removed is None else removed.sha256 or None,
                **change.stated_reason,
            }
            writer.record(
                AuditEvent(
                    origin=change.origin,
                    action=AuditAction.REMOVE_ARCHIVE,
                    workflow="",
                    outcome=AuditOutcome.SUCCEEDED,
                    detail=detail,
                )
            )
            change.on_made(writer, file)
            try:
                was_there = self._folders.named(kind).remove(file)
            except OSError as error:
                raise FolderUnavailable(f"{kind} store", error) from error
            if not was_there:
                raise ArchiveNotFound(file, kind)
        return file

    def plan(self, kind: ArchiveKind, file: str, change: Change) -> Plan:
        """Return what `remove` would do.

        Raises:
            WfmgmtError: What that would raise.
        """
        plan = self._plan(kind, file)
        with self._registry.read() as reader:
            _check_unused(reader, kind, file, change.scope)
        change.check_plan(plan)
        return plan

    def _plan(self, kind: ArchiveKind, file: str) -> Plan:
        stored = self._stored(kind, self._find(kind, file), (), time.monotonic() + MAX_HASHING_S)
        if stored is None:
            raise ArchiveNotFound(file, kind)
        return Plan(
            action=PlanAction.REMOVE,
            workflow="",
            archive=PlannedArchive(
                url=file, sha256=stored.sha256 or "", size_bytes=stored.size_bytes, source=ArchiveSource.STORE
            ),
            routes_before={},
            routes_after={},
        )

    def _find(self, kind: ArchiveKind, file: str) -> Path:
        folder: ArchiveFolder = self._folders.named(kind)
        try:
            return folder.find(file)
        except RelativePathRefused:
            raise
        except (ArchiveNotFound, BadRequest, UrlNotAllowed) as error:  # What cannot be its name is not there, either.
            raise ArchiveNotFound(shortened(file), kind) from error


def _check_unused(reader: Reader, kind: ArchiveKind, file: str, scope: Scope) -> None:
    if uses := reader.users_of(kind, file):
        raise in_use(file, uses, scope)


def in_use(file: str, uses: Sequence[ArchiveUse], scope: Scope) -> ArchiveInUse:
    """Return the error about an archive that is used, which names the versions that exist for the client."""
    known = [use for use in uses if use.workflow in scope]
    return ArchiveInUse(file, [str(use) for use in known], others=len(uses) - len(known))
