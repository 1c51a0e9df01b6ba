"""Uploads: archives that clients put into the stores."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from wfmgmt.archives.reading import open_archive, sha256_of
from wfmgmt.archives.receiving import ReceivedFile, Receiver
from wfmgmt.archives.report import ReportRules, report_on
from wfmgmt.archives.seen import SeenFiles, looks_of
from wfmgmt.archives.signatures import MAX_SIGNATURE_BYTES, parse_signature
from wfmgmt.archives.stores import SIGNATURE_SUFFIX, StoreFolders
from wfmgmt.domain.access import Scope
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome
from wfmgmt.errors import BadRequest, InvalidArchive
from wfmgmt.errors.uploads import ArchiveExists, DigestMismatch
from wfmgmt.folders import read_file
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.writing import Writer
from wfmgmt.services.archive_store import in_use
from wfmgmt.services.changes import Change
from wfmgmt.services.leases import Leases

_log = logging.getLogger("wfmgmt.uploads")

#: What the leases of uploads begin with.
_LEASE_PREFIX = "upload-"
#: How often a file is looked at that others change meanwhile.
_MAX_LOOKS = 5
#: Counts an archive that was stored: which store, how many bytes.
UploadCounter = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """An archive, or the signature of one, that is in its store now.

    Attributes:
        file: What has arrived.
        is_new: Whether it was not there before.
        report: What it holds, as JSON; None for a signature.
    """

    file: ReceivedFile
    is_new: bool
    report: Mapping[str, Any] | None


@dataclass(slots=True, kw_only=True)
class Upload:
    """One upload: what has arrived, and the parts that go with it.

    Attributes:
        file: What has arrived.
        lease: Owner of its parts.
        aside: What it has replaced, until that is for good; None when nothing.
        is_placed: Whether it has its name, which it loses again unless it `is_kept`.
    """

    file: ReceivedFile
    lease: str
    aside: Path | None = None
    is_placed: bool = False
    is_kept: bool = field(default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """Archives that came with a registration: parts of the stores, of which nothing is left but what it uses.

    Attributes:
        folders: The stores with them, for finding them.
        held: Removes the parts when it is closed.
    """

    folders: StoreFolders
    held: ExitStack

    def handed_over(self) -> Self:
        """Return them for longer than the request lives that they came with."""
        return replace(self, held=self.held.pop_all())


class Uploads:
    """Puts archives into the stores. Thread-safe; each call works in the caller's thread.

    An upload is a part of its store until it is checked. It gets its name in the transaction that records it, so of
    several for one name one is stored and the others are held against that one.

    Args:
        registry: Records uploads, and which files are used.
        folders: The stores.
        seen: Records the digest of what is stored.
        leases: Whose parts are under way.
        receiver: Takes the bytes.
        rules: What a registration would hold archives to.
        on_stored: Counts what was stored.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        seen: SeenFiles,
        leases: Leases,
        receiver: Receiver,
        rules: ReportRules,
        on_stored: UploadCounter = lambda _store, _bytes: None,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._seen = seen
        self._leases = leases
        self._receiver = receiver
        self._rules = rules
        self._on_stored = on_stored

    def lease(self) -> AbstractContextManager[str]:
        """Return the lease of uploads that come together."""
        return self._leases.take(prefix=_LEASE_PREFIX)

    @contextmanager
    def receive(
        self,
        store: str,
        name: str,
        pieces: Iterable[bytes],
        *,
        declared_bytes: int | None,
        sha256: str,
        lease: str | None = None,
    ) -> Iterator[Upload]:
        """Give an archive that has arrived; when the block ends, only what was stored is left of it.

        Args:
            store: `workflow` or `model`.
            name: The name that it is to have there.
            pieces: Its bytes; none is taken before all is checked that can be checked without them.
            declared_bytes: How many they are, if that is known.
            sha256: The digest that they have to have; empty for any.
            lease: Owner of its part, which lives longer than the block; one of its own unless given.

        Raises:
            BadRequest: The name is not fit for an archive, or it is no archive.
            DigestMismatch: It has another digest.
            UploadTooLarge, InsufficientStorage, FolderUnavailable: As `Receiver.receive` says.
        """
        self._folders.named(store).check_free_name(name)
        with self.lease() if lease is None else nullcontext(lease) as owner:
            file = self._receiver.receive(store, name, pieces, owner=owner, declared_bytes=declared_bytes)
            upload = Upload(file=file, lease=owner)
            try:
                self._check(file, sha256)
                yield upload
            finally:
                self._end(upload)

    def store(self, upload: Upload, change: Change, *, replace: bool) -> Uploaded:
        """Put an archive into its store under its name; with a dry run, only check it.

        Raises:
            ArchiveExists: The store has another file of that name.
            ArchiveInUse: It was to be replaced, but versions of workflows have it.
            WfmgmtError: The disk is full, or the database cannot be used; nothing has changed.
        """
        file = upload.file
        path = self._folders.named(file.store).path(file.name)
        if os.path.lexists(path) and not path.is_file():  # A folder, a pipe or a device, which is never opened.
            raise ArchiveExists(file.store, file.name)
        report = self._report(file)
        for _ in range(_MAX_LOOKS):
            looks = looks_of(path)
            found = None if looks is None else self._digest(path, looks)
            with self._registry.write() as writer:
                if looks_of(path) != looks:
                    continue
                is_new = self._is_to_be_placed(writer, file, found, replace=replace, scope=change.scope)
                if change.dry_run:
                    return Uploaded(file=file, is_new=False, report=report)
                if not self._place(upload, path, found):
                    continue
                uploaded = Uploaded(file=file, is_new=is_new, report=report)
                if is_new:
                    writer.record(_event(file, found, change))
                change.on_made(writer, uploaded)
            upload.is_kept = True
            if is_new:
                self._on_stored(file.store, file.size_bytes)
            if file.looks is not None and looks_of(path) == file.looks:
                self._seen.remember(file.looks, file.sha256)
            return uploaded
        raise ArchiveExists(file.store, file.name)

    def attach(self, uploads: Sequence[Upload], held: ExitStack) -> Attachments:
        """Return archives as what a registration takes along.

        Args:
            uploads: What has arrived.
            held: Removes their parts.
        """
        by_store: dict[str, dict[str, Path]] = {kind.value: {} for kind in ArchiveKind}
        for upload in uploads:
            by_store[upload.file.store][upload.file.name] = upload.file.part
        staged = {store: self._folders.named(store).with_staged(files) for store, files in by_store.items()}
        return Attachments(folders=StoreFolders(**staged), held=held)

    def _check(self, file: ReceivedFile, sha256: str) -> None:
        if sha256 not in ("", file.sha256):
            raise DigestMismatch(sha256, file.sha256)
        if file.name.endswith(SIGNATURE_SUFFIX):
            _check_signature(file.part)
            return
        try:
            with open_archive(file.part, self._rules.limits):
                pass
        except InvalidArchive as error:
            raise BadRequest(f"The body is not an archive: {error.reason}.") from error

    def _report(self, file: ReceivedFile) -> Mapping[str, Any] | None:
        """Return what an archive holds; whether all of it unpacks is what a registration checks."""
        if file.name.endswith(SIGNATURE_SUFFIX):
            return None
        report = report_on(
            file.part,
            ArchiveKind(file.store),
            self._rules,
            file=file.name,
            sha256=file.sha256,
            is_checked=True,
            models=self._folders.model,
        )
        return report.as_json()

    def _digest(self, path: Path, looks: str) -> str:
        """Return the digest of what has the name now; an empty one when that cannot be read."""
        try:
            return self._seen.digest(looks) or sha256_of(path)
        except OSError:
            return ""

    def _is_to_be_placed(
        self, writer: Writer, file: ReceivedFile, found: str | None, *, replace: bool, scope: Scope
    ) -> bool:
        """Return whether an archive is new, or may replace another one; False when it is there already."""
        if found in (None, file.sha256):
            return found is None
        if not replace:
            raise ArchiveExists(file.store, file.name)
        if uses := writer.users_of(ArchiveKind(file.store), file.name):
            raise in_use(file.name, uses, scope)
        return True

    def _place(self, upload: Upload, path: Path, found: str | None) -> bool:
        """Give an archive its name; return False when something has that meanwhile."""
        file, folder = upload.file, self._folders.named(upload.file.store)
        if found is None:
            upload.is_placed = folder.publish_as(file.part, file.name)
            return upload.is_placed
        # The same bytes are replaced, too, while they may be those of an upload that a kill ended half-way: a sweep
        # would remove them with its part.
        if found != file.sha256 or path.lstat().st_nlink > 1:
            upload.aside = folder.replace(file.part, file.name, upload.lease)
            upload.is_placed = True
        return True

    def _end(self, upload: Upload) -> None:
        """Remove the parts of an upload, and take back what is not kept; a sweep removes what this cannot."""
        file, folder = upload.file, self._folders.named(upload.file.store)
        try:
            if upload.is_placed and not upload.is_kept and looks_of(folder.path(file.name)) == file.looks:
                if upload.aside is None:
                    folder.remove(file.name)
                else:
                    upload.aside.replace(folder.path(file.name))
            for part in (file.part, upload.aside):
                if part is not None:
                    folder.discard(part)
        except OSError as error:
            _log.warning("the parts of the upload %s stay for now: %s", file.name, error.strerror)


def _check_signature(part: Path) -> None:
    content = read_file(part, MAX_SIGNATURE_BYTES)
    if content is None:
        raise BadRequest(f"The body is longer than a signature: {MAX_SIGNATURE_BYTES} bytes.")
    try:
        parse_signature(content)
    except ValueError as error:
        raise BadRequest(f"The body {error}.") from error


def _event(file: ReceivedFile, replaced: str | None, change: Change) -> AuditEvent:
    detail: dict[str, Any] = {
        "store": file.store,
        "file": file.name,
        "archive_sha256": file.sha256,
        "bytes": file.size_bytes,
        **({"replaced_sha256": replaced} if replaced else {}),
        **change.stated_reason,
    }
    return AuditEvent(
        origin=change.origin,
        action=AuditAction.UPLOAD,
        workflow="",
        outcome=AuditOutcome.SUCCEEDED,
        detail=detail,
    )
