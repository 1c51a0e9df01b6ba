"""The audit trail in a real SQLite file, against those who would change it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.records import make_event, make_registry
from wfmgmt.registry.registry import Registry


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    for number in range(5):
        with registry.write() as writer:
            writer.record(make_event(f"w{number}"))
    yield registry
    registry.close()


def tamper(folder: Path, *statements: str) -> None:
    """Run statements as somebody with the file and a SQL prompt."""
    connection = sqlite3.connect(folder / "wfmgmt.db", isolation_level=None)
    try:
        for statement in statements:
            connection.execute(statement)
    finally:
        connection.close()


def test_verify_accepts_an_untouched_trail(registry: Registry) -> None:
    """Every row fits, and the last hash can be kept elsewhere."""
    report = registry.verify_audit()
    assert (report.events, report.broken_at) == (5, None)
    assert len(report.last_hash) == 64


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'x' WHERE id = 3",
        "DELETE FROM audit_event WHERE id = 5",
        "INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event WHERE id = 2",
        "INSERT INTO audit_event SELECT 2, at, '', '', '', action, '', outcome, '', hash, hash, 1 FROM audit_event",
    ],
    ids=["update", "delete", "replace", "insert in the middle"],
)
def test_triggers_refuse_changes(registry: Registry, tmp_path: Path, statement: str) -> None:
    """The table only grows at its end."""
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        tamper(tmp_path, statement)
    assert registry.verify_audit().events == 5


@pytest.mark.parametrize(
    ("statements", "broken_at"),
    [
        (["UPDATE audit_event SET actor = 'x' WHERE id = 3"], 3),
        (["UPDATE audit_event SET at = '2000-01-01T00:00:00.000000Z' WHERE id = 1"], 1),
        (["UPDATE audit_event SET detail = '{}' WHERE id = 5"], 5),
        (["DELETE FROM audit_event WHERE id = 2"], 3),
        (["DELETE FROM audit_event WHERE id = 1"], 2),
        (["UPDATE audit_event SET hash = substr(hash, 2) || substr(hash, 1, 1) WHERE id = 4"], 4),
    ],
    ids=["actor", "time", "detail of the last", "row missing", "first missing", "hash"],
)
def test_verify_finds_the_first_row_that_does_not_fit(
    registry: Registry, tmp_path: Path, statements: list[str], broken_at: int
) -> None:
    """Rows that are changed after the triggers were dropped do not match their hashes."""
    triggers = [f"DROP TRIGGER audit_event_refuses_{each}" for each in ("update", "delete", "replace")]
    tamper(tmp_path, *triggers, *statements)
    assert registry.verify_audit().broken_at == broken_at


def test_each_row_names_the_hash_of_the_one_before(registry: Registry, tmp_path: Path) -> None:
    """The chain can be followed with a SQL prompt alone."""
    connection = sqlite3.connect(tmp_path / "wfmgmt.db")
    rows = connection.execute("SELECT previous_hash, hash FROM audit_event ORDER BY id").fetchall()
    connection.close()
    assert [previous for previous, _ in rows] == ["0" * 64, *(own for _, own in rows[:-1])]


def test_lone_surrogates_can_be_recorded(registry: Registry) -> None:
    """JSON can carry text that no database takes; the event is recorded all the same."""
    with registry.write() as writer:
        writer.record(make_event("w", detail={"error": "\ud800"}))
    assert registry.verify_audit().broken_at is None
