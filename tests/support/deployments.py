"""Deployments of tests: some have to end well and may leave nothing, others are killed in the end.

Their databases have the current schema already, so that not each of them runs all migrations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.factories import make_mar, make_war
from tests.support.records import make_database
from tests.support.service import Service

#: Small limits, so that an archive which breaks them is made in no time.
LIMITS = {"archive_entries": 50, "archive_unpacked_mb": 20}


@contextmanager
def deployed(folder: Path, *arguments: str, **settings: Any) -> Iterator[Service]:
    """Run a deployment, with more arguments for gunicorn and with these settings, that has to end well."""
    service = Service(folder, *arguments, **settings)
    make_database(service.database)
    service.start()
    try:
        yield service
    finally:
        code = service.stop()
    assert code == 0, service.text_of_log()
    service.wait_until_gone()


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Service]:
    """Run a deployment with the workflow `seq` registered, which has to end well."""
    with deployed(folder, **settings) as service:
        make_war(service.workflow_store)
        make_mar(service.model_store)
        assert service.register("seq.war").status_code == 200
        yield service


@contextmanager
def left_as_found(service: Service) -> Iterator[Service]:
    """Give a shared deployment, and remove in the end what was registered and put into its stores meanwhile."""
    stores = (service.workflow_store, service.model_store)
    before = {path for store in stores for path in store.iterdir()}
    names = service.names()
    yield service
    for name in set(service.names()) - set(names):
        assert service.unregister(name).status_code == 200
    for store in stores:
        for path in set(store.iterdir()) - before:
            path.unlink()


def start_forkserver(service: Service) -> None:
    """Load something once: the process that workers are forked from stays, and is nothing that a test left."""
    archives = [make_war(service.workflow_store), make_mar(service.model_store)]
    assert service.register("seq.war").status_code == 200
    assert service.unregister("seq").status_code == 200
    for archive in archives:
        archive.unlink()


@contextmanager
def prepared(folder: Path, **arguments: Any) -> Iterator[Service]:
    """Give a deployment with the archives of the workflow `seq`, which is not started yet; kill it in the end."""
    service = Service(folder, **arguments)
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    try:
        yield service
    finally:
        service.kill()
