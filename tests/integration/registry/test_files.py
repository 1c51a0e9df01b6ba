"""The files of the database: what happens when they are removed, replaced or grow."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.records import make_event, make_registry, make_workflow, register
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.registry.engine import LOG_LIMIT_BYTES
from wfmgmt.registry.files import file_identity
from wfmgmt.registry.registry import Registry


def remove(path: Path) -> None:
    """Remove all files of the database."""
    for file in path.parent.glob("wfmgmt.db*"):
        file.unlink()


def rename(path: Path) -> None:
    """Move the database out of the way."""
    path.rename(path.with_name("elsewhere.db"))


def replace(path: Path) -> None:
    """Put a copy in its place, as a restore under the running service would."""
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    copy.replace(path)


def remove_log(path: Path) -> None:
    """Remove what is not in the database yet."""
    path.with_name("wfmgmt.db-wal").unlink()


@pytest.mark.parametrize("change", [remove, rename, replace, remove_log])
def test_nothing_is_acknowledged_once_the_files_are_others(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Reading, writing and checkpointing fail with the reason, and no file is made in place of one that is gone."""
    registry = make_registry(tmp_path)
    register(registry, "a")
    with registry.read() as reader:
        assert reader.uid("a")
    change(tmp_path / "wfmgmt.db")
    before = sorted(path.name for path in tmp_path.iterdir())
    for use in (registry.read, registry.write):
        with pytest.raises(RegistryUnavailable, match="removed or replaced"), use():
            pass
    with pytest.raises(RegistryUnavailable):
        registry.checkpoint()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    registry.close()


def test_change_is_not_acknowledged_when_the_files_go_during_it(tmp_path: Path) -> None:
    """It is rolled back."""
    registry = make_registry(tmp_path)
    register(registry, "a")
    with pytest.raises(RegistryUnavailable, match="removed or replaced"), registry.write() as writer:
        writer.record(make_event())
        rename(tmp_path / "wfmgmt.db")
    (tmp_path / "elsewhere.db").rename(tmp_path / "wfmgmt.db")
    assert registry.verify_audit().events == 1
    register(registry, "b")
    registry.close()


def test_no_connection_accepts_another_file_than_the_pinned_one(tmp_path: Path) -> None:
    """A process that starts later does not go on with what was put there meanwhile; a missing file is not made."""
    make_registry(tmp_path).close()
    path = tmp_path / "wfmgmt.db"
    pinned = file_identity(path)
    for change in (replace, rename):
        change(path)
        registry = Registry(path)
        registry.pin(pinned)
        with pytest.raises(RegistryUnavailable), registry.read():
            pass
        registry.close()
    assert not path.exists()


def test_log_shrinks_once_it_has_no_reader(tmp_path: Path) -> None:
    """It grows while a reader needs it, and is emptied by the first checkpoint afterwards."""
    registry = make_registry(tmp_path)
    log = tmp_path / "wfmgmt.db-wal"
    with registry.read() as reader:
        reader.uids()
        number = 0
        while log.stat().st_size <= 4 * LOG_LIMIT_BYTES:
            number += 1
            with registry.write() as writer:
                for part in range(20):
                    writer.claim_name(make_workflow(f"w{number}-{part}", spec="x" * 10_000))
        registry.checkpoint()
        assert log.stat().st_size > 4 * LOG_LIMIT_BYTES
    registry.checkpoint()
    assert log.stat().st_size == 0
    register(registry, "one-more")
    assert sqlite3.connect(tmp_path / "wfmgmt.db").execute("PRAGMA quick_check").fetchone() == ("ok",)
    registry.close()
