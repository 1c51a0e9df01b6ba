"""The deployments that acceptance tests share; each is ended in the end, and nothing of it may be left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.factories import make_mar, make_war
from tests.service import Service, pids_of

#: Small limits, so that an archive which breaks them is made in no time.
LIMITS = {"archive_entries": 50, "archive_unpacked_mb": 20}


@contextmanager
def deployed(folder: Path, **settings: object) -> Iterator[Service]:
    """Run a deployment that has to end well."""
    service = Service(folder, **settings).start()
    try:
        yield service
    finally:
        code = service.stop()
        left = pids_of(folder)
    assert code == 0, service.text_of_log()
    assert left == []


def start_forkserver(service: Service) -> None:
    """Load something once: the process that workers are forked from stays, and is nothing that a test left."""
    archives = [make_war(service.workflow_store), make_mar(service.model_store)]
    assert service.register("seq.war").status_code == 200
    assert service.unregister("seq").status_code == 200
    for archive in archives:
        archive.unlink()


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
