"""Receipts of rows of the audit trail, against chains that were cut, computed anew or replaced."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.records import make_event, make_registry
from wfmgmt.domain.audit import Receipt
from wfmgmt.registry.registry import Registry


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    yield registry
    registry.close()


def record(registry: Registry, *names: str) -> list[Receipt]:
    """Record an event about each of these workflows, and return the receipts."""
    receipts = []
    for name in names:
        with registry.write() as writer:
            writer.record(make_event(name))
        assert writer.receipt is not None
        receipts.append(writer.receipt)
    return receipts


def tamper(folder: Path, statement: str) -> None:
    """Change the trail as only who may write the file can."""
    with closing(sqlite3.connect(folder / "wfmgmt.db")) as connection, connection:
        triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit_event'"
        for (name,) in connection.execute(triggers).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


def test_receipts_fit_the_trail_that_they_are_of(registry: Registry) -> None:
    """Whole, or cut off behind some digits as an answer has them."""
    receipts = record(registry, "a", "b", "c")
    assert [receipt.id for receipt in receipts] == [1, 2, 3]
    shown = [Receipt.parse(str(receipt)) for receipt in receipts]
    assert registry.verify_audit(receipts).broken_at is None
    assert registry.verify_audit(shown).broken_at is None


def test_cut_tail_is_noticed(registry: Registry, tmp_path: Path) -> None:
    """The chain alone fits."""
    receipts = record(registry, "a", "b", "c")
    tamper(tmp_path, "DELETE FROM audit_event WHERE id > 1")
    assert registry.verify_audit().broken_at is None
    report = registry.verify_audit(receipts)
    assert (report.broken_at, report.events) == (2, 1)
    assert "missing" in report.reason


def test_chain_that_was_computed_anew_is_noticed(registry: Registry, tmp_path: Path) -> None:
    """From the first row that is another one."""
    receipts = record(registry, "a", "b", "c")
    tamper(tmp_path, "DELETE FROM audit_event WHERE id > 1")
    record(registry, "b", "other")
    assert registry.verify_audit().broken_at is None
    report = registry.verify_audit([receipts[2]])
    assert (report.broken_at, report.reason) == (3, "it is not the row of the receipt")


def test_replaced_database_is_noticed(registry: Registry, tmp_path: Path) -> None:
    """It has a chain of its own."""
    receipts = record(registry, "a", "b")
    (tmp_path / "other").mkdir()
    other = make_registry(tmp_path / "other")
    record(other, "x", "y", "z")
    assert other.verify_audit().broken_at is None
    assert other.verify_audit(receipts).broken_at == 1
    other.close()


@pytest.mark.parametrize(
    "text", ["", "1", "1:xyz", "0:bd455153b55779db", "1:bd45", "a:bd455153b55779db", "1:" + "a" * 65]
)
def test_what_is_no_receipt_is_refused(text: str) -> None:
    """The message shows one."""
    with pytest.raises(ValueError, match="expected a receipt like"):
        Receipt.parse(text)
