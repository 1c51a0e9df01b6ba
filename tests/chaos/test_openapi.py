"""A longer look at the OpenAPI descriptions than `make check` takes; `FUZZ_EXAMPLES=5000 make fuzz` takes longer."""

import os
from pathlib import Path

import pytest

from tests.support.fuzzing import findings, fuzzed_service


@pytest.mark.parametrize("plane", ["management", "inference"])
def test_schemathesis_finds_nothing(tmp_path: Path, plane: str) -> None:
    """All requests are other ones in each run."""
    with fuzzed_service(tmp_path) as service:
        examples = int(os.environ.get("FUZZ_EXAMPLES", "500"))
        found = findings(getattr(service, plane), examples=examples, is_random=True)
    assert not found, found
