"""What the tests of downloads share."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Path]:
    """A path for a download, in a folder that has nothing else in it at the end."""
    folder = tmp_path / "into"
    folder.mkdir()
    yield folder / "part"
    assert set(folder.iterdir()) <= {folder / "part"}
