"""From the request's url to checked archives on disk, and back to nothing when the registration fails."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from wfmgmt.archives.durable import full_disk_reported
from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.kept import Kept, KeptArchives
from wfmgmt.archives.manifest import WorkflowArchive, read_mar, read_war
from wfmgmt.archives.progress import ByteCounter
from wfmgmt.archives.signatures import MAX_SIGNATURE_BYTES, Signers, read_signature
from wfmgmt.archives.stores import SIGNATURE_SUFFIX, ArchiveFolder, StoreFolders, model_file_name
from wfmgmt.archives.urls import RemoteUrl, is_remote, parse_url
from wfmgmt.archives.verified import VerifiedFile, open_verified
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.model_config import ModelConfig
from wfmgmt.domain.operations import OperationPhase
from wfmgmt.domain.plans import ArchiveSource
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.requirements import RequirementsFile
from wfmgmt.errors import (
    ArchiveNotFound,
    ArchiveNotSigned,
    BadRequest,
    DownloadFailed,
    FolderUnavailable,
    InvalidArchive,
    InvalidWorkflow,
    UrlNotAllowed,
)
from wfmgmt.services.tracking import Tracker

_log = logging.getLogger("wfmgmt.registration")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    """An archive that lies in a store, or is about to.

    Attributes:
        path: Where its bytes are now.
        shown_url: What the client asked for, without credentials and query.
        wanted_name: The name that a download, or what came with the request, is to get in the store; None when the file
            lies there already.
        sha256: Digest of the bytes; empty before they have been read.
        config: What a model's configuration file says; None when it has none.
        requirements: The file of libraries that a model's manifest names; None when it names none.
        signature: The content of the file with its signature; None when there is none, or none is needed.
        signer: Who signed it; empty when nobody has to.
    """

    path: Path
    shown_url: str
    wanted_name: str | None = None
    sha256: str = ""
    config: ModelConfig | None = None
    requirements: RequirementsFile | None = None
    signature: bytes | None = None
    signer: str = ""

    @property
    def source(self) -> ArchiveSource:
        """Where it comes from."""
        if self.wanted_name is None:
            return ArchiveSource.STORE
        return ArchiveSource.DOWNLOAD if is_remote(self.shown_url) else ArchiveSource.UPLOAD


def _opened(archive: ArchiveFile, open_file: Callable[[Path], VerifiedFile]) -> VerifiedFile:
    """Open an archive, so that what is checked is what its digest stands for."""
    try:
        return open_file(archive.path)
    except FileNotFoundError as error:  # It went since it was found.
        raise ArchiveNotFound(archive.shown_url) from error


@contextmanager
def _unwritable_reported() -> Iterator[None]:
    """Say why an archive cannot be kept."""
    try:
        with full_disk_reported():
            yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidArchive("it cannot be unpacked: the name of a member is too long") from error
        raise FolderUnavailable("archives", error) from error


@contextmanager
def naming_workflow(url: str) -> Iterator[None]:
    """Name the archive of a workflow, as the client did, in what is wrong with it."""
    try:
        yield
    except InvalidArchive as error:
        raise InvalidWorkflow(f"Workflow archive {redacted_address(url)}: {error.reason}") from error


class Acquisition:
    """The archives of one registration. Downloads stay invisible until `publish`, and `undo` removes them.

    Args:
        folders: The stores.
        kept: Where what passes the checks is kept; None when nothing is to be.
        unpacks_models: Whether models are kept unpacked, too.
        fetcher: Downloads.
        limits: Bounds on archives.
        lease: Whose downloads these are, which distinguishes them from those of a dead process.
        cancelled: Becomes true when the server stops.
        tracker: Hears how far the work is.
        signers: Who has to have signed archives; None when nobody has to.
    """

    def __init__(
        self,
        *,
        folders: StoreFolders,
        kept: KeptArchives | None,
        unpacks_models: bool,
        fetcher: Fetcher,
        limits: Limits,
        lease: str,
        cancelled: Callable[[], bool],
        tracker: Tracker,
        signers: Signers | None = None,
    ) -> None:
        self._signers = signers
        self._folders = folders
        self._kept = None if kept is None else kept.of(lease)
        self._unpacks_models = unpacks_models
        self._fetcher = fetcher
        self._limits = limits
        self._lease = lease
        self._cancelled = cancelled
        self._tracker = tracker
        self._parts: list[tuple[ArchiveFolder, Path]] = []
        self._published: list[tuple[ArchiveFolder, str]] = []
        self._newly_kept: list[Kept] = []

    def workflow(self, url: str, detail: dict[str, Any]) -> tuple[ArchiveFile, WorkflowArchive]:
        """Return the workflow's archive, downloading it if need be, and what it holds.

        Args:
            url: What the client asks for.
            detail: Gets the url, the digest and the signer for the audit trail, also when the archive is refused.

        Raises:
            InvalidWorkflow: It cannot be read, or is no archive of a workflow.
            ArchiveNotSigned: It is not signed by one of those who have to sign archives.
            ArchiveNotFound, BadRequest, UrlNotAllowed, DownloadFailed, InsufficientStorage: As `ArchiveFolder.find`
                and `Fetcher.fetch` say.
        """
        with naming_workflow(url):
            archive = self._acquire(self._folders.workflow, url)
            # What does not lie in the store is not known by its temporary name.
            name = archive.wanted_name or archive.path.name
            with self._reading(archive, is_unpacked=True) as (content, tree, is_known):
                detail["url"] = archive.shown_url
                try:
                    signer = self._signer(archive, content)
                    contents = read_war(content, self._limits, tree, is_known=is_known, shown_name=name)
                except BaseException:
                    content.stop_copying()
                    raise
                finally:
                    detail["archive_sha256"] = content.sha256
            if signer:
                detail["signer"] = signer
            return replace(archive, sha256=detail["archive_sha256"], signer=signer), contents

    def models(self, urls: Mapping[str, str]) -> tuple[dict[str, ArchiveFile], dict[str, str]]:
        """Return the archives of model nodes, each checked as far as is possible without running it.

        Args:
            urls: Node name to what the spec names.

        Returns:
            Node name to archive, and node name to why there is none.

        Raises:
            ArchiveNotSigned: One is not signed by one of those who have to sign archives.
        """
        found: dict[str, ArchiveFile] = {}
        failures: dict[str, str] = {}
        for url in dict.fromkeys(urls.values()):
            try:
                found[url] = self._model(url)
            except ArchiveNotFound:
                failures[url] = f"Model not found at: {redacted_address(url)}"
            except (BadRequest, InvalidArchive, UrlNotAllowed, DownloadFailed) as error:
                failures[url] = str(error)
        return (
            {node: found[url] for node, url in urls.items() if url in found},
            {node: failures[url] for node, url in urls.items() if url in failures},
        )

    def _model(self, url: str) -> ArchiveFile:
        try:
            model = self._acquire(self._folders.model, url if is_remote(url) else model_file_name(url))
            with self._reading(model, is_unpacked=self._unpacks_models) as (content, tree, is_known):
                signer = self._signer(model, content)
                facts = read_mar(content, self._limits, tree, is_known=is_known)
                return replace(
                    model,
                    sha256=content.sha256,
                    config=facts.config,
                    requirements=facts.requirements,
                    signer=signer,
                )
        except InvalidArchive as error:
            raise InvalidArchive(f"{redacted_address(url)}: {error.reason}") from error

    @contextmanager
    def _reading(self, archive: ArchiveFile, *, is_unpacked: bool) -> Iterator[tuple[VerifiedFile, Path | None, bool]]:
        """Open an archive for its one reading, after which it is kept.

        Gives the folder to unpack it into, too, and whether it is kept already, so that it was checked before.

        Raises:
            ArchiveNotFound: It went since it was found.
            InsufficientStorage, FolderUnavailable: It cannot be kept.
        """
        self._tracker.on_phase(OperationPhase.CHECKING)
        with _unwritable_reported():
            if self._kept is None:
                with _opened(archive, partial(open_verified, on_bytes=self._tracker.on_bytes)) as content:
                    yield content, None, False
                return
            with (
                self._kept.part(is_unpacked=is_unpacked) as part,
                _opened(archive, partial(part.open, on_bytes=self._tracker.on_bytes)) as content,
            ):
                yield content, part.tree, part.is_known
                self._newly_kept.append(part.keep())

    def _signer(self, archive: ArchiveFile, content: VerifiedFile) -> str:
        """Return who signed an archive, before anything in it is looked at; empty when nobody has to.

        Raises:
            ArchiveNotSigned: It is not signed as it has to be.
        """
        if self._signers is None:
            return ""
        return self._signers.check(redacted_address(archive.shown_url), content.sha256, archive.signature)

    def _acquire(self, folder: ArchiveFolder, url: str) -> ArchiveFile:
        """Return an archive that has not been read yet."""
        if not is_remote(url):
            path = folder.find(url)
            signature = None if self._signers is None else read_signature(folder.path(url + SIGNATURE_SUFFIX))
            wanted_name = url if folder.is_staged(url) else None
            return ArchiveFile(path=path, shown_url=url, wanted_name=wanted_name, signature=signature)
        remote = parse_url(url)
        self._fetcher.check(remote)
        self._tracker.on_phase(OperationPhase.FETCHING)
        signature = None if self._signers is None else self._download_signature(folder, remote)
        path = self._download(folder, remote, self._tracker.on_bytes)
        return ArchiveFile(path=path, shown_url=remote.shown, wanted_name=remote.file_name, signature=signature)

    def _download(self, folder: ArchiveFolder, url: RemoteUrl, on_bytes: ByteCounter) -> Path:
        part = folder.reserve(self._lease)
        self._parts.append((folder, part))
        self._fetcher.fetch(url, part, self._cancelled, on_bytes)
        return part

    def _download_signature(self, folder: ArchiveFolder, archive: RemoteUrl) -> bytes:
        """Return the signature of an archive that is to be downloaded; without one, the archive is not."""

        def limit(done: int, total: int | None) -> None:
            if max(done, total or 0) > MAX_SIGNATURE_BYTES:
                raise ArchiveNotSigned(archive.shown, f"its signature is longer than {MAX_SIGNATURE_BYTES} bytes")

        try:
            part = self._download(folder, archive.followed_by(SIGNATURE_SUFFIX), limit)
        except DownloadFailed as error:
            raise ArchiveNotSigned(archive.shown, f"its signature is not there: {error}") from error
        signature = part.read_bytes()
        folder.discard(part)
        return signature

    def publish(self, store: str, archive: ArchiveFile) -> str:
        """Return the archive's name in its store, giving a download a visible one."""
        if archive.wanted_name is None:
            return archive.path.name
        folder = self._folders.named(store)
        name = folder.publish(archive.path, archive.wanted_name)
        self._published.append((folder, name))
        return name

    def keep(self) -> None:
        """Drop what only an unfinished registration needs: the workflow is recorded, with the names of its files."""
        for folder, part in self._parts:
            folder.discard(part)
        self._parts.clear()

    def take_back(self) -> None:
        """Remove what was kept for this registration alone, which is not recorded; a sweep removes what this cannot."""
        for kept in self._newly_kept:
            try:
                if self._kept is not None:
                    self._kept.take_back(kept)
            except OSError as error:
                _log.warning("the archive %s stays for now: %s", kept.sha256, error.strerror)
        self._newly_kept.clear()

    def undo(self) -> None:
        """Remove everything that was downloaded and kept."""
        self.take_back()
        for folder, name in self._published:
            folder.remove(name)
        self._published.clear()
        self.keep()
