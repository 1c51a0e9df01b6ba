"""Databases of the released schemas, filled by the code of their times, upgraded on SQLite and PostgreSQL."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text

from tests.support.operations import make_operation
from tests.support.records import make_event
from wfmgmt.registry.migrations import alembic_config
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import locked_connection, upgrade
from wfmgmt.settings import Settings
from wfmgmt.wsgi import create_app

FROZEN = Path(__file__).parent / "frozen"
#: Tables of each released schema, those that others refer to first.
TABLES = {
    "0007": ("installation", "revision_counter", "removal", "workflow", "node", "edge", "audit_event"),
    "0008": (
        *("installation", "change_counter", "removal", "release", "release_route", "workflow", "workflow_version"),
        *("node", "edge", "node_override", "idempotency_key", "audit_event"),
    ),
}
READY, LEAVING, UNFINISHED = ("Leaves", "both", "remote", "sequential"), "going", "half"


def answers_of(released: str) -> dict[str, tuple[int, str]]:
    """Return path to the status and the text that was answered before the upgrade, while no runtime was there."""
    answers: dict[str, tuple[int, str]] = json.loads((FROZEN / f"{released}.json").read_text(encoding="utf-8"))
    return answers


def restore(connection: sqlite3.Connection, released: str) -> None:
    """Write the frozen tables into an empty SQLite database."""
    connection.executescript((FROZEN / f"{released}.sql").read_text(encoding="utf-8"))


def frozen_rows(released: str, table: str) -> list[dict[str, Any]]:
    """Return the frozen rows of one table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        restore(connection, released)
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608 - a constant


def fill_postgresql(url: str, released: str) -> None:
    """Bring an empty database to a released schema, with the frozen rows."""
    with locked_connection(url) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, released)
    with locked_connection(url) as connection:
        pointers = []
        for table in TABLES[released]:
            if table.endswith("_counter"):
                connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - constants
            for row in frozen_rows(released, table):
                if "default_version_id" in row:
                    pointers.append((row.pop("default_version_id"), row["id"]))  # Versions come later.
                values = ", ".join(f":{column}" for column in row)
                connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row)  # noqa: S608 - constants
                if "id" in row:
                    sequence = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {row['id']})"
                    connection.exec_driver_sql(sequence)
        for pointer in pointers:
            connection.exec_driver_sql("UPDATE workflow SET default_version_id = %s WHERE id = %s", pointer)


@pytest.fixture(name="released", params=list(TABLES))
def _released(request: pytest.FixtureRequest) -> str:
    """Give a released schema."""
    return str(request.param)


@pytest.fixture(name="database", params=["sqlite", "postgresql"])
def _database(request: pytest.FixtureRequest, released: str, tmp_path: Path) -> Iterator[str]:
    """Give the upgraded database."""
    if request.param == "sqlite":
        with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection:
            restore(connection, released)
        url = f"sqlite:///{tmp_path / 'wfmgmt.db'}"
    else:
        url = request.getfixturevalue("server")
        fill_postgresql(url, released)
    upgrade(url)
    yield url
    if request.param == "postgresql":
        with locked_connection(url) as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


@pytest.fixture(name="registry")
def _registry(database: str) -> Iterator[Registry]:
    registry = Registry(database)
    yield registry
    registry.close()


def rows(database: str, statement: str) -> list[dict[str, Any]]:
    """Return what a query finds."""
    with locked_connection(database) as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def without_additions(new: Any, old: Any) -> Any:
    """Return a JSON value without the fields that follow those which there were before."""
    if isinstance(old, dict):
        return {key: without_additions(new[key], old[key]) for key in list(new)[: len(old)]}
    if isinstance(old, list):
        assert len(new) == len(old)
        return [without_additions(*pair) for pair in zip(new, old, strict=True)]
    return new


def test_list_and_describe_answer_as_before(
    database: str, released: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are the same text; descriptions have all fields of before in their places, and new ones after them."""
    monkeypatch.setenv("WFMGMT_INSTANCE", str(tmp_path))
    monkeypatch.setenv("WFMGMT_DATABASE_URL", database)
    app = create_app(Settings.load())
    client = app.test_client()
    try:
        for path, (status, old) in answers_of(released).items():
            answer = client.get(path)
            new = answer.get_data(as_text=True)
            if path.startswith("/workflows/") and status == 200:
                shown = without_additions(json.loads(new), json.loads(old))
                new = json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
            assert (path, answer.status_code, new) == (path, status, old)
    finally:
        app.extensions["wfmgmt"].registry.close()


def test_audit_trail_is_the_same_and_goes_on(database: str, released: str, registry: Registry) -> None:
    """Each event has the columns and the hash it had, and the next one continues the chain."""
    before = frozen_rows(released, "audit_event")
    columns = ", ".join(before[0])
    assert rows(database, f"SELECT {columns} FROM audit_event ORDER BY id") == before  # noqa: S608 - names of columns
    with registry.write() as writer:
        writer.record(make_event("sequential"))
    report = registry.verify_audit()
    assert (report.broken_at, report.events) == (None, len(before) + 1)


@pytest.mark.parametrize("released", ["0007"], indirect=True)
def test_each_registration_became_version_one_of_release_one(database: str) -> None:
    """What was ready has all of the traffic, by whom and when it was registered; what was not has no default."""
    before = {row["name"]: row for row in frozen_rows("0007", "workflow")}
    versions = rows(database, "SELECT workflow, version, is_default, status FROM v_version")
    assert {row["workflow"]: (row["version"], row["status"]) for row in versions} == {
        name: ("1.0", row["status"]) for name, row in before.items()
    }
    assert {row["workflow"] for row in versions if row["is_default"]} == set(READY)
    history = rows(database, "SELECT * FROM v_serving_history ORDER BY workflow")
    served = ("version", "weight", "from_at", "to_at", "actor", "kind", "release")
    assert {row["workflow"]: tuple(row[column] for column in served) for row in history} == {
        name: ("1.0", 100, before[name]["registered_at"], None, "anonymous", "serve", 1) for name in (*READY, LEAVING)
    }
    assert {row["workflow"] for row in rows(database, "SELECT workflow FROM v_release WHERE is_current = 1")} == {
        *READY,
        LEAVING,
    }


@pytest.mark.parametrize("released", ["0007"], indirect=True)
def test_registrations_keep_their_columns(database: str) -> None:
    """Uids, files, digests, specs and times are those of before, and the revision counts the registration."""
    found = rows(
        database,
        "SELECT workflow_version.*, workflow.name, workflow.revision AS counted, workflow.change AS revision "
        "FROM workflow_version JOIN workflow ON workflow.id = workflow_version.workflow_id ORDER BY workflow.id",
    )
    before = frozen_rows("0007", "workflow")
    assert [{column: row[column] for column in before[0]} for row in found] == before
    assert {row["name"]: row["counted"] for row in found} == dict.fromkeys((*READY, LEAVING), 1) | {UNFINISHED: 0}


def test_upgraded_workflows_can_be_changed(registry: Registry) -> None:
    """Unfinished work can be finished as before the upgrade: a removal and a registration."""
    with registry.write() as writer:
        claims = {claim.name: claim for claim in writer.claims()}
        assert set(claims) == {LEAVING, UNFINISHED}
        assert writer.remove(claims[LEAVING].uid)
        assert writer.operations.begin(make_operation(UNFINISHED), "lease")
        assert writer.mark_ready(claims[UNFINISHED].uid)
    with registry.read() as reader:
        assert [name for name, _ in reader.page(limit=10, offset=0).workflows] == sorted((*READY, UNFINISHED))
        release = reader.release(UNFINISHED)
        assert release is not None
        assert [(route.version, route.weight) for route in release.table.routes] == [("1.0", 100)]
