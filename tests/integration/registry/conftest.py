"""Registries on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgresql import postgresql
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import locked_connection, upgrade


@pytest.fixture(name="server", scope="session")
def _server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(name="database", params=["sqlite", "postgresql"])
def _database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'wfmgmt.db'}"
        return
    server: str = request.getfixturevalue("server")
    yield server
    with locked_connection(server) as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@pytest.fixture(name="registry")
def _registry(database: str) -> Iterator[Registry]:
    upgrade(database)
    registry = Registry(database)
    yield registry
    registry.close()
