"""Hidden names for archives, in a real folder."""

import errno
import hashlib
from pathlib import Path

import pytest

from tests.support.swaps import WAYS
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.reading import sha256_of
from wfmgmt.serving.models.base import Model, ModelNotLoaded
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives
from wfmgmt.testing import make_model


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    """Make a model store that others may read."""
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o755)
    return store


@pytest.fixture(name="pinned")
def _pinned(tmp_path: Path) -> PinnedArchives:
    return make_pinned(tmp_path)


def make_pinned(folder: Path, identity: str = "0123456789ab") -> PinnedArchives:
    """Return the pinned archives of an installation that keeps its archives in a folder of its own."""
    return PinnedArchives(identity, KeptArchives(folder / "archives"), sha256_of)


def archived(store: Path, content: bytes = b"archive", **overrides: object) -> Model:
    """Return a model with an archive."""
    (store / "m.mar").write_bytes(content)
    return make_model(store / "m.mar", **{"uid": "uid7", **overrides})


@pytest.mark.parametrize("way", WAYS)
def test_pinned_archive_stays_what_was_registered(store: Path, pinned: PinnedArchives, way: str) -> None:
    """Whether another file is put in its place, or written over it, as `cp` does."""
    model = archived(store)
    pinned.pin(model)
    WAYS[way](store / "m.mar", b"another")
    assert (store / pinned.file_of(model)).read_bytes() == b"archive"
    pinned.check(model)
    pinned.unpin(model)
    pinned.pin(model)
    assert (store / pinned.file_of(model)).read_bytes() == b"archive"
    pinned.unpin(model)
    pinned.unpin(model)
    assert sorted(path.name for path in store.iterdir()) == ["m.mar"]


def test_pinned_archive_can_be_read_by_those_who_may_read_the_store(store: Path, pinned: PinnedArchives) -> None:
    """TorchServe may run as another user; what is kept is in a folder that only the service may enter."""
    model = archived(store)
    store.chmod(0o750)
    pinned.pin(model)
    file = store / pinned.file_of(model)
    assert (file.stat().st_mode & 0o777, file.stat().st_nlink) == (0o440, 2)


def test_name_identifies_installation_and_registration(store: Path, tmp_path: Path, pinned: PinnedArchives) -> None:
    """Deployment and registration can be read off it, and nodes do not share one."""
    model, other = archived(store), archived(store, node="..")
    file = pinned.file_of(model)
    assert pinned.is_ours(file)
    assert not make_pinned(tmp_path, "ffffffffffff").is_ours(file)
    assert pinned.registration(file) == "uid7"
    assert pinned.file_of(other) != file
    assert ".." not in pinned.file_of(other)


def test_pin_replaces_what_a_dead_process_left(store: Path, pinned: PinnedArchives) -> None:
    """A name that is there already does not keep the archive from being pinned."""
    model = archived(store)
    (store / pinned.file_of(model)).write_bytes(b"left")
    pinned.pin(model)
    assert (store / pinned.file_of(model)).read_bytes() == b"archive"


def test_pin_follows_symbolic_links(store: Path, pinned: PinnedArchives) -> None:
    """Stores share large files that way."""
    (store / "elsewhere").write_bytes(b"archive")
    (store / "m.mar").symlink_to("elsewhere")
    model = make_model(store / "m.mar", archive_sha256=hashlib.sha256(b"archive").hexdigest())
    pinned.pin(model)
    assert (store / pinned.file_of(model)).read_bytes() == b"archive"


def test_pin_refuses_what_is_not_there(store: Path, pinned: PinnedArchives) -> None:
    """The archive is named, and nothing is left."""
    with pytest.raises(ModelNotLoaded, match="Model not found at: "):
        pinned.pin(make_model(store / "nosuch.mar", archive_sha256="0" * 64))
    assert list(store.iterdir()) == []


def test_check_refuses_another_content(store: Path, pinned: PinnedArchives) -> None:
    """What was done to the kept file itself is noticed."""
    model = archived(store)
    pinned.pin(model)
    pinned.check(model)
    (store / pinned.file_of(model)).chmod(0o600)
    (store / pinned.file_of(model)).write_bytes(b"another")
    with pytest.raises(ModelNotLoaded, match=r"m\.mar is not the file that was registered \(sha256 "):
        pinned.check(model)


def test_pin_does_without_hard_links(store: Path, pinned: PinnedArchives, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems such as FAT have none, and there are none to another file system: then it is a copy."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    model = archived(store)
    pinned.pin(model)
    pinned.check(model)
    file = store / pinned.file_of(model)
    assert (file.is_symlink(), file.stat().st_nlink, file.stat().st_mode & 0o777) == (False, 1, 0o444)
    pinned.unpin(model)
    assert [path.name for path in store.iterdir()] == ["m.mar"]
