"""Archives whose bytes were changed, cut out or put in."""

import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.crafted_zips import FILES, write, zipped
from wfmgmt.archives.reading import open_archive
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.errors import InvalidArchive

LIMITS = Limits()
GOOD = zipped(FILES)


def _use(path: Path, folder: Path) -> None:
    """Do everything with an archive that can be done."""
    folder.mkdir(exist_ok=True)
    with open_archive(path, replace(LIMITS, archive_unpacked_bytes=MIB)) as archive:
        for name in archive.names:
            archive.read(name, MIB)
        archive.unpack(folder)


def _flip(content: bytes, position: int, value: int) -> bytes:
    changed = bytearray(content)
    changed[position % len(changed)] = value
    return bytes(changed)


@st.composite
def damaged_archives(draw: st.DrawFn) -> bytes:
    """Draw archives in which bytes were changed, cut out or put in at a few places."""
    content = draw(st.sampled_from([GOOD, zipped({"a/b": b"x" * 50, "c/": b""}, zipfile.ZIP_STORED)]))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(content)))
        removed_bytes = draw(st.integers(0, 8))
        content = content[:position] + draw(st.binary(max_size=8)) + content[position + removed_bytes :]
    return content


@settings(max_examples=300)
@given(content=st.binary(max_size=200) | damaged_archives())
def test_archives_raise_nothing_but_invalid_archive(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """An archive of any bytes works or raises the one error."""
    folder = tmp_path_factory.mktemp("damaged")
    try:
        _use(write(folder, content), folder / "out")
    except InvalidArchive as exc:
        reason = exc.reason
    else:
        reason = "some damage does no harm"
    assert reason


def test_archives_with_one_byte_changed_raise_nothing_but_invalid_archive(tmp_path: Path) -> None:
    """Every byte of the headers gets a few values, for that is where the odd errors are."""
    chance = random.Random(0)
    small = zipped({"a": b"x", "b/c": b"y"})
    outcomes = {"works": 0, "refused": 0}
    for position in range(len(small)):
        for value in (0, 255, small[position] ^ (1 << chance.randrange(8))):
            path = write(tmp_path, _flip(small, position, value))
            try:
                with open_archive(path, LIMITS) as archive:
                    for name in archive.names:
                        archive.read(name, MIB)
            except InvalidArchive:
                outcomes["refused"] += 1
            else:
                outcomes["works"] += 1
    assert min(outcomes.values()) > 50
