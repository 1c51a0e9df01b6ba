"""Files that change while they are read: what is handed out is what was hashed, or an error."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.factories import make_war
from tests.support.swaps import WAYS, rename, rewrite, swapped
from wfmgmt.archives import verified
from wfmgmt.archives.manifest import read_war
from wfmgmt.archives.reading import open_archive
from wfmgmt.archives.verified import open_verified
from wfmgmt.domain.limits import Limits
from wfmgmt.errors import InvalidArchive, InvalidWorkflow

LIMITS = Limits()
KIB = 1024
SIZES = [0, 1, 64 * KIB, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 700 * KIB]
SWAPS = [20, pytest.param(200, marks=pytest.mark.slow)]


@pytest.fixture(name="large")
def _large(tmp_path: Path) -> Path:
    """A file of several blocks."""
    path = tmp_path / "large.mar"
    path.write_bytes(os.urandom(700 * KIB))
    return path


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Check that the block closes what it opens."""
    before = len(list(Path("/dev/fd").iterdir()))
    yield
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("size", SIZES)
def test_content_and_digest_are_those_of_the_file(tmp_path: Path, size: int) -> None:
    """Read at once, in pieces, from its end: always the same bytes, for any length."""
    content = os.urandom(size)
    (tmp_path / "x.mar").write_bytes(content)
    with no_descriptor_left(), open_verified(tmp_path / "x.mar") as file:
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.read() == content
        file.seek(0)
        assert b"".join(iter(lambda: file.read(1000), b"")) == content
        assert file.seek(0, os.SEEK_END) == size
        file.seek(-min(size, 10), os.SEEK_CUR)
        assert file.read() == content[-10:]
        assert file.read() == b""


def test_bytes_are_counted_as_they_are_hashed(large: Path) -> None:
    """Each once, of as many as the file has, also when they are read again."""
    counted: list[tuple[int, int | None]] = []
    with open_verified(large, on_bytes=lambda *count: counted.append(count)) as file:
        assert counted == [(0, 700 * KIB), (256 * KIB, 700 * KIB)]
        file.read()
        file.seek(0)
        file.read()
        assert file.sha256
    assert [done for done, _ in counted] == [0, 256 * KIB, 512 * KIB, 700 * KIB]


def test_another_file_in_its_place_is_not_read(large: Path) -> None:
    """The file that was hashed stays open."""
    content = large.read_bytes()
    with open_verified(large) as file:
        rename(large, b"another")
        assert file.read() == content


@pytest.mark.parametrize("offset", [0, 300 * KIB, 700 * KIB - 1])
def test_bytes_that_were_overwritten_are_not_handed_out(large: Path, offset: int) -> None:
    """One bit anywhere is noticed, and what was not touched can still be read."""
    content = large.read_bytes()
    with open_verified(large) as file, large.open("r+b") as other:
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        file.seek((offset + 300 * KIB) % (700 * KIB))
        assert file.read(1)  # The block in memory is another one from here on.
        other.seek(offset)
        other.write(bytes([content[offset] ^ 1]))
        other.flush()
        file.seek(offset)
        with pytest.raises(InvalidArchive, match="it was changed while it was read"):
            file.read(1)
        elsewhere = (offset + 300 * KIB) % (700 * KIB)
        file.seek(elsewhere)
        assert file.read(1) == content[elsewhere : elsewhere + 1]


def test_file_that_became_shorter_is_noticed(large: Path) -> None:
    """What is missing was hashed."""
    with open_verified(large) as file:
        assert file.read() == large.read_bytes()
        file.seek(0)
        os.truncate(large, 650 * KIB)
        with pytest.raises(InvalidArchive, match="it was changed while it was read"):
            file.read()


def test_bytes_that_were_added_are_not_read(large: Path) -> None:
    """The file ends where it ended when it was hashed."""
    content = large.read_bytes()
    with open_verified(large) as file, large.open("ab") as other:
        other.write(b"more")
        other.flush()
        assert file.read() == content


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(os.mkfifo, "it is not a regular file", id="FIFO"),
        pytest.param(lambda path: path.mkdir(), "it is not a regular file", id="folder"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "it is not a regular file", id="device"),
        pytest.param(lambda path: path.symlink_to("x.mar"), "it cannot be read: Too many levels", id="link to itself"),
        pytest.param(lambda path: path.symlink_to("/proc/self/mem"), "it cannot be read: Input/output", id="I/O error"),
    ],
)
def test_what_is_no_readable_file_is_refused(tmp_path: Path, make: object, reason: str) -> None:
    """Nothing waits for ever, and the reason is given without a path."""
    make(tmp_path / "x.mar")  # type: ignore[operator]  # one of the functions above
    with no_descriptor_left(), pytest.raises(InvalidArchive, match=reason):
        open_verified(tmp_path / "x.mar")


@pytest.mark.parametrize("count", SWAPS)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_unpacked_is_what_was_hashed(tmp_path: Path, way: str, count: int) -> None:
    """An archive that is swapped again and again is read as one of the two, as its digest says, or refused."""
    padding = os.urandom(400 * KIB)
    contents = tuple(
        make_war(tmp_path, handler=f"# {name}\n", extra_files={"padding": padding, "name": name}).read_bytes()
        for name in ("first", "other")
    )
    names = {
        hashlib.sha256(content).hexdigest(): name for content, name in zip(contents, ("first", "other"), strict=True)
    }
    path = tmp_path / "seq.war"
    read, refused = set(), 0
    with swapped(path, (contents[0], contents[1]), way) as swaps:
        round_number = 0
        while swaps() < count:
            round_number += 1
            folder = tmp_path / str(round_number)
            folder.mkdir()
            try:
                with open_verified(path) as file:
                    workflow = read_war(file, LIMITS)
                    with open_archive(file, LIMITS) as archive:
                        archive.unpack(folder)
            except (InvalidArchive, InvalidWorkflow):
                refused += 1
                continue
            assert workflow.handler_source == f"# {names[file.sha256]}\n"
            assert (folder / "name").read_text() == names[file.sha256]
            read.add(names[file.sha256])
    assert read == {"first", "other"}
    assert (refused > 0) == (way == "rewritten")


def test_rewriting_is_a_swap_too(large: Path) -> None:
    """The file stays the same one, which is what makes it hard to notice."""
    before = large.stat().st_ino
    rewrite(large, b"other")
    assert (large.stat().st_ino, large.read_bytes()) == (before, b"other")


def test_copy_of_a_file_of_no_use_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file that turns out to be no archive fills no disk; its digest is still found out."""
    monkeypatch.setattr(verified, "_is_cloned", lambda *_: False)
    content = os.urandom(1_000_000)
    (tmp_path / "a.war").write_bytes(content)
    with open_verified(tmp_path / "a.war", tmp_path / "copy") as file:
        file.stop_copying()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "copy").stat().st_size < len(content) // 2
