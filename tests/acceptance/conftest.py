"""What many acceptance tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import prepared
from tests.support.service import Service


@pytest.fixture(name="prepared")
def _prepared(tmp_path: Path) -> Iterator[Service]:
    """Give a deployment of the test's own with the archives of the workflow `seq`, which is not started yet."""
    with prepared(tmp_path / "instance", allowed_urls=r"http://127\.0\.0\.1:.*") as service:
        yield service
