"""A start with very many workflows, of which many hang in loading."""

from pathlib import Path

from tests.support.hanging_loads import start_with_hanging_loads


def test_many_hanging_loads_keep_no_workflow_waiting(tmp_path: Path) -> None:
    """More hang than may go on in a lane of their own."""
    start_with_hanging_loads(tmp_path, good=40, hanging=20)
