"""The deployments that acceptance tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import LIMITS, deployed, prepared, start_forkserver
from tests.support.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with the default settings but for smaller limits on archives; tests leave it as they found it."""
    with deployed(tmp_path_factory.mktemp("s"), **LIMITS) as service:
        start_forkserver(service)
        yield service


@pytest.fixture(scope="session")
def downloading_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment that downloads what lies under `/open/` on this machine, if it is small and quick."""
    settings = {
        "allowed_urls": r"http://127\.0\.0\.1:\d+/open/.*",
        "download_timeout_s": 1,
        "download_limit_mb": 1,
        "log_level": "debug",
    }
    with deployed(tmp_path_factory.mktemp("d"), **LIMITS, **settings) as service:
        start_forkserver(service)
        yield service


@pytest.fixture(name="prepared")
def _prepared(tmp_path: Path) -> Iterator[Service]:
    """Give a deployment of the test's own with the archives of the workflow `seq`, which is not started yet."""
    with prepared(tmp_path / "instance", allowed_urls=r"http://127\.0\.0\.1:.*") as service:
        yield service
