"""The tree of the tests: it mirrors the package, and no file of it is long."""

import pytest

from tests.support.service import CHECKOUT

TESTS = CHECKOUT / "tests"
MAX_LINES = 450


@pytest.mark.parametrize("kind", ["unit", "integration"])
def test_tests_lie_where_what_they_test_lies(kind: str) -> None:
    """The tests of `wfmgmt/registry/` are in `unit/registry/` and `integration/registry/`."""
    folders = {path.parent.relative_to(TESTS / kind) for path in (TESTS / kind).rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (CHECKOUT / "wfmgmt" / folder).is_dir()] == []


def test_no_file_is_long() -> None:
    """A file that needs more lines has more than one subject."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS.rglob("*.py")}
    assert {str(path.relative_to(TESTS)): length for path, length in lengths.items() if length > MAX_LINES} == {}
