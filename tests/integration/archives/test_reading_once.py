"""How often archives are read: once in the process that registers them, and not at all in the one that loads them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.factories import make_mar, make_war
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.manifest import read_mar, unpacked_model
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.archives.verified import open_verified
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.services.archives import Acquisition
from wfmgmt.services.tracking import Tracker
from wfmgmt.serving.models.base import ModelNotLoaded
from wfmgmt.serving.models.local.trees import ArchiveKind, BlockingWork, UnpackedTree
from wfmgmt.testing import in_event_loop, make_model

#: A model of many members over many blocks, the largest ones too large to be kept in memory.
MEMBERS = {f"weights/{number}.bin": os.urandom(700_000) for number in range(30)}
LIMITS = Limits()


class Reads:
    """What this process reads of one file.

    Attributes:
        opened: How often it was opened.
        size_bytes: Bytes that were read.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = self.size_bytes = 0
        self._path = path
        self._open, self._pread = os.open, os.pread
        self._descriptors: set[int] = set()
        monkeypatch.setattr(os, "open", self._counted_open)
        monkeypatch.setattr(os, "pread", self._counted_pread)

    def _counted_open(self, path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = self._open(path, *arguments, **options)
        if path == self._path:
            self.opened += 1
            self._descriptors.add(descriptor)
        return descriptor

    def _counted_pread(self, descriptor: int, size: int, offset: int) -> bytes:
        content = self._pread(descriptor, size, offset)
        if descriptor in self._descriptors:
            self.size_bytes += len(content)
        return content


def write_model(folder: Path) -> Path:
    """Write an archive of 21 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    return make_mar(folder, name="m", extra_files=MEMBERS)


def kept_in(folder: Path) -> KeptArchives:
    """Return the archives that are kept below a folder."""
    return KeptArchives(folder / "archives")


def make_tree(folder: Path, sha256: str) -> UnpackedTree:
    """Return the tree of a model as the runtime has it."""
    kind = ArchiveKind(
        name="Model", unpack=lambda content, into: read_mar(content, LIMITS, into), describe=unpacked_model
    )
    return UnpackedTree(kind, sha256, kept_in(folder), BlockingWork())


def acquisition(folder: Path) -> Acquisition:
    """Return what reads archives of stores below a folder."""
    (folder / "war").mkdir(exist_ok=True)
    folders = StoreFolders(
        workflow=ArchiveFolder(folder=folder / "war", suffix=".war"),
        model=ArchiveFolder(folder=folder / "mar", suffix=".mar"),
    )
    return Acquisition(
        folders=folders,
        kept=kept_in(folder),
        unpacks_models=True,
        fetcher=None,  # type: ignore[arg-type]  # nothing is downloaded
        limits=LIMITS,
        lease="lease",
        cancelled=lambda: False,
        tracker=Tracker(),
    )


def test_registration_reads_a_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digest, manifest and the check of every member come from one pass, also for two nodes of one model."""
    path = write_model(tmp_path / "mar")
    digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    reads = Reads(path, monkeypatch)
    found, failures = acquisition(tmp_path).models({"a": path.name, "b": path.name})
    assert ({node: model.sha256 for node, model in found.items()}, failures) == ({"a": digest, "b": digest}, {})
    assert (reads.opened, reads.size_bytes) == (1, size)


def test_registration_reads_a_workflow_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for its own archive, which is refused or not with its digest known."""
    (tmp_path / "war").mkdir()
    path = make_war(tmp_path / "war", name="w", extra_files=MEMBERS)
    digest, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
    reads, detail = Reads(path, monkeypatch), dict[str, Any]()
    archive, contents = acquisition(tmp_path).workflow(path.name, detail)
    assert (archive.sha256, contents.name, detail) == (digest, "w", {"url": path.name, "archive_sha256": digest})
    assert (reads.opened, reads.size_bytes) == (1, size)


@in_event_loop
async def test_load_reads_nothing_that_was_kept_at_registration(tmp_path: Path) -> None:
    """The tree is there; the file in the store is not even opened, and may be another one by now."""
    path = write_model(tmp_path / "mar")
    found, _ = acquisition(tmp_path).models({"m": path.name})
    path.write_bytes(b"something else")
    model = make_model(path, archive_sha256=found["m"].sha256)
    with pytest.MonkeyPatch.context() as monkeypatch:
        reads = Reads(path, monkeypatch)
        tree = make_tree(tmp_path, model.archive_sha256)
        await tree.ensure(model)
    assert reads.opened == 0
    assert (tree.folder / "weights" / "7.bin").read_bytes() == MEMBERS["weights/7.bin"]
    assert tree.description is not None
    assert tree.description.handler == "handler.py"


@in_event_loop
async def test_load_reads_once_what_was_not_kept(tmp_path: Path) -> None:
    """It is kept while it is hashed; another archive than the registered one leaves nothing behind."""
    path = write_model(tmp_path / "mar")
    model, size = make_model(path), path.stat().st_size
    with pytest.MonkeyPatch.context() as monkeypatch:
        reads = Reads(path, monkeypatch)
        loaded = make_tree(tmp_path, model.archive_sha256)
        await loaded.ensure(model)
    assert (reads.opened, reads.size_bytes) == (1, size)
    assert (loaded.folder / "weights" / "7.bin").read_bytes() == MEMBERS["weights/7.bin"]
    other = make_tree(tmp_path, "0" * 64)
    with pytest.raises(ModelNotLoaded, match="is not the file that was registered"):
        await other.ensure(make_model(path, archive_sha256="0" * 64))
    assert [each.name for each in (tmp_path / "archives").glob("sha256/*/*")] == [model.archive_sha256]
    assert other.description is None


def skipping(content: bytes) -> list[int]:
    """Return places of which each is two blocks before the last one."""
    return list(range(len(content) - 1, 0, -MIB // 2))


@pytest.mark.parametrize("places", [skipping, lambda content: sorted(skipping(content))], ids=["backwards", "forwards"])
def test_digest_is_right_in_every_order_of_reading(tmp_path: Path, places: Callable[[bytes], list[int]]) -> None:
    """Blocks that are read before their turn count in their turn, and are bounded in memory."""
    content = os.urandom(40 * MIB + 1)
    (tmp_path / "x.mar").write_bytes(content)
    with open_verified(tmp_path / "x.mar") as file:
        for place in places(content):
            file.seek(place)
            assert file.read(10) == content[place : place + 10]
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        for place in places(content):
            file.seek(place)
            assert file.read(10) == content[place : place + 10]


def test_block_that_was_read_ahead_stays_what_it_was(tmp_path: Path) -> None:
    """What was handed out is what is hashed, although the file has other bytes there by then."""
    content = os.urandom(2 * MIB)
    path = tmp_path / "x.mar"
    path.write_bytes(content)
    with open_verified(path) as file, path.open("r+b") as other:
        file.seek(-10, os.SEEK_END)
        assert file.read() == content[-10:]
        other.seek(-10, os.SEEK_END)
        other.write(b"0123456789")
        other.flush()
        assert file.sha256 == hashlib.sha256(content).hexdigest()


@in_event_loop
async def test_load_fails_when_what_is_kept_cannot_be_touched(tmp_path: Path) -> None:
    """A handler may take that right: the reason is that of the load, and no path is in it."""
    path = write_model(tmp_path / "mar")
    model = make_model(path)
    tree = make_tree(tmp_path, model.archive_sha256)
    await tree.ensure(model)
    (tree.folder / "handler.py").unlink()
    with pytest.MonkeyPatch.context() as monkeypatch:
        error = PermissionError(13, "Permission denied", str(tmp_path))
        monkeypatch.setattr(KeptArchives, "forget_tree", Mock(side_effect=error))
        with pytest.raises(ModelNotLoaded, match=r"what is kept of m\.mar cannot be used: Permission denied$"):
            await tree.ensure(model)
    await tree.ensure(model)
