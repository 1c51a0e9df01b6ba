"""What a web worker takes at a time, by how many files it may open."""

import sys
from pathlib import Path

import pytest

from wfmgmt.deployment.host_limits import web_limits
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.settings import Settings


@pytest.mark.parametrize(
    ("file_limit", "expected"),
    [(112, (16, 1)), (120, (16, 1)), (130, (18, 2)), (256, (32, 16)), (1024, (800, 16)), (sys.maxsize, (1000, 16))],
)
def test_uploads_come_before_more_connections(tmp_path: Path, file_limit: int, expected: tuple[int, int]) -> None:
    """One upload goes in any case; each further one takes a connection with it."""
    assert web_limits(Settings.load({}, instance=tmp_path), file_limit) == expected


def test_too_few_files_are_refused_with_how_many_it_takes(tmp_path: Path) -> None:
    """A web worker that cannot use its threads does not start."""
    with pytest.raises(SettingsInvalid, match=r"is 111; expected at least 112 for WFMGMT_WEB_THREADS=8"):
        web_limits(Settings.load({}, instance=tmp_path), 111)
