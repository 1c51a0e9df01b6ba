"""Backups: a consistent copy of the registry while it is used, with its archives if wanted, and the way back.

With archives a backup is a tar file: the database first, then each archive under its digest, then the files with what
was archived of the audit trail. Earlier versions of the service named archives by their stores; such a backup is
restored, too.
"""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from wfmgmt.archives.durable import new_durable_file
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.errors import ArchiveNotFound
from wfmgmt.errors.commands import BackupRefused, DatabaseUnusable
from wfmgmt.registry.records import RegisteredArchive
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import inspect, upgrade
from wfmgmt.registry.segments import Segment

_DATABASE, _SEGMENTS = "wfmgmt.db", "audit"
_OWNER = "restore"


@dataclass(kw_only=True)
class BackupReport:
    """The outcome of a backup or a restore.

    Attributes:
        archives: How many archives it holds.
        problems: A sentence for each that it lacks.
    """

    archives: int = 0
    problems: list[str] = field(default_factory=list)


def back_up(
    registry: Registry,
    folders: StoreFolders,
    kept: KeptArchives,
    target: Path,
    *,
    audit_folder: Path,
    with_archives: bool,
) -> BackupReport:
    """Write a backup, which appears whole or not at all.

    Args:
        registry: The registry; others may change it meanwhile.
        folders: The archive stores.
        kept: The archives of all registrations; what is not among them is looked for in the stores.
        target: A path at which nothing is.
        audit_folder: Where the files of segments of the audit trail are.
        with_archives: Whether the archives of registered workflows and these files go with it.

    Raises:
        BackupRefused: Something is at the path, or it cannot be written.
    """
    with (
        _refuse_unwritable(target),
        _temporary(target) as database,
        _temporary(target) as unfinished,
        ExitStack() as opened,
    ):
        if target.exists():
            raise BackupRefused(f"{target} is there already")
        database.touch(0o600, exist_ok=False)  # SQLite would not say why it cannot create a file.
        if not with_archives:
            registry.copy_to(database)
            _make_durable(database)
            database.replace(target)
            return BackupReport()
        files: dict[RegisteredArchive, BinaryIO] = {}
        report = BackupReport()
        # While no process can write, no archive of a registered workflow is removed; what is open stays readable.
        with registry.write() as writer:
            registry.copy_to(database)
            segments = writer.segments.all()
            for archive in writer.archives():
                try:
                    path = kept.file(archive.sha256) or folders.named(archive.store).find(archive.file)
                    files[archive] = opened.enter_context(path.open("rb"))
                except (ArchiveNotFound, OSError):
                    report.problems.append(f"{archive.store} store: {archive.file} is not there")
        with new_durable_file(unfinished, is_private=True) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(database, _DATABASE)
            for archive, file in files.items():
                if _add(tar, _name(archive), file) == archive.sha256:
                    report.archives += 1
                else:
                    report.problems.append(f"{archive.store} store: {archive.file} is not what was registered")
            for segment in segments:
                _add_segment(tar, segment, audit_folder, report)
        unfinished.replace(target)
        return report


def _add_segment(tar: tarfile.TarFile, segment: Segment, audit_folder: Path, report: BackupReport) -> None:
    """Add the file of a segment of the audit trail, which nobody removes meanwhile."""
    try:
        with segment.path(audit_folder).open("rb") as file:
            if _add(tar, f"{_SEGMENTS}/{segment.file_name}", file) != segment.sha256:
                report.problems.append(f"audit trail: {segment.file_name} is not what was archived")
    except FileNotFoundError:
        report.problems.append(f"audit trail: {segment.file_name} is not there")


def _add(tar: tarfile.TarFile, name: str, file: BinaryIO) -> str:
    """Add a file and return the digest of what was added."""
    info = tarfile.TarInfo(name)
    info.size = os.fstat(file.fileno()).st_size
    reader = _Hashing(file)
    tar.addfile(info, cast("IO[bytes]", reader))
    return reader.digest.hexdigest()


def _name(archive: RegisteredArchive) -> str:
    return f"archives/{archive.sha256}"


class _Hashing:
    """A file that keeps the digest of what was read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def restore(
    backup: Path, database: Path, folders: StoreFolders, kept: KeptArchives, *, audit_folder: Path
) -> BackupReport:
    """Put a backup where no database is; the database comes last, so that a restore that was broken off is repeated.

    Args:
        backup: A file that `back_up` wrote, or any copy of a database.
        database: Where the database is to be; no process may use it meanwhile.
        folders: The archive stores; what they hold already stays.
        kept: Gets the archives whose names others have in the stores; all others follow when they are loaded.
        audit_folder: Gets the files of segments of the audit trail; those that it holds stay, and are verified with it.

    Raises:
        BackupRefused: There is a database, or no backup in the file.
        DatabaseUnusable: The database in the backup is damaged, or newer than this version.
    """
    if database.exists() or database.with_name(f"{database.name}-wal").exists():
        raise BackupRefused(f"{database} is there already; a backup is restored only where there is no database")
    with ExitStack() as opened:
        unfinished = opened.enter_context(_temporary(database))
        tar = _opened_tar(backup, opened)
        source = backup.open("rb") if tar is None else _member(tar, _DATABASE)
        with opened.enter_context(source), new_durable_file(unfinished, is_private=True) as copy:
            shutil.copyfileobj(source, copy)
        if not inspect(unfinished).revisions:
            raise DatabaseUnusable(f"{backup} holds no registry")
        upgrade(unfinished)
        report = BackupReport()
        if tar is not None:
            _restore_archives(tar, unfinished, folders, kept, report)
            _restore_segments(tar, audit_folder)
        _make_durable(unfinished)
        unfinished.rename(database)
    return report


def _opened_tar(backup: Path, opened: ExitStack) -> tarfile.TarFile | None:
    if not tarfile.is_tarfile(backup):
        return None
    return opened.enter_context(tarfile.open(backup))


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise BackupRefused(f"{tar.name!s} holds no {name}")
    return file


def _restore_archives(
    tar: tarfile.TarFile, database: Path, folders: StoreFolders, kept: KeptArchives, report: BackupReport
) -> None:
    """Put each registered archive into its store, unless the same one is there, or else among those that are kept."""
    registry = Registry(database, connections=1)
    try:
        with registry.read() as reader:
            archives = reader.archives()
    finally:
        registry.close()
    names = set(tar.getnames())
    for archive in archives:
        folder = folders.named(archive.store)
        if _is_there(folder, archive):
            report.archives += 1
            continue
        former_name = f"{archive.store}_store/{archive.file}"
        name = next((name for name in (_name(archive), former_name) if name in names), None)
        if name is None:
            report.problems.append(f"the backup has no {former_name}")
            continue
        part = folder.reserve(_OWNER)
        try:
            with _member(tar, name) as source, new_durable_file(part) as copy:
                shutil.copyfileobj(source, copy)
            if sha256_of(part) != archive.sha256:
                report.problems.append(f"{name} in the backup is not what was registered")
                continue
            if not folder.publish_as(part, archive.file):
                _keep(kept, part)
            report.archives += 1
        finally:
            folder.discard(part)


def _restore_segments(tar: tarfile.TarFile, audit_folder: Path) -> None:
    for name in tar.getnames():
        folder, _, file_name = name.rpartition("/")
        if folder != _SEGMENTS or (audit_folder / file_name).exists():
            continue
        audit_folder.mkdir(mode=0o700, exist_ok=True)
        with _temporary(audit_folder / file_name) as unfinished:
            with _member(tar, name) as source, new_durable_file(unfinished, is_private=True) as copy:
                shutil.copyfileobj(source, copy)
            unfinished.rename(audit_folder / file_name)


def _is_there(folder: ArchiveFolder, archive: RegisteredArchive) -> bool:
    try:
        return sha256_of(folder.find(archive.file)) == archive.sha256
    except ArchiveNotFound:
        return False


def _keep(kept: KeptArchives, file: Path) -> None:
    with kept.of(_OWNER).part(is_unpacked=False) as part, part.open(file):
        part.keep()


@contextmanager
def _refuse_unwritable(target: Path) -> Iterator[None]:
    """Say of a file that cannot be written which one and why."""
    try:
        yield
    except OSError as error:
        raise BackupRefused(f"{target} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackupRefused(f"{target} cannot be written: {error}") from error


@contextmanager
def _temporary(beside: Path) -> Iterator[Path]:
    """Give a path in the same folder; what is there in the end is removed, with what SQLite put beside it."""
    path = beside.with_name(f".{beside.name[:100]}-{uuid.uuid4().hex}.part")
    try:
        yield path
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _make_durable(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
