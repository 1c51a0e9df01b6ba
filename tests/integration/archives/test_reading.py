"""Untrusted zip archives, as files."""

import errno
import hashlib
import stat
import struct
import time
import tracemalloc
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.crafted_zips import (
    FILES,
    bomb,
    crafted,
    end_record,
    entry,
    local,
    many_entries,
    nested,
    overlapping,
    shifted,
    write,
    zipped,
    zipped_member,
)
from wfmgmt.archives import reading
from wfmgmt.archives.reading import open_archive, sha256_of
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.errors import InvalidArchive

LIMITS = Limits()


def test_archive_gives_names_and_contents(tmp_path: Path) -> None:
    """An ordinary archive reads like a folder."""
    with open_archive(write(tmp_path, zipped({**FILES, "folder/": b""})), LIMITS) as archive:
        assert archive.names == ("a.txt", "sub/b.txt", "empty")
        assert {name: archive.read(name, 10_000) for name in archive.names} == FILES


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_archive_unpacks_with_private_modes(tmp_path: Path, compression: int) -> None:
    """Files come out as they were, readable by their owner only; the modes in the archive do not count."""
    folder = tmp_path / "out"
    folder.mkdir()
    with open_archive(
        write(tmp_path, zipped({**FILES, "deep/er/": b"", "deep/c": b"c"}, compression)), LIMITS
    ) as archive:
        archive.unpack(folder)
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    assert {name: path.read_bytes() for name, path in found.items() if path.is_file()} == {**FILES, "deep/c": b"c"}
    modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()}
    assert modes == dict.fromkeys(found, 0o600) | {"sub": 0o700, "deep": 0o700, "deep/er": 0o700}


def test_archive_opens_when_it_has_the_form_for_large_ones(tmp_path: Path) -> None:
    """The end record that archives of over 4 GiB need is understood."""
    plain = zipped({"a.txt": b"first"})
    entries, size, offset = struct.unpack("<10xHII2x", plain[-22:])
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(plain) - 22, 1)
    path = write(tmp_path, plain[:-22] + large + locator + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF))
    with open_archive(path, LIMITS) as archive:
        assert archive.read("a.txt", 10) == b"first"


def test_archive_opens_when_it_has_a_comment(tmp_path: Path) -> None:
    """The end record is found before a comment."""
    path = write(tmp_path, zipped(FILES))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"made by hand"
    with open_archive(path, LIMITS) as archive:
        assert archive.names == tuple(FILES)


GOOD = zipped(FILES)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a zip file at all", "it is not a zip file"),
        (b"\x1f\x8b" + b"x" * 100, "it is not a zip file but a gzip file, and tgz is not read; `tar -xzmf FILE"),
        (GOOD[:-30], "it is cut off: the table of contents"),
        (GOOD[:-5], "it is cut off within the end record"),
        (GOOD + b"x", "the file is shorter or longer than the end record says"),
        (b"x" + GOOD, "the table of contents is not where the end record says"),
        (GOOD[50:], "the table of contents is not where the end record says"),
        (GOOD.replace(b"PK\1\2", b"PK\1\0", 1), "entry 1 of the table of contents is damaged"),
        (GOOD[:-22] + end_record(2, *struct.unpack("<12xII2x", GOOD[-22:])), "3 entries, the end record says 2"),
        (GOOD[:-22] + b"PK\6\7" + bytes(16) + GOOD[-22:], "the end record for large archives is missing"),
        (zipped({"/etc/passwd": b""}), "the name '/etc/passwd' is an absolute path"),
        (zipped({"../x": b""}), "the name '../x' leads out of the folder"),
        (zipped({"a/../../x": b""}), "the name 'a/../../x' leads out of the folder"),
        (zipped({"a/..": b""}), "the name 'a/..' leads out of the folder"),
        (zipped({"..\\x": b""}), r"the name '..\\\\x' has a backslash"),
        (zipped({"C:x": b""}), "the name 'C:x' has a drive letter"),
        (zipped({"./a": b""}), "the name './a' has an empty part"),
        (zipped({"a//b": b""}), "the name 'a//b' has an empty part"),
        (crafted(b""), "the name '' is empty"),
        (crafted(b"a.py\0.txt"), r"the name 'a.py\\x00.txt' has control characters"),
        (zipped({"a\nb": b""}), r"the name 'a\\nb' has control characters"),
        (zipped({"ä" * 128: b""}), "has a part of over 255 bytes"),
        (zipped({"a/" * 600: b""}), "is longer than 1024 bytes"),
        (crafted(b"\xff\xfe", flags=0x800), "the table of contents is damaged: 'utf-8' codec can't decode"),
        (zipped_member("l", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "'l' is a link or special file"),
        (zipped_member("p", mode=stat.S_IFIFO), "'p' is a link or special file"),
        (zipped_member("d", mode=stat.S_IFDIR), "'d' is a link or special file"),
        (crafted(b"d/"), "'d/' is a folder by its name, but has a content"),
        (zipped({"a/b": b"", "a": b""}), "'a' is a file and also the folder of another member"),
        (zipped({"a": b"", "a/b/c": b""}), "'a' is a file and also the folder of another member"),
        (zipped({"a": b"", "a/": b""}), "'a' is in it twice"),
        (overlapping(), "'a' and 'b' overlap"),
        (nested(), "'a' and 'b' overlap"),
        (crafted(flags=0x1), "'a.txt' is encrypted"),
        (crafted(flags=0x40), "'a.txt' is encrypted"),
        (crafted(flags=0x20), "'a.txt' is a patch"),
        (zipped(FILES, zipfile.ZIP_BZIP2), "'a.txt' is packed by method 12; only 0 (stored) and 8 (deflated)"),
        (zipped(FILES, zipfile.ZIP_LZMA), "'a.txt' is packed by method 14; only 0 (stored) and 8 (deflated)"),
        (crafted(method=99), "'a.txt' is packed by method 99"),
        (many_entries(10_001, 10_001), "it has more than 10000 members (WFMGMT_ARCHIVE_ENTRIES)"),
        (many_entries(10_001, 1), "it has more than 10000 members (WFMGMT_ARCHIVE_ENTRIES)"),
        (
            many_entries(300_000, 1),
            "its table of contents has 14100000 bytes, too many for 10000 members (WFMGMT_ARCHIVE_ENTRIES)",
        ),
        (
            zipped({f"{number}/{'a/' * 60}": b"" for number in range(200)}),
            "its members lie in more than 10000 folders (WFMGMT_ARCHIVE_ENTRIES)",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_archive_is_refused_when_its_table_of_contents_breaks_a_rule(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """Nothing of it is read, and the reason names the member and the rule."""
    with pytest.raises(InvalidArchive) as caught:
        open_archive(write(tmp_path, content), LIMITS)
    assert reason.replace("\\\\", "\\") in caught.value.reason


def test_archive_is_refused_when_a_name_is_there_twice(tmp_path: Path) -> None:
    """Of two members with one name none is taken."""
    with zipfile.ZipFile(tmp_path / "some.war", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    with pytest.raises(InvalidArchive, match=r"^'a' is in it twice$"):
        open_archive(tmp_path / "some.war", LIMITS)


def test_archive_with_a_million_entries_is_refused_without_reading_them(tmp_path: Path) -> None:
    """The end record is enough to refuse it, so it costs next to no memory."""
    path = write(tmp_path, b"")
    with path.open("wb") as file:
        row = entry(b"a", packed=b"", size=0, crc=0, offset=0)
        for _ in range(100):
            file.write(row * 10_000)
        file.write(end_record(0xFFFF, len(row) * 1_000_000, 0))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArchive, match="more than 10000 members"):
            open_archive(path, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_read_raises_when_there_is_no_such_file(tmp_path: Path) -> None:
    """Folders are not files either."""
    with open_archive(write(tmp_path, zipped({"a/": b""})), LIMITS) as archive:
        for name in ("a/", "b"):
            with pytest.raises(InvalidArchive, match=rf"^'{name}' is missing$"):
                archive.read(name, 10)


def test_read_counts_real_bytes(tmp_path: Path) -> None:
    """The limit itself is still allowed, one byte more is not."""
    with open_archive(write(tmp_path, zipped({"a": b"x" * 100})), LIMITS) as archive:
        assert archive.read("a", 100) == b"x" * 100
        with pytest.raises(InvalidArchive, match=r"^'a' is longer than 99 bytes$"):
            archive.read("a", 99)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (crafted(crc=1), "'a.txt' is damaged: Bad CRC-32"),
        (crafted(content=b"x" * 10, size=20), "'a.txt' is damaged: it ends after 10 of 20 bytes"),
        (crafted(content=b"x" * 1000, size=10), "'a.txt' is damaged: Bad CRC-32"),
        (zipped({"a.txt": b"abc" * 100}).replace(b"a.txt", b"b.txt", 1), "File name in directory"),
        (GOOD.replace(b"PK\3\4", b"PK\3\0", 1), "'a.txt' is not where the table of contents says"),
        (shifted(), "'a.txt' overlaps what follows it"),
        (crafted(method=0, size=1, crc=0), "'a.txt' is damaged: Bad CRC-32"),
        (
            local(b"a.txt", packed=b"\xff" * 9, size=9, crc=0)
            + entry(b"a.txt", packed=b"\xff" * 9, size=9, crc=0, offset=0)
            + end_record(1, 51, 44),
            "'a.txt' is damaged: Error -3 while decompressing",
        ),
    ],
    ids=["checksum", "longer", "shorter", "other name", "no header", "shared bytes", "not packed", "no deflate data"],
)
def test_members_are_refused_when_they_are_not_what_they_claim(tmp_path: Path, content: bytes, reason: str) -> None:
    """A damaged member is found while reading, while checking and while unpacking."""
    with open_archive(write(tmp_path, content), LIMITS) as archive:
        uses = (lambda: archive.read("a.txt", 10_000), archive.check, lambda: archive.unpack(_new_folder(tmp_path)))
        for use in uses:
            with pytest.raises(InvalidArchive) as caught:
                use()
            assert reason in caught.value.reason


def _new_folder(parent: Path) -> Path:
    folder = parent / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("claimed_size", [100, 2**30], ids=["claims 100 bytes", "claims 1 GiB"])
@pytest.mark.parametrize("way", ["read", "check", "unpack"])
def test_bombs_are_refused_in_little_memory_and_time(tmp_path: Path, way: str, claimed_size: int) -> None:
    """Neither what a member claims nor what it holds, a gibibyte, decides how much is read, but the limits."""
    path = write(tmp_path, bomb(1024, claimed_size=claimed_size))
    folder = _new_folder(tmp_path)
    began = time.process_time()
    tracemalloc.start()
    try:
        with open_archive(path, LIMITS) as archive, pytest.raises(InvalidArchive):
            arguments = {"read": ("zeros", MIB), "check": (), "unpack": (folder,)}[way]
            getattr(archive, way)(*arguments)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5
    assert sum(each.stat().st_size for each in folder.iterdir()) <= 210 * path.stat().st_size


def test_unpack_is_refused_when_the_ratio_is_too_high(tmp_path: Path) -> None:
    """Beyond 10 MiB nothing may come out at over so many times the size of the archive."""
    path = write(tmp_path, zipped({f"{number}": bytes(3 * MIB) for number in range(4)}))
    with (
        open_archive(path, LIMITS) as archive,
        pytest.raises(
            InvalidArchive,
            match=r"^it unpacks to .* 200 times its size, '3' passed the limit \(WFM.*_RATIO\)$",
        ),
    ):
        archive.unpack(_new_folder(tmp_path))


def test_unpack_takes_any_ratio_when_little_comes_out(tmp_path: Path) -> None:
    """A small file of zeros is no bomb."""
    with open_archive(write(tmp_path, zipped({"a": bytes(9 * MIB)})), LIMITS) as archive:
        archive.unpack(_new_folder(tmp_path))
    assert (tmp_path / "out" / "a").stat().st_size == 9 * MIB


def test_unpack_is_refused_when_the_sum_is_too_large(tmp_path: Path) -> None:
    """All members count together."""
    limits = replace(LIMITS, archive_unpacked_bytes=150)
    with (
        open_archive(write(tmp_path, zipped({"a": b"x" * 100, "b": b"x" * 100})), limits) as archive,
        pytest.raises(
            InvalidArchive,
            match=r"^it unpacks .* 150 bytes, 'b' passed the limit \(WFM.*_MB\)$",
        ),
    ):
        archive.unpack(_new_folder(tmp_path))


def test_check_finds_what_unpacking_would(tmp_path: Path) -> None:
    """An archive that was checked first meets no surprise later; a good one passes."""
    path = write(tmp_path, zipped({"folder/": b"", "folder/a": b"x" * 100, "b": b"x" * 100}))
    with open_archive(path, LIMITS) as archive:
        archive.check()
    with (
        open_archive(path, replace(LIMITS, archive_unpacked_bytes=150)) as archive,
        pytest.raises(InvalidArchive, match=r"^it unpacks .* 150 bytes, 'b' passed the limit \(WFM.*_MB\)$"),
    ):
        archive.check()


def test_unpack_does_not_follow_links_in_the_folder(tmp_path: Path) -> None:
    """Where something lies already, nothing is written."""
    folder = _new_folder(tmp_path)
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    with open_archive(write(tmp_path, zipped({"a": b"x"})), LIMITS) as archive, pytest.raises(FileExistsError):
        archive.unpack(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_unpack_lets_a_full_disk_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is no fault of the archive's."""

    class FullDisk(BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reading, "_create_file", lambda _path: FullDisk())
    with open_archive(write(tmp_path, GOOD), LIMITS) as archive, pytest.raises(OSError, match="No space") as caught:
        archive.unpack(_new_folder(tmp_path))
    assert caught.value.errno == errno.ENOSPC


def test_open_archive_lets_a_missing_file_through(tmp_path: Path) -> None:
    """Whether there is a file is the caller's business."""
    with pytest.raises(FileNotFoundError):
        open_archive(tmp_path / "missing.war", LIMITS)


def test_sha256_of_is_the_digest_of_the_file(tmp_path: Path) -> None:
    """The digest is the one that sha256sum prints."""
    assert sha256_of(write(tmp_path, GOOD)) == hashlib.sha256(GOOD).hexdigest()
