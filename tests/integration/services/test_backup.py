"""Backups and their way back, on real files, without a service."""

import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.records import make_event, make_node, make_registry, make_workflow
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.errors.commands import BackupRefused, DatabaseUnusable
from wfmgmt.registry.registry import Registry
from wfmgmt.services.backup import BackupReport, back_up, restore

BOTH = pytest.mark.parametrize("with_archives", [False, True], ids=["database", "archives"])


@dataclass(frozen=True)
class Place:
    """A folder with a database, both stores and kept archives."""

    database: Path
    folders: StoreFolders
    kept: KeptArchives
    war: Path
    mar: Path

    @property
    def audit(self) -> Path:
        """Where what was archived of the audit trail lies."""
        return self.database.parent / "audit"

    def back_up(self, registry: Registry, target: Path, *, with_archives: bool) -> BackupReport:
        """Write a backup of this place."""
        return back_up(registry, self.folders, self.kept, target, audit_folder=self.audit, with_archives=with_archives)

    def restore(self, backup: Path) -> BackupReport:
        """Put a backup into this place."""
        return restore(backup, self.database, self.folders, self.kept, audit_folder=self.audit)


def make_place(folder: Path) -> Place:
    """Return a place with the archives of the workflow `seq`, and no database yet."""
    stores = [folder / "workflow_store", folder / "model_store"]
    for store in stores:
        store.mkdir(parents=True)
    folders = StoreFolders.at(workflow=stores[0], model=stores[1])
    kept = KeptArchives(folder / "archives")
    return Place(folder / "wfmgmt.db", folders, kept, make_war(stores[0]), make_mar(stores[1]))


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return make_place(tmp_path / "place")


@pytest.fixture(name="registry")
def _registry(place: Place) -> Iterator[Registry]:
    """Give the registry of that place, in which the workflow is."""
    registry = make_registry(place.database.parent)
    node = make_node("m1", model_sha256=sha256_of(place.mar))
    new = make_workflow("seq", archive_sha256=sha256_of(place.war), nodes=(node,), edges=())
    with registry.write() as writer:
        writer.claim_name(new)
        writer.mark_ready(new.uid)
        writer.record(make_event())
    yield registry
    registry.close()


@BOTH
def test_backup_is_private_and_says_why_it_cannot_be_written(
    place: Place, registry: Registry, tmp_path: Path, *, with_archives: bool
) -> None:
    """What is in the way of one is said, and nothing stays."""
    folder = tmp_path / "copies"
    folder.mkdir(0o755)
    assert place.back_up(registry, folder / "copy", with_archives=with_archives).problems == []
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    for target, reason in (
        (folder / "nosuch" / "copy", "cannot be written: No such file or directory"),
        (folder / "copy" / "within", "cannot be written: Not a directory"),
        (folder, "is there already"),
        (folder / "copy", "is there already"),
    ):
        with pytest.raises(BackupRefused) as refused:
            place.back_up(registry, target, with_archives=with_archives)
        assert str(refused.value) == f"{target} {reason}"
    assert [path.name for path in folder.iterdir()] == ["copy"]


@BOTH
def test_backup_is_restored_where_nothing_is(
    place: Place, registry: Registry, tmp_path: Path, *, with_archives: bool
) -> None:
    """With its archives if it has them."""
    copy = tmp_path / "copy"
    place.back_up(registry, copy, with_archives=with_archives)
    other = make_place(tmp_path / "other")
    other.war.unlink()
    report = other.restore(copy)
    assert (report.archives, report.problems) == (2 * with_archives, [])
    assert other.war.exists() is with_archives
    restored = Registry(other.database)
    with restored.read() as reader:
        assert list(reader.uids()) == list(_uids(registry))
    assert restored.verify_audit().events == 1
    restored.close()


def _uids(registry: Registry) -> list[str]:
    with registry.read() as reader:
        return list(reader.uids())


def test_backup_without_archives_is_a_database(place: Place, registry: Registry, tmp_path: Path) -> None:
    """One file of one state, which every SQLite can read."""
    copy = tmp_path / "copy.db"
    place.back_up(registry, copy, with_archives=False)
    connection = sqlite3.connect(f"file:{copy}?mode=ro", uri=True)
    try:
        assert connection.execute("SELECT name FROM workflow").fetchall() == [("seq",)]
    finally:
        connection.close()


def test_archives_that_are_not_what_was_registered_are_named(place: Place, registry: Registry, tmp_path: Path) -> None:
    """The backup is written all the same."""
    place.mar.unlink()
    place.war.write_bytes(b"something else")
    report = place.back_up(registry, tmp_path / "copy.tar", with_archives=True)
    assert sorted(report.problems) == [
        "model store: m1.mar is not there",
        "workflow store: seq.war is not what was registered",
    ]
    assert (tmp_path / "copy.tar").exists()


def test_restore_touches_nothing_that_is_there(place: Place, registry: Registry, tmp_path: Path) -> None:
    """Neither a database, nor another archive of the same name: the registered one is kept under its digest."""
    copy = tmp_path / "copy.tar"
    place.back_up(registry, copy, with_archives=True)
    with pytest.raises(BackupRefused, match="is there already; a backup is restored only where there is no database"):
        place.restore(copy)
    other = make_place(tmp_path / "other")
    other.mar.write_bytes(b"other")
    report = other.restore(copy)
    assert (report.archives, report.problems) == (2, [])
    assert other.mar.read_bytes() == b"other"
    kept = other.kept.file(sha256_of(place.mar))
    assert kept is not None
    assert kept.read_bytes() == place.mar.read_bytes()


def test_backup_has_what_is_kept_whatever_became_of_the_stores(
    place: Place, registry: Registry, tmp_path: Path
) -> None:
    """The bytes that were registered go with it, and come back into stores that lack them."""
    content, digest = place.mar.read_bytes(), sha256_of(place.mar)
    with place.kept.part(is_unpacked=False) as part, part.open(place.mar):
        part.keep()
    place.mar.write_bytes(b"something else")
    copy = tmp_path / "copy.tar"
    assert place.back_up(registry, copy, with_archives=True).problems == []
    other = make_place(tmp_path / "other")
    other.mar.unlink()
    assert other.restore(copy).archives == 2
    assert (sha256_of(other.mar), other.mar.read_bytes()) == (digest, content)


def test_backup_of_an_earlier_version_is_restored(place: Place, registry: Registry, tmp_path: Path) -> None:
    """It names archives by their stores."""
    place.back_up(registry, tmp_path / "copy.db", with_archives=False)
    with tarfile.open(tmp_path / "copy.tar", "w") as tar:
        tar.add(tmp_path / "copy.db", "wfmgmt.db")
        tar.add(place.war, "workflow_store/seq.war")
        tar.add(place.mar, "model_store/m1.mar")
    other = make_place(tmp_path / "other")
    other.war.unlink()
    other.mar.unlink()
    report = other.restore(tmp_path / "copy.tar")
    assert (report.archives, report.problems) == (2, [])
    assert other.mar.read_bytes() == place.mar.read_bytes()


def _text(file: Path, _whole: bytes) -> None:
    file.write_text("not a backup")


def _other_tar(file: Path, _whole: bytes) -> None:
    with tarfile.open(file, "w") as tar:
        tar.add(__file__, "other")


def _truncated(file: Path, whole: bytes) -> None:
    file.write_bytes(whole[: len(whole) // 2])


def _nothing(_file: Path, _whole: bytes) -> None:
    return


@pytest.mark.parametrize(
    "write",
    [_text, _other_tar, _truncated, _nothing],
    ids=["text", "tar without database", "truncated", "no file"],
)
def test_what_is_no_backup_is_refused(
    place: Place, registry: Registry, tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    """With a reason, and nothing stays."""
    place.back_up(registry, tmp_path / "whole", with_archives=False)
    file = tmp_path / "file"
    write(file, (tmp_path / "whole").read_bytes())
    other = make_place(tmp_path / "other")
    with pytest.raises((BackupRefused, DatabaseUnusable, OSError)):
        other.restore(file)
    assert not list(other.database.parent.glob("*.db*"))
    assert not list(other.database.parent.glob(".*.part"))
