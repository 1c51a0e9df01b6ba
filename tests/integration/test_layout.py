"""The tree of the tests mirrors the package."""

import pytest

from tests.support.service import CHECKOUT

TESTS = CHECKOUT / "tests"


@pytest.mark.parametrize("kind", ["unit", "integration"])
def test_tests_lie_where_what_they_test_lies(kind: str) -> None:
    """The tests of `wfmgmt/registry/` are in `unit/registry/` and `integration/registry/`."""
    folders = {path.parent.relative_to(TESTS / kind) for path in (TESTS / kind).rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (CHECKOUT / "wfmgmt" / folder).is_dir()] == []
