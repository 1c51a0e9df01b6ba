"""The migrations on a real SQLite file: up, down, interrupted, and by several processes at once."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.support.operations import make_operation
from tests.support.records import make_database, make_event, make_workflow
from wfmgmt.registry import schema
from wfmgmt.registry.migrations import alembic_config
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import locked_connection, upgrade
from wfmgmt.registry.tables import metadata

CHECKOUT = Path(__file__).resolve().parents[3]
REVISIONS = [
    script.revision for script in reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions()))
]
HEAD = REVISIONS[-1]
#: What tables of older schemas are called now.
NEW_NAMES = {"deployment": "installation", "revision_counter": "change_counter"}

#: Upgrades copies of a database, each in a process that is killed at a later change than the one before.
KILLED_UPGRADES = """
import itertools, os, shutil, signal, sys
from sqlalchemy import Engine, event
import wfmgmt.registry.migrations  # Before the forks, each of which would import it for itself.
from wfmgmt.registry.schema import upgrade

def kill_at(number):
    left = itertools.count(number, -1)

    @event.listens_for(Engine, "before_cursor_execute")
    def count(connection, cursor, statement, parameters, context, executemany):
        changes = statement.lstrip().split()[0].upper() in ("CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE")
        if changes and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

for number in range(int(sys.argv[3]), 1000, int(sys.argv[4])):
    copy = f"{sys.argv[2]}/{number}/wfmgmt.db"
    os.mkdir(os.path.dirname(copy))
    shutil.copy(sys.argv[1], copy)
    child = os.fork()
    if child == 0:
        kill_at(number)
        upgrade(f"sqlite:///{copy}")
        os._exit(0)
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        break
"""


def url_of(folder: Path) -> str:
    """Return the address of the database."""
    return f"sqlite:///{folder / 'wfmgmt.db'}"


def migrate(folder: Path, revision: str, *, down: bool = False) -> None:
    """Bring the schema to a revision."""
    with locked_connection(url_of(folder)) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def dump(folder: Path, *, schema_only: bool = False) -> dict[str, list[tuple[object, ...]]]:
    """Return the schema, and the rows of every table."""
    connection = sqlite3.connect(folder / "wfmgmt.db")
    try:
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
        tables = [] if schema_only else [name for kind, name, _ in schema if kind == "table"]
        rows = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}  # noqa: S608 - as named by the schema
    finally:
        connection.close()
    return {"schema": schema, **rows}


def contents(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the rows of every table under its newest name, each with the newest names of its columns.

    In schemas without versions a workflow is what a version is now.
    """
    with closing(sqlite3.connect(folder / "wfmgmt.db")) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        rows = {
            name: list(map(dict, connection.execute(f"SELECT * FROM {name} ORDER BY 1")))  # noqa: S608 - a table of this database
            for name in tables
            if name != "alembic_version"
        }
    if "workflow" in rows and "workflow_version" not in rows:
        rows = {NEW_NAMES.get(name, name): [_renamed(row) for row in found] for name, found in rows.items()}
        names = {"id", "uid", "name", "change", "created_at"}
        workflows = rows["workflow"]
        rows["workflow"] = [{column: row[column] for column in names & row.keys()} for row in workflows]
        rows["workflow_version"] = [
            {column: row[column] for column in row.keys() - {"name", "change"}} for row in workflows
        ]
    return rows


def _renamed(row: dict[str, object]) -> dict[str, object]:
    return {{"revision": "change", "workflow_id": "version_id"}.get(name, name): value for name, value in row.items()}


def only(rows: dict[str, list[dict[str, object]]], like: dict[str, list[dict[str, object]]]) -> object:
    """Return the part of rows for which there are tables and columns in others."""
    return {
        name: [{column: row[column] for column in like[name][0]} if like[name] else row for row in rows[name]]
        for name in like
    }


def fill(folder: Path) -> None:
    """Write workflows in every status, with nodes, edges and audit events."""
    registry = Registry(url_of(folder))
    try:
        for name in ("a", "b", "c"):
            new = make_workflow(name)
            with registry.write() as writer:
                writer.claim_name(new)
                writer.mark_ready(new.uid)
                writer.record(make_event(name))
        with registry.write() as writer:
            writer.identity()
            writer.claim_name(make_workflow("half"))
            writer.mark_unregistering(writer.uid("b") or "", "lease")
            writer.operations.begin(make_operation("half"), "lease")
    finally:
        registry.close()


@pytest.mark.parametrize("revision", ["base", *REVISIONS])
def test_migrations_go_down_and_up_again_with_the_rows_intact(tmp_path: Path, revision: str) -> None:
    """What the older schema has tables and columns for stays, and the newest schema comes back exactly."""
    make_database(tmp_path / "wfmgmt.db")
    fill(tmp_path)
    before, schema_before = contents(tmp_path), dump(tmp_path, schema_only=True)
    migrate(tmp_path, revision, down=True)
    older = contents(tmp_path)
    assert older == only(before, like=older)
    upgrade(url_of(tmp_path))
    assert dump(tmp_path, schema_only=True) == schema_before
    assert only(contents(tmp_path), like=older) == older


@pytest.mark.parametrize("revision", REVISIONS)
def test_released_schemas_upgrade(tmp_path: Path, revision: str) -> None:
    """A database as an earlier version left it becomes the same as a new one."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    migrate(tmp_path / "old", revision)
    upgrade(url_of(tmp_path / "old"))
    make_database(tmp_path / "new/wfmgmt.db")
    assert dump(tmp_path / "old") == dump(tmp_path / "new")


def test_upgrade_gives_functions_one_worker(tmp_path: Path) -> None:
    """Functions that were recorded with the workers they shared have one each; models keep theirs."""
    make_database(tmp_path / "wfmgmt.db")
    fill(tmp_path)
    migrate(tmp_path, "0003", down=True)
    with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection, connection:
        connection.execute("UPDATE node SET max_workers = 3")
    upgrade(url_of(tmp_path))
    with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection:
        workers = connection.execute(
            "SELECT DISTINCT kind, min_workers, max_workers FROM node ORDER BY kind"
        ).fetchall()
    assert workers == [("function", 1, 1), ("model", 1, 3)]


def test_upgrade_takes_tokens_out_of_addresses(tmp_path: Path) -> None:
    """Nothing of a query is left in the file, in no column and between none; everything else stays."""
    make_database(tmp_path / "wfmgmt.db")
    fill(tmp_path)
    migrate(tmp_path, "0005", down=True)
    spec = "# {0}\nmodels:\n  m: {{url: '{0}'}}\n"
    with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection, connection:
        given = "https://h/x.mar?sig=SECRET" + "SECRET" * 100
        connection.execute("UPDATE workflow SET url = ?, spec = ? WHERE name = 'a'", (given, spec.format(given)))
        connection.execute("UPDATE node SET model_url = ? WHERE kind = 'model'", (given,))
    upgrade(url_of(tmp_path))
    with closing(sqlite3.connect(tmp_path / "wfmgmt.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        urls = connection.execute(
            "SELECT name, url, spec FROM workflow_version JOIN workflow ON workflow.id = workflow_id "
            "ORDER BY name LIMIT 2"
        ).fetchall()
        model_urls = connection.execute("SELECT DISTINCT kind, model_url FROM node ORDER BY kind").fetchall()
    assert urls == [("a", "https://h/x.mar", spec.format("https://h/x.mar")), ("b", "b.war", "dag: {}\n")]
    assert model_urls == [("function", None), ("model", "https://h/x.mar")]
    assert b"SECRET" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_migrations_and_tables_agree(tmp_path: Path) -> None:
    """What the migrations make is what the code believes to be there; a generated migration would be empty."""
    upgrade(url_of(tmp_path))
    with locked_connection(url_of(tmp_path)) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_what_no_model_describes(tmp_path: Path) -> None:
    """Views, triggers, and the strictness and checks of every table are there."""
    upgrade(url_of(tmp_path))
    schema = dump(tmp_path, schema_only=True)["schema"]
    views = {
        "v_workflow",
        "v_version",
        "v_release",
        "v_serving_history",
        "v_operation",
        "v_token",
        "v_audit",
        "v_declaration",
    }
    assert {name for kind, name, _ in schema if kind == "view"} == views
    assert {name for kind, name, _ in schema if kind == "trigger"} == {
        f"{table}_refuses_{operation}"
        for table in ("audit_event", "audit_segment", "release", "release_route")
        for operation in ("update", "delete", "replace")
    }
    made = {str(name): str(sql) for kind, name, sql in schema if kind == "table"}
    for table in metadata.sorted_tables:
        assert made[table.name].split()[-1] == "STRICT"
        checks = {str(each.name) for each in table.constraints if str(each.name).startswith("ck_")}
        assert {check for check in checks if check not in made[table.name]} == set()


@pytest.mark.parametrize(
    ("revision", "start", "step"),
    # All migrations commit together, so every 29th change says enough while one is working; the newest has few.
    [
        *(("base", 0, 29), (REVISIONS[-2], 0, 1)),
        pytest.param(REVISIONS[0], 4, 11, marks=pytest.mark.slow),
        *(pytest.param(revision, 0, 1, marks=pytest.mark.slow) for revision in ("base", *REVISIONS[:-1])),
    ],
)
def test_upgrade_killed_at_any_statement_leaves_the_old_schema_with_its_rows(
    tmp_path: Path, revision: str, start: int, step: int
) -> None:
    """Whichever change was the last one, the database is as before; the next start finds it and migrates it."""
    make_database(tmp_path / "wfmgmt.db")
    fill(tmp_path)
    migrate(tmp_path, revision, down=True)
    old = dump(tmp_path)
    (tmp_path / "copies").mkdir()
    subprocess.run(
        [sys.executable, "-c", KILLED_UPGRADES, tmp_path / "wfmgmt.db", tmp_path / "copies", str(start), str(step)],
        cwd=CHECKOUT,
        check=True,
    )
    *killed, finished = sorted((tmp_path / "copies").iterdir(), key=lambda copy: int(copy.name))
    assert len(killed) >= 2  # What is new, and the new revision.
    new = dump(finished)
    assert new.keys() >= {NEW_NAMES.get(name, name) for name in old}
    for copy in killed:
        assert dump(copy) == old
        upgrade(url_of(copy))
        assert dump(copy) == new


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    """All wait for the one that is first, and find its work done."""
    code = "import sys; from wfmgmt.registry.schema import upgrade; sys.stdin.read(); upgrade(sys.argv[1])"
    starters = [
        subprocess.Popen([sys.executable, "-c", code, url_of(tmp_path)], cwd=CHECKOUT, stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.close()
    assert [starter.wait(120) for starter in starters] == [0, 0, 0, 0]
    (tmp_path / "new").mkdir()
    make_database(tmp_path / "new/wfmgmt.db")
    assert dump(tmp_path) == dump(tmp_path / "new")


def test_revisions_are_those_that_alembic_finds() -> None:
    """They are read from the names of the files, so that a database which is up to date needs no Alembic."""
    assert list(schema.REVISIONS) == REVISIONS


def test_checkout_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alembic interpolates its options, and a percent sign in the path of the migrations is none of them."""
    folder = tmp_path / "50% %(here)s" / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    monkeypatch.setattr("wfmgmt.registry.migrations.MIGRATIONS", folder)
    upgrade(tmp_path / "wfmgmt.db")
    assert dump(tmp_path)["alembic_version"] == [(HEAD,)]
