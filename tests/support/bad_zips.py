"""Workflow archives that no honest archiver writes; each function writes `bad.war` into a folder."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.support.factories import make_war

Write = Callable[[Path], Path]
MIB = 1024 * 1024


def war(**overrides: object) -> Write:
    """Write an archive that has something wrong inside."""
    return lambda folder: make_war(folder, name="bad", **overrides)  # type: ignore[arg-type]  # any of its arguments


def content(data: bytes) -> Write:
    """Write a file that need not be an archive at all."""

    def write(folder: Path) -> Path:
        path = folder / "bad.war"
        path.write_bytes(data)
        return path

    return write


def cut(keep: Callable[[int], int]) -> Write:
    """Write the beginning of an archive, as long as the function of the whole length says."""

    def write(folder: Path) -> Path:
        path = make_war(folder, name="bad")
        data = path.read_bytes()
        path.write_bytes(data[: keep(len(data))])
        return path

    return write


def changed(change: Callable[[zipfile.ZipFile], object]) -> Write:
    """Write a good archive and change it before its table of contents is written."""

    def write(folder: Path) -> Path:
        path = make_war(folder, name="bad")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("notes.txt", "notes")
            change(archive)
        return path

    return write


def patched(old: bytes, new: bytes) -> Write:
    """Write a good archive with a member `notes.txt` and replace bytes of it by as many others."""

    def write(folder: Path) -> Path:
        path = changed(lambda _: None)(folder)
        data = path.read_bytes()
        assert old in data
        assert len(old) == len(new)
        path.write_bytes(data.replace(old, new))
        return path

    return write


def misname(folder: Path) -> Path:
    """Write an archive in which the name of a member is not the UTF-8 that it says it is."""
    path = make_war(folder, name="bad", extra_files={"nötes.txt": "notes"})
    path.write_bytes(path.read_bytes().replace("nötes".encode(), b"n\xff\xfetes"))
    return path


def encrypt(archive: zipfile.ZipFile) -> None:
    """Mark a member as encrypted."""
    archive.filelist[0].flag_bits |= 1


def add_link(archive: zipfile.ZipFile) -> None:
    """Add a symbolic link that leads out."""
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, "/etc/passwd")


def overlap(archive: zipfile.ZipFile) -> None:
    """Let two members share their bytes."""
    archive.filelist[1].header_offset = archive.filelist[0].header_offset


def understate(archive: zipfile.ZipFile) -> None:
    """Declare that a member is shorter than it is."""
    archive.filelist[-1].file_size = 1


def pack_by_bzip2(archive: zipfile.ZipFile) -> None:
    """Add a member that is packed by a method which TorchServe does not read."""
    archive.writestr("x.bin", b"x" * 100, compress_type=zipfile.ZIP_BZIP2)


def add_many(archive: zipfile.ZipFile) -> None:
    """Add more members than allowed."""
    for number in range(50):
        archive.writestr(f"{number}.txt", "")


def add_large(archive: zipfile.ZipFile) -> None:
    """Add more bytes than allowed, not packed."""
    archive.writestr("large.bin", bytes(21 * MIB), compress_type=zipfile.ZIP_STORED)


def add_bomb(archive: zipfile.ZipFile) -> None:
    """Add few bytes that unpack to a thousand times as many."""
    archive.writestr("bomb.bin", bytes(15 * MIB), compress_type=zipfile.ZIP_DEFLATED)
