"""Hidden names for archives, in a real folder."""

import errno
import hashlib
from pathlib import Path

import pytest

from wfmgmt.archives.reading import sha256_of
from wfmgmt.serving.models.base import Model, ModelNotLoaded
from wfmgmt.serving.models.torchserve.pinning import PinnedArchives
from wfmgmt.testing import make_model

PINNED = PinnedArchives("0123456789ab", sha256_of)


def archived(folder: Path, content: bytes = b"archive", **overrides: object) -> Model:
    """Return a model with an archive."""
    (folder / "m.mar").write_bytes(content)
    return make_model(folder / "m.mar", **{"uid": "uid7", **overrides})


def test_pinned_archive_stays_when_another_is_put_in_its_place(tmp_path: Path) -> None:
    """What TorchServe loads is what was registered."""
    model = archived(tmp_path)
    PINNED.pin(model)
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").rename(tmp_path / "m.mar")
    assert (tmp_path / PINNED.file_of(model)).read_bytes() == b"archive"
    PINNED.unpin(model)
    PINNED.unpin(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.mar"]


def test_name_identifies_installation_and_registration(tmp_path: Path) -> None:
    """Deployment and registration can be read off it, and nodes do not share one."""
    model, other = archived(tmp_path), archived(tmp_path, node="..")
    file = PINNED.file_of(model)
    assert PINNED.is_ours(file)
    assert not PinnedArchives("ffffffffffff", sha256_of).is_ours(file)
    assert PINNED.registration(file) == "uid7"
    assert PINNED.file_of(other) != file
    assert ".." not in PINNED.file_of(other)


def test_pin_replaces_what_a_dead_process_left(tmp_path: Path) -> None:
    """A name that is there already does not keep the archive from being pinned."""
    model = archived(tmp_path)
    (tmp_path / PINNED.file_of(model)).write_bytes(b"left")
    PINNED.pin(model)
    assert (tmp_path / PINNED.file_of(model)).read_bytes() == b"archive"


def test_pin_follows_symbolic_links(tmp_path: Path) -> None:
    """Stores share large files that way."""
    (tmp_path / "elsewhere").write_bytes(b"archive")
    (tmp_path / "m.mar").symlink_to("elsewhere")
    model = make_model(tmp_path / "m.mar", archive_sha256=hashlib.sha256(b"archive").hexdigest())
    PINNED.pin(model)
    assert (tmp_path / PINNED.file_of(model)).samefile(tmp_path / "elsewhere")


def test_pin_refuses_what_is_not_there(tmp_path: Path) -> None:
    """The archive is named, and nothing is left."""
    with pytest.raises(ModelNotLoaded, match="Model not found at: "):
        PINNED.pin(make_model(tmp_path / "nosuch.mar", archive_sha256="0" * 64))
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_another_content(tmp_path: Path) -> None:
    """What was written over after it was pinned is noticed, since both names are of one file."""
    model = archived(tmp_path)
    PINNED.pin(model)
    PINNED.check(model)
    (tmp_path / "m.mar").write_bytes(b"another")
    with pytest.raises(ModelNotLoaded, match=r"m\.mar is not the file that was registered \(sha256 "):
        PINNED.check(model)


@pytest.mark.parametrize("links", ["symbolic links only", "no links"])
def test_pin_does_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: str) -> None:
    """File systems such as FAT have none, and the kernel refuses them for files of other users: EPERM both times."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    if links == "no links":
        monkeypatch.setattr("os.symlink", refuse)
    model = archived(tmp_path)
    PINNED.pin(model)
    PINNED.check(model)
    assert (tmp_path / PINNED.file_of(model)).is_symlink() == (links != "no links")
    PINNED.unpin(model)
    assert [path.name for path in tmp_path.iterdir()] == ["m.mar"]
