"""What became of the files in the stores that workflows were registered from."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.registry.records import RegisteredArchive
from wfmgmt.services import store_files
from wfmgmt.services.store_files import StoreFiles, StoreFileState

CONTENT = b"an archive"


@pytest.fixture(name="kept")
def _kept(tmp_path: Path) -> KeptArchives:
    return KeptArchives(tmp_path / "archives")


@pytest.fixture(name="archive")
def _archive(tmp_path: Path, kept: KeptArchives) -> RegisteredArchive:
    """An archive in the model store that is kept."""
    file = tmp_path / "m.mar"
    file.write_bytes(CONTENT)
    with kept.part(is_unpacked=False) as part, part.open(file):
        sha256 = part.keep().sha256
    assert sha256 == hashlib.sha256(CONTENT).hexdigest()
    return RegisteredArchive("model", "m.mar", sha256)


@pytest.fixture(name="files")
def _files(tmp_path: Path, kept: KeptArchives) -> StoreFiles:
    return StoreFiles(StoreFolders.at(workflow=tmp_path, model=tmp_path), kept)


def touch(file: Path) -> None:
    """Give a file another time."""
    os.utime(file, (1, 1))


def replace(file: Path) -> None:
    """Put another file of the same length in its place, as `mv` does."""
    fresh = file.with_name("fresh")
    fresh.write_bytes(CONTENT[::-1])
    fresh.rename(file)


def overwrite(file: Path) -> None:
    """Write into it, as `cp` does, and give it its old time back."""
    before = file.stat().st_mtime_ns
    file.write_bytes(CONTENT + b"!")
    os.utime(file, ns=(before, before))


@pytest.mark.parametrize(
    ("change", "state"),
    [
        pytest.param(lambda _: None, StoreFileState.SAME, id="nothing"),
        pytest.param(touch, StoreFileState.SAME, id="touched"),
        pytest.param(replace, StoreFileState.CHANGED, id="replaced"),
        pytest.param(overwrite, StoreFileState.CHANGED, id="overwritten"),
        pytest.param(Path.unlink, StoreFileState.GONE, id="removed"),
        pytest.param(lambda file: file.rename(file.with_name("other.mar")), StoreFileState.GONE, id="renamed"),
    ],
)
def test_state_says_what_became_of_the_file(
    tmp_path: Path,
    archive: RegisteredArchive,
    files: StoreFiles,
    change: Callable[[Path], object],
    state: StoreFileState,
) -> None:
    """By its bytes, not by its times."""
    change(tmp_path / "m.mar")
    assert files.states([archive]) == {archive: state}
    assert files.counts([archive])["model", state] == 1


def test_file_is_read_only_when_it_looks_like_none_that_is_known(
    tmp_path: Path, archive: RegisteredArchive, files: StoreFiles, kept: KeptArchives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once then, also by other processes when it is the same."""
    read: list[Path] = []

    def sha256_of(path: Path) -> str:
        read.append(path)
        return archive.sha256

    monkeypatch.setattr(store_files, "sha256_of", sha256_of)
    assert files.states([archive])[archive] is StoreFileState.SAME
    assert read == []
    touch(tmp_path / "m.mar")
    others = StoreFiles(StoreFolders.at(workflow=tmp_path, model=tmp_path), kept)
    for each in (files, files, others):
        assert each.states([archive])[archive] is StoreFileState.SAME
    assert read == [tmp_path / "m.mar"]
