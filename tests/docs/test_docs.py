"""The documentation against the code: what it forgets, and what it says that is not so."""

import argparse
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.operations import make_operation
from tests.support.records import make_event, make_function, make_node, make_registry, make_workflow
from wfmgmt.cli.main import COMMANDS, implementation
from wfmgmt.domain.audit import AuditAction, AuditOutcome
from wfmgmt.domain.releases import ReleaseKind, Route, RoutingTable
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.tables import metadata
from wfmgmt.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
DATABASE = (REFERENCE / "database.md").read_text(encoding="utf-8")
CONFIGURATION = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
AUDIT = (ROOT / "docs" / "how-to" / "audit.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"([A-Z][^\n]*\?[^\n]*)\n\n```sql\n(.*?)```", AUDIT, flags=re.DOTALL)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXPECTED = [
    [("sequential", "2026-11-23T12:00:00.000000Z", "sequential.war", "a" * 64)],
    [("sequential", "1.0", "sentiment", "sentiment.mar", "a" * 64)],
    [("sequential",)],
    [("2026-11-23T12:00:00.000000Z", "anonymous", "127.0.0.1", "register", "succeeded")],
    [
        ("2026-11-23T12:00:00.000000Z", "anonymous", "127.0.0.1", "register", "sequential", "succeeded"),
        ("2026-11-23T12:00:00.000000Z", "anonymous", "127.0.0.1", "register", "broken", "failed"),
    ],
    [("2026-11-23T12:00:00.000000Z", "broken", "no such file")],
    [
        ("2026-11-23T12:00:00.000000Z", "register", "sequential", "succeeded", f'{{"archive_sha256":"{"a" * 64}"}}'),
        ("2026-11-23T12:00:00.000000Z", "register", "broken", "failed", '{"error":{"message":"no such file"}}'),
    ],
    [(1,)],
    [("half", "1.0", "register", "fetching", "2026-11-23T12:00:00.000000Z")],
    [],
    [("1.0", 90), ("2.0", 10)],
    [("2026-11-23T17:00:00.000000Z", "anonymous", 10, "new tokenizer")],
    [("seq", 3, "2026-11-23T18:00:00.000000Z", "1.0=100", "too many failures")],
    [
        ("half", "1.0", 0, "registering", "a" * 64),
        ("seq", "1.0", 1, "ready", "a" * 64),
        ("seq", "2.0", 0, "ready", "a" * 64),
        ("sequential", "1.0", 1, "ready", "a" * 64),
    ],
    [("seq", "1.0", "m1", "max_workers", 4, "2026-11-23T18:00:00.000000Z", "anonymous")],
]


def _change(database: Path) -> None:
    """Give a second workflow a second version, some traffic, and take it back, hour by hour."""
    hours = iter(range(16, 24))
    registry = Registry(f"sqlite:///{database}", clock=lambda: NOON.replace(hour=next(hours)))
    first, second = make_workflow("seq"), make_workflow("seq", version="2.0")
    with registry.write() as writer:
        writer.claim_name(first)
        writer.mark_ready(first.uid)
        writer.record(make_event("seq"))
        assert writer.claim_version(second)
        writer.mark_ready(second.uid)
        writer.record(make_event("seq", action=AuditAction.REGISTER_VERSION))
        failed = {"error": {"message": "no such file"}}
        third = make_event("seq", action=AuditAction.REGISTER_VERSION, outcome=AuditOutcome.FAILED, detail=failed)
        writer.record(third)
    routes = (Route(version="2.0", weight=10), Route(version="1.0", weight=90))
    with registry.write() as writer:
        table = RoutingTable(routes=routes)
        writer.add_release("seq", table, kind=ReleaseKind.TRAFFIC, actor="anonymous", reason="new tokenizer")
    with registry.write() as writer:
        back = RoutingTable.all_to("1.0")
        writer.add_release("seq", back, kind=ReleaseKind.GUARD, actor="guard", reason="too many failures")
        writer.override(writer.node_ids(first.uid)["m1"], {"max_workers": 4}, actor="anonymous")
    registry.close()


@pytest.fixture(name="database", scope="module")
def _database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    folder = tmp_path_factory.mktemp("docs")
    make_registry(folder).close()
    registry = Registry(f"sqlite:///{folder / 'wfmgmt.db'}", clock=lambda: NOON)
    nodes = (make_function("pre"), make_node("sentiment"), make_function("post"))
    workflow = make_workflow("sequential", nodes=nodes, edges=(("pre", "sentiment"), ("sentiment", "post")))
    with registry.write() as writer:
        writer.claim_name(workflow)
        writer.mark_ready(workflow.uid)
        writer.record(make_event("sequential"))
        writer.operations.begin(make_operation("half"), "lease")
        writer.claim_name(make_workflow("half", nodes=(make_function("pre"),), edges=()))
        failed = {"error": {"message": "no such file"}}
        writer.record(make_event("broken", outcome=AuditOutcome.FAILED, detail=failed))
    registry.close()
    if request.param:
        _change(folder / "wfmgmt.db")
    connection = sqlite3.connect(f"file:{folder / 'wfmgmt.db'}?mode=ro", uri=True)
    yield connection
    connection.close()


def test_audit_page_answers_fifteen_questions() -> None:
    """An auditor finds what the page promises."""
    assert len(QUESTIONS) == len(EXPECTED) == 15


@pytest.mark.parametrize(
    ("database", "statement", "expected"),
    [(at >= 10, sql, rows) for at, ((_, sql), rows) in enumerate(zip(QUESTIONS, EXPECTED, strict=True))],
    ids=range(1, 16),
    indirect=["database"],
)
def test_each_question_is_answered_by_its_statement(
    database: sqlite3.Connection, statement: str, expected: list[tuple[object, ...]]
) -> None:
    """Each statement runs as printed and gives the answer."""
    assert database.execute(statement).fetchall() == expected


@pytest.mark.parametrize("database", [True], indirect=True)
def test_statements_hold_for_further_versions(database: sqlite3.Connection) -> None:
    """Their failed registrations are found, their archives compared, and none is missing in the trail."""
    answers = [database.execute(sql.replace("'sequential'", "'seq'")).fetchall() for _, sql in QUESTIONS]
    assert ("2026-11-23T16:00:00.000000Z", "seq", "no such file") in answers[5]
    assert (answers[7], answers[9]) == ([(1,)], [])
    assert [row[:2] for row in answers[1] if row[0] == "seq"] == [("seq", "1.0"), ("seq", "2.0")]


@pytest.mark.parametrize("table", metadata.tables)
def test_database_page_explains_every_column(table: str) -> None:
    """No column is left to guesses."""
    section = DATABASE.split(f"### `{table}`")[1].split("###")[0]
    missing = [column.name for column in metadata.tables[table].columns if f"`{column.name}`" not in section]
    assert missing == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_configuration_page_explains_every_setting(name: str) -> None:
    """A setting without a line in the table does not exist for its users."""
    assert f"| `{name.upper()}` |" in CONFIGURATION


def test_configuration_page_has_no_other_settings() -> None:
    """What the page names can be set."""
    named = re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, flags=re.MULTILINE)
    assert {name.lower() for name in named} == set(Settings.model_fields)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_page_explains_every_command_and_option(name: str) -> None:
    """The page has what `--help` has."""
    parser = argparse.ArgumentParser(prog=name)
    implementation(name).describe_arguments(parser)
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    section = page.split(f"## `wfmgmt {name}`\n")[1].split("\n## ")[0]
    if COMMANDS[name].group is not None:
        section += page.split("## Commands that call a service\n")[1].split("\n## ")[0]
    options = set(re.findall(r"(?<=[ \[])--[a-z-]+", parser.format_usage()))
    assert {option for option in options if f"`{option}" not in section} == set()


def test_contributing_page_names_every_room() -> None:
    """A newcomer finds what lives where."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {path.name + "/" * path.is_dir() for path in (ROOT / "wfmgmt").iterdir() if path.name[0].isalpha()}
    rooms -= {"py.typed"}
    assert [room for room in rooms if f"`{room}`" not in table and f"`wfmgmt/{room}`" not in table] == []
