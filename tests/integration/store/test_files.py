"""The files of the database: what happens when they are removed, replaced or grow."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.records import make_event, make_store, make_workflow, register
from wfmgmt.errors import StoreUnavailable
from wfmgmt.store.engine import LOG_LIMIT_BYTES
from wfmgmt.store.files import file_identity
from wfmgmt.store.store import Store


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
    store = make_store(tmp_path)
    register(store, "a")
    with store.read() as reader:
        assert reader.uid("a")
    change(tmp_path / "wfmgmt.db")
    before = sorted(path.name for path in tmp_path.iterdir())
    for use in (store.read, store.write):
        with pytest.raises(StoreUnavailable, match="removed or replaced"), use():
            pass
    with pytest.raises(StoreUnavailable):
        store.checkpoint()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    store.close()


def test_change_is_not_acknowledged_when_the_files_go_during_it(tmp_path: Path) -> None:
    """It is rolled back."""
    store = make_store(tmp_path)
    register(store, "a")
    with pytest.raises(StoreUnavailable, match="removed or replaced"), store.write() as writer:
        writer.record(make_event())
        rename(tmp_path / "wfmgmt.db")
    (tmp_path / "elsewhere.db").rename(tmp_path / "wfmgmt.db")
    assert store.verify_audit().events == 1
    register(store, "b")
    store.close()


def test_no_connection_accepts_another_file_than_the_pinned_one(tmp_path: Path) -> None:
    """A process that starts later does not go on with what was put there meanwhile; a missing file is not made."""
    make_store(tmp_path).close()
    path = tmp_path / "wfmgmt.db"
    pinned = file_identity(path)
    for change in (replace, rename):
        change(path)
        store = Store(path)
        store.pin(pinned)
        with pytest.raises(StoreUnavailable), store.read():
            pass
        store.close()
    assert not path.exists()


def test_log_shrinks_once_nobody_reads_it(tmp_path: Path) -> None:
    """It grows while a reader needs it, and is emptied by the first checkpoint afterwards."""
    store = make_store(tmp_path)
    log = tmp_path / "wfmgmt.db-wal"
    with store.read() as reader:
        reader.uids()
        number = 0
        while log.stat().st_size <= 4 * LOG_LIMIT_BYTES:
            number += 1
            with store.write() as writer:
                for part in range(20):
                    writer.claim_name(make_workflow(f"w{number}-{part}", spec="x" * 10_000))
        store.checkpoint()
        assert log.stat().st_size > 4 * LOG_LIMIT_BYTES
    store.checkpoint()
    assert log.stat().st_size == 0
    register(store, "one-more")
    assert sqlite3.connect(tmp_path / "wfmgmt.db").execute("PRAGMA quick_check").fetchone() == ("ok",)
    store.close()
