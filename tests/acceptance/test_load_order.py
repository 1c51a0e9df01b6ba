"""A start with workflows that hang in loading: they keep nobody waiting who comes up."""

from pathlib import Path

from tests.support.hanging_loads import start_with_hanging_loads


def test_hanging_loads_keep_no_workflow_waiting(tmp_path: Path) -> None:
    """More hang than are loaded at a time; `make chaos` has many."""
    start_with_hanging_loads(tmp_path, good=8, hanging=6)
