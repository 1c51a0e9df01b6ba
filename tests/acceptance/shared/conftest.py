"""The deployment that these tests share, and one for downloads."""

from collections.abc import Iterator

import pytest

from tests.support.deployments import LIMITS, deployed, start_forkserver
from tests.support.service import Service


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment with the default settings but for smaller limits on archives; tests leave it as they found it."""
    with deployed(tmp_path_factory.mktemp("s"), **LIMITS) as service:
        start_forkserver(service)
        yield service


@pytest.fixture(scope="module")
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
