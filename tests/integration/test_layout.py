"""The tree of the tests, which mirrors the package, and the fences between the rooms of the package."""

import tomllib

import pytest

from tests.support.service import CHECKOUT

TESTS = CHECKOUT / "tests"
MAX_LINES = 450
ROOMS = {f"wfmgmt.{path.stem}" for path in (CHECKOUT / "wfmgmt").glob("[a-z]*") if path.name != "py.typed"}


@pytest.mark.parametrize("kind", ["unit", "integration"])
def test_tests_lie_where_what_they_test_lies(kind: str) -> None:
    """The tests of `wfmgmt/registry/` are in `unit/registry/` and `integration/registry/`."""
    folders = {path.parent.relative_to(TESTS / kind) for path in (TESTS / kind).rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (CHECKOUT / "wfmgmt" / folder).is_dir()] == []


def test_no_file_is_long() -> None:
    """A file that needs more lines has more than one subject."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS.rglob("*.py")}
    assert {str(path.relative_to(TESTS)): length for path, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("flask", {"wfmgmt.api", "wfmgmt.web", "wfmgmt.wsgi"}),
        ("sqlalchemy", {"wfmgmt.registry"}),
        ("aiohttp", {"wfmgmt.serving", "wfmgmt.torchserve"}),
        ("requests", {"wfmgmt.client"}),
    ],
)
def test_library_is_forbidden_in_all_other_rooms(library: str, allowed: set[str]) -> None:
    """A new room is fenced in, too."""
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (fence,) = (
        each for each in contracts if each.get("allow_indirect_imports") and library in each["forbidden_modules"]
    )
    assert sorted(fence["source_modules"]) == sorted(ROOMS - allowed)
