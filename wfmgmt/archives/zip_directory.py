"""The table of contents of a zip archive, checked as a whole before anything in the archive is read.

`zipfile` reads the table into memory however long it is, takes names as they come, and does not compare entries with
each other. The format is described in APPNOTE.TXT of PKWARE; the numbers of its sections are given below.
"""

import itertools
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

from wfmgmt.domain.names import quoted
from wfmgmt.errors import InvalidArchive

_ENTRY = struct.Struct("<4s24xHHH12x")  # 4.3.12: signature and the lengths of name, extra field and comment
_ENTRY_SIGNATURE = b"PK\1\2"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # 4.3.7: signature and the lengths of name and extra field
_LOCAL_SIGNATURE = b"PK\3\4"
_END = struct.Struct("<4s6xHIIH")  # 4.3.16: signature, entries, size and offset of the table, length of the comment
_END_SIGNATURE = b"PK\5\6"
_LOCATOR = struct.Struct("<4s16x")  # 4.3.15: signature
_LOCATOR_SIGNATURE = b"PK\6\7"
_END_64 = struct.Struct("<4s28xQQQ")  # 4.3.14: signature, entries, size and offset of the table
_END_64_SIGNATURE = b"PK\6\6"
_GZIP_SIGNATURE = b"\x1f\x8b"
_MAX_COMMENT_BYTES = 0xFFFF

_MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255
# On the average of all entries; an entry of the archivers has some 100 bytes.
_MAX_ENTRY_BYTES = 1024

# Bits of 4.4.4: encrypted, compressed patch, strong encryption, masked header.
_REFUSED_FLAGS = {0x1: "encrypted", 0x20: "a patch", 0x40: "encrypted", 0x2000: "encrypted"}
# TorchServe reads these two and no others. The others also unpack one chunk to any size at once in Python.
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def open_checked(file: IO[bytes], max_entries: int) -> tuple[zipfile.ZipFile, Sequence["Placed"]]:
    """Return the archive in a file after all of its table of contents has been checked, and where its members lie.

    Args:
        file: Open for reading; it stays open when the archive is closed.
        max_entries: Members that the archive may have.

    Returns:
        The archive, and its members in the order of their bytes.

    Raises:
        InvalidArchive: The table breaks a rule.
        BadZipFile, ValueError, NotImplementedError, struct.error: zipfile could not make sense of it.
    """
    table = _find_table(file)
    _check_entry_count(file, table, max_entries)
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    for member in members:
        _check_member(member)
    _check_paths(members, max_entries)
    return archive, _checked_layout(members, table.offset)


class Placed(NamedTuple):
    """A member of an archive and its place in the file.

    Attributes:
        member: Its entry in the table of contents.
        end: Where the next member begins, or the table of contents.
    """

    member: zipfile.ZipInfo
    end: int

    def check(self, file: IO[bytes]) -> None:
        """Compare the header before the member's data with the table of contents.

        Raises:
            InvalidArchive: There is no such header, or the data would reach into what follows.
            struct.error: The file ends there.
        """
        file.seek(self.member.header_offset)
        signature, *lengths = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if signature != _LOCAL_SIGNATURE:
            raise InvalidArchive(f"{quoted(self.member.filename)} is not where the table of contents says")
        if self.member.header_offset + _LOCAL_HEADER.size + sum(lengths) + self.member.compress_size > self.end:
            raise InvalidArchive(f"{quoted(self.member.filename)} overlaps what follows it")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Where the end record says that the table of contents is.

    Attributes:
        entries: Members in it.
        size: Length in bytes.
        offset: Of its first byte in the file.
    """

    entries: int
    size: int
    offset: int


def _find_table(file: IO[bytes]) -> _Table:
    """Return where the table of contents is.

    Raises:
        InvalidArchive: There is no end record, or it does not fit the file.
    """
    file_size = file.seek(0, os.SEEK_END)
    tail_offset = max(0, file_size - _END.size - _MAX_COMMENT_BYTES)
    file.seek(tail_offset)
    tail = file.read()
    end_in_tail = tail.rfind(_END_SIGNATURE)
    if end_in_tail < 0:
        raise InvalidArchive(_why_no_end(file, file_size))
    if len(tail) - end_in_tail < _END.size:
        raise InvalidArchive("it is cut off within the end record")
    _, entries, size, offset, comment_size = _END.unpack_from(tail, end_in_tail)
    end = tail_offset + end_in_tail
    if end + _END.size + comment_size != file_size:
        raise InvalidArchive("the file is shorter or longer than the end record says")
    table_end = end
    file.seek(max(0, end - _LOCATOR.size))
    if file.read(len(_LOCATOR_SIGNATURE)) == _LOCATOR_SIGNATURE:
        table_end = end - _LOCATOR.size - _END_64.size
        entries, size, offset = _read_end_64(file, table_end)
    if offset + size != table_end:
        raise InvalidArchive("the table of contents is not where the end record says; the file is damaged or cut off")
    return _Table(entries=entries, size=size, offset=offset)


def _why_no_end(file: IO[bytes], file_size: int) -> str:
    """Say what is wrong with a file without an end record."""
    if file_size == 0:
        return "the file is empty"
    file.seek(0)
    beginning = file.read(len(_LOCAL_SIGNATURE))
    if beginning == _LOCAL_SIGNATURE:
        return "it is cut off: the table of contents at the end of every zip file is missing"
    if beginning.startswith(_GZIP_SIGNATURE):
        return (
            "it is not a zip file but a gzip file, and tgz is not read; "
            "`tar -xzmf FILE && python3 -m zipfile -c NEW FOLDER/.` makes a zip file of it"
        )
    return "it is not a zip file"


def _read_end_64(file: IO[bytes], offset: int) -> tuple[int, int, int]:
    """Return entries, size and offset of the table from the end record for large archives.

    Raises:
        InvalidArchive: There is none at that offset.
    """
    file.seek(max(0, offset))
    record = file.read(_END_64.size)
    if not record.startswith(_END_64_SIGNATURE) or len(record) < _END_64.size or offset < 0:
        raise InvalidArchive("the end record for large archives is missing or damaged")
    _, entries, size, table_offset = _END_64.unpack(record)
    return entries, size, table_offset


def _check_entry_count(file: IO[bytes], table: _Table, max_entries: int) -> None:
    """Count the entries in the table without making objects of them.

    Raises:
        InvalidArchive: There are too many, or not as many as the end record says.
    """
    too_many = f"it has more than {max_entries} members (WFMGMT_ARCHIVE_ENTRIES)"
    if table.entries > max_entries:
        raise InvalidArchive(too_many)
    if table.size > max_entries * _MAX_ENTRY_BYTES:
        raise InvalidArchive(
            f"its table of contents has {table.size} bytes, too many for {max_entries} members (WFMGMT_ARCHIVE_ENTRIES)"
        )
    file.seek(table.offset)
    entries = file.read(table.size)
    position = count = 0
    while position < len(entries):
        if not entries.startswith(_ENTRY_SIGNATURE, position) or len(entries) - position < _ENTRY.size:
            raise InvalidArchive(f"entry {count + 1} of the table of contents is damaged")
        position += _ENTRY.size + sum(_ENTRY.unpack_from(entries, position)[1:])
        count += 1
        if count > max_entries:
            raise InvalidArchive(too_many)
    if count != table.entries or position != table.size:
        raise InvalidArchive(f"the table of contents has {count} entries, the end record says {table.entries}")


def _check_member(member: zipfile.ZipInfo) -> None:
    """Refuse a member that must not be unpacked.

    Raises:
        InvalidArchive: Its name, kind or packing is not allowed.
    """
    # zipfile cuts names off at NUL; the original name shows it.
    name = member.orig_filename if "\0" in member.orig_filename else member.filename
    fault = _fault_of_name(name)
    if fault is not None:
        raise InvalidArchive(
            f"the name {quoted(name)} {fault}; names have to be plain relative paths like 'folder/x.py'"
        )
    expected_type = stat.S_IFDIR if member.is_dir() else stat.S_IFREG
    # Archivers leave the type out for what they write from memory.
    if stat.S_IFMT(member.external_attr >> 16) not in (0, expected_type):
        raise InvalidArchive(f"{quoted(name)} is a link or special file; only files and folders are allowed")
    if member.is_dir() and member.file_size:
        raise InvalidArchive(f"{quoted(name)} is a folder by its name, but has a content like a file")
    for flag, what in _REFUSED_FLAGS.items():
        if member.flag_bits & flag:
            raise InvalidArchive(f"{quoted(name)} is {what}; only plain members can be read")
    if member.compress_type not in _COMPRESSIONS:
        raise InvalidArchive(
            f"{quoted(name)} is packed by method {member.compress_type}; only 0 (stored) and 8 (deflated) are allowed"
        )


def _fault_of_name(name: str) -> str | None:
    """Return what is wrong with the name of a member, None when it is a plain relative path."""
    parts = name.removesuffix("/").split("/")
    faults = (
        (not name, "is empty"),
        (any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in name), "has control characters"),
        ("\\" in name, "has a backslash"),
        (name.startswith("/"), "is an absolute path"),
        (_DRIVE.match(name) is not None, "has a drive letter"),
        (".." in parts, "leads out of the folder"),
        ("." in parts or "" in parts, "has an empty part"),
        (len(name.encode()) > _MAX_NAME_BYTES, f"is longer than {_MAX_NAME_BYTES} bytes"),
        (any(len(part.encode()) > _MAX_PART_BYTES for part in parts), f"has a part of over {_MAX_PART_BYTES} bytes"),
    )
    return next((fault for is_found, fault in faults if is_found), None)


def _check_paths(members: Sequence[zipfile.ZipInfo], max_entries: int) -> None:
    """Refuse members that get into each other's way in a folder, and more folders than members are allowed.

    Raises:
        InvalidArchive: Two have the same name, a file has the name of a folder, or there are too many folders.
    """
    paths: set[str] = set()
    files: set[str] = set()
    # Every folder's own parents are in here too, so the walk upwards can end at the first one that is known.
    folders: set[str] = set()
    for member in members:
        path = member.filename.removesuffix("/")
        if path in paths:
            raise InvalidArchive(f"{quoted(path)} is in it twice")
        paths.add(path)
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
        (folders if member.is_dir() else files).add(path)
        if len(folders) > max_entries:
            raise InvalidArchive(f"its members lie in more than {max_entries} folders (WFMGMT_ARCHIVE_ENTRIES)")
    both = next((path for path in files if path in folders), None)
    if both is not None:
        raise InvalidArchive(f"{quoted(both)} is a file and also the folder of another member")


def _checked_layout(members: Sequence[zipfile.ZipInfo], table_offset: int) -> Sequence[Placed]:
    """Refuse members that share bytes of the file: that is how a small file unpacks to a huge one.

    Only the table of contents is looked at here, so that nothing is read twice; `Placed.check` does the rest.

    Raises:
        InvalidArchive: Two members overlap, or one reaches into the table of contents.
    """
    placed = []
    in_order = sorted(members, key=lambda member: member.header_offset)
    for member, following in itertools.zip_longest(in_order, in_order[1:]):
        end = table_offset if following is None else following.header_offset
        if member.header_offset + _LOCAL_HEADER.size + member.compress_size > end:
            name = quoted(member.filename)
            where = "lies outside of the data" if following is None else f"and {quoted(following.filename)} overlap"
            raise InvalidArchive(f"{name} {where}")
        placed.append(Placed(member, end))
    return placed
