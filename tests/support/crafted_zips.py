"""Zip archives byte by byte, honest ones and others."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from wfmgmt.domain.limits import MIB

FILES = {"a.txt": b"first", "sub/b.txt": b"second" * 1000, "empty": b""}


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an ordinary archive."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zipped_member(name: str = "a.txt", content: bytes = b"x", *, mode: int = 0) -> bytes:
    """Return an archive with one member of a certain type."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, content)
    return buffer.getvalue()


def entry(name: bytes, *, packed: bytes, size: int, crc: int, offset: int, flags: int = 0, method: int = 8) -> bytes:
    """Return an entry of the table of contents, which may claim anything."""
    head = struct.pack("<4s6H3I", b"PK\1\2", 20, 20, flags, method, 0, 33, crc, len(packed), size)
    return head + struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, offset) + name


def local(name: bytes, *, packed: bytes, size: int, crc: int, flags: int = 0, method: int = 8) -> bytes:
    """Return a member as it lies in the file; its header may claim anything."""
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, crc, len(packed), size, len(name), 0)
    return head + name + packed


def end_record(entries: int, size: int, offset: int) -> bytes:
    """Return the record at the end of an archive."""
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, entries, entries, size, offset, 0)


def crafted(name: bytes = b"a.txt", content: bytes = b"x", **claims: int) -> bytes:
    """Return an archive with one member that claims to be what it is not."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(content) + packer.flush()
    claimed = {"size": len(content), "crc": zlib.crc32(content), **claims}
    data = local(name, packed=packed, **claimed)
    table = entry(name, packed=packed, offset=0, **claimed)
    return data + table + end_record(1, len(table), len(data))


def overlapping() -> bytes:
    """Return an archive with two members in the same bytes."""
    packed = zlib.compress(b"x" * 1000)[2:-4]
    claimed = {"size": 1000, "crc": zlib.crc32(b"x" * 1000)}
    data = local(b"a", packed=packed, **claimed)
    table = b"".join(entry(name, packed=packed, offset=0, **claimed) for name in (b"a", b"b"))
    return data + table + end_record(2, len(table), len(data))


def nested() -> bytes:
    """Return an archive whose first member holds the second one, header and all."""
    inner = local(b"b", packed=b"x" * 10, size=10, crc=zlib.crc32(b"x" * 10), method=0)
    outer = local(b"a", packed=inner, size=len(inner), crc=zlib.crc32(inner), method=0)
    table = entry(b"a", packed=inner, size=len(inner), crc=zlib.crc32(inner), offset=0, method=0)
    table += entry(b"b", packed=b"x" * 10, size=10, crc=zlib.crc32(b"x" * 10), offset=31, method=0)
    return outer + table + end_record(2, len(table), len(outer))


def shifted() -> bytes:
    """Return an archive whose first member has its data in the second one, by way of a long extra field."""
    packed = b"x" * 100
    claimed: dict[str, Any] = {"packed": packed, "size": 100, "crc": zlib.crc32(packed), "method": 0}
    first, second = local(b"a.txt", **claimed), local(b"b", **claimed)
    first = first[:28] + struct.pack("<H", len(second)) + first[30:]
    table = entry(b"a.txt", offset=0, **claimed) + entry(b"b", offset=len(first), **claimed)
    return first + second + table + end_record(2, len(table), len(first + second))


def many_entries(count: int, claimed: int) -> bytes:
    """Return an archive with a long table of contents and no data, claiming another number of entries."""
    table = entry(b"a", packed=b"", size=0, crc=0, offset=0) * count
    return table + end_record(claimed, len(table), 0)


def write(folder: Path, content: bytes) -> Path:
    """Write an archive and return its path."""
    path = folder / "some.war"
    path.write_bytes(content)
    return path


def packed_zeros(mebibytes: int) -> bytes:
    """Return the deflated form of very many zeros, which are packed once and repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    one = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return one * mebibytes + zlib.compressobj(wbits=-15).flush()


def bomb(mebibytes: int, *, claimed_size: int) -> bytes:
    """Return an archive with a member of zeros that unpacks to so much and claims another size."""
    packed = packed_zeros(mebibytes)
    data = local(b"zeros", packed=packed, size=claimed_size, crc=0)
    table = entry(b"zeros", packed=packed, size=claimed_size, crc=0, offset=0)
    return data + table + end_record(1, len(table), len(data))
