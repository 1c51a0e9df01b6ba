"""Hidden names for archives, in a real folder."""

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
    return make_model(folder / "m.mar", **{"name": "uid7/m", **overrides})


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


def test_name_tells_whose_it_is(tmp_path: Path) -> None:
    """Deployment and registration can be read off it, and nodes do not share one."""
    model, other = archived(tmp_path), archived(tmp_path, name="uid7/..")
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


@pytest.mark.parametrize(
    ("archive", "digest", "reason"),
    [("nosuch.mar", "0" * 64, "Model not found at: nosuch.mar"), ("m.mar", "0" * 64, "m.mar is not the file that was")],
)
def test_pin_refuses_another_file(tmp_path: Path, archive: str, digest: str, reason: str) -> None:
    """A missing or changed archive is named, and nothing is left."""
    (tmp_path / "m.mar").write_bytes(b"archive")
    with pytest.raises(ModelNotLoaded, match=reason):
        PINNED.pin(make_model(tmp_path / archive, archive_sha256=digest))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.mar"]
