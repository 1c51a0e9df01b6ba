"""Audit trails on SQLite and PostgreSQL that were tampered with, against their checkpoints."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from tests.support.checkpoints import Trail, make_keys
from tests.support.commands import call
from tests.support.service import Service
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH, HASHED, event_hash, hashed_line
from wfmgmt.domain.checkpoints import Checkpoint, encoded
from wfmgmt.errors.commands import TrailContradicted
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import locked_connection
from wfmgmt.registry.tables import audit_event, installation
from wfmgmt.services.anchor_keys import SigningKey


class Tampered(Trail):
    """A trail of 250 rows with three checkpoints, the last of which is of its end; and what becomes of it."""

    def __init__(self, registry: Registry, database: str, folder: Path) -> None:
        super().__init__(registry, folder)
        self._database = database
        self._service = Service(folder / "instance", database_url=database)
        anchoring = self.anchoring()
        for count in (100, 100, 50):
            self.record(count)
            anchoring.run(at_end=True)

    def command(self, *arguments: str | Path) -> tuple[int, str]:
        """Return the exit code of `wfmgmt audit`, and what it says."""
        done = call(self._service, "audit", *map(str, arguments))
        return done.returncode, done.stdout + done.stderr

    def verify(self, *arguments: str | Path) -> tuple[int, str]:
        """Verify the trail."""
        return self.command("verify", *arguments)

    def verify_against(self) -> tuple[int, str]:
        """Do so with the anchor and the public key."""
        return self.verify("--against", self.file, "--key", self.public)

    @contextmanager
    def unprotected(self) -> Iterator[Connection]:
        """Open the database as somebody who can drop the triggers."""
        with locked_connection(self._database) as connection:
            if connection.dialect.name == "sqlite":
                triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'audit_event'"
                for (name,) in connection.exec_driver_sql(triggers).fetchall():
                    connection.exec_driver_sql(f"DROP TRIGGER {name}")
            else:
                connection.exec_driver_sql("ALTER TABLE audit_event DISABLE TRIGGER USER")
            yield connection

    def cut_tail(self) -> None:
        """Remove the rows behind the 240th."""
        with self.unprotected() as connection:
            connection.execute(delete(audit_event).where(audit_event.c.id > 240))

    def rewrite(self) -> None:
        """Change the 120th row and compute all hashes anew."""
        with self.unprotected() as connection:
            connection.execute(update(audit_event).where(audit_event.c.id == 120).values(actor="token:other"))
            last = FIRST_PREVIOUS_HASH
            for row in connection.execute(select(audit_event).order_by(audit_event.c.id)).mappings().all():
                own = event_hash(last, hashed_line(str(row[name]) for name in HASHED))
                values = {"previous_hash": last, "hash": own}
                connection.execute(update(audit_event).where(audit_event.c.id == row["id"]).values(values))
                last = own

    def replace_trail(self) -> None:
        """Put a trail of the same length, with a chain that fits, in its place, under the same identity."""
        with self.unprotected() as connection:
            connection.execute(delete(audit_event))
        self.record(250)

    def replace_database(self) -> None:
        """Do the same, with the identity of another database."""
        self.replace_trail()
        with self.unprotected() as connection:
            connection.execute(update(installation).values(identity="0" * 12))

    def forged(self) -> list[str]:
        """Return the lines of the anchor as somebody with another key would write them, each with the one before."""
        key = SigningKey(make_keys(self.folder, "other")[0])
        previous, lines = FIRST_PREVIOUS_HASH, []
        for each in self.checkpoints():
            unsigned = replace(each, previous=previous, signature="")
            signed = replace(unsigned, signature=encoded(key.sign(unsigned.message)))
            lines.append(signed.line)
            previous = signed.digest
        return lines


@pytest.fixture(name="trail")
def _trail(registry: Registry, database: str, tmp_path: Path) -> Tampered:
    return Tampered(registry, database, tmp_path)


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        ("cut_tail", "row 250 does not fit: it was there, and is missing: rows were cut off the end"),
        ("rewrite", "row 200 does not fit: it is not the row of the receipt; the 199 rows before it do"),
        ("replace_trail", "row 100 does not fit: it is not the row of the receipt; the 99 rows before it do"),
        ("replace_database", "line 1 does not fit: it is of the installation"),
    ],
)
def test_tampering_that_the_chain_alone_does_not_show_is_found(trail: Tampered, tamper: str, said: str) -> None:
    """The rows fit each other, and not the checkpoints; and the service makes no further ones of them."""
    getattr(trail, tamper)()
    assert trail.verify()[0] == 0
    code, found = trail.verify_against()
    assert (code, said in found) == (1, True), found
    if tamper != "replace_database":  # Which it takes for one that it was given on purpose.
        for _ in range(2):
            with pytest.raises(TrailContradicted, match="no longer has row 250"):
                trail.run_anew()
        assert trail.outcomes[-1] == "contradicted"
        assert trail.ids() == [100, 200, 250]


def test_anchor_that_was_tampered_with_is_found(trail: Tampered) -> None:
    """Whatever the trail has."""
    one, two, three = trail.file.read_text().splitlines()
    receipt: dict[str, Any] = {name: json.loads(three)[name] for name in ("id", "hash")}
    for lines, said in (
        ([two, three], "line 1 does not fit: checkpoints before it are missing"),
        ([one, three], "line 2 does not fit: it does not name the line before it"),
        ([one, three, two], "line 2 does not fit: it does not name the line before it"),
        ([one.replace('"id":100', '"id":99'), two, three], "line 1 does not fit: its signature is wrong"),
        (trail.forged(), "line 1 does not fit: its signature is wrong"),
        ([one.replace(trail.origin, "0" * 12), two, three], "line 1 does not fit: it is of the installation 00000000"),
        ([one, two, replace(Checkpoint.parse(three), signature="").line], "line 3 does not fit: it is not signed"),
        ([one, two, json.dumps(receipt)], "line 3 does not fit: it is not a signed checkpoint"),
        ([one, two, "{}"], "line 3: expected a receipt or a checkpoint"),
        ([one, two, '{"a":' * 100_000], "line 3: expected a receipt or a checkpoint"),
        ([one, two, "\xff"], "line 3: expected a receipt or a checkpoint"),
        ([], "expected receipts or checkpoints, and there are none"),
    ):
        trail.file.write_text("".join(f"{line}\n" for line in lines), encoding="latin-1")
        code, found = trail.verify_against()
        assert (code, said in found) == (1, True), (found, said)
    assert trail.verify("--against", trail.file.with_name("gone"))[0] == 1


def test_what_is_untouched_fits(trail: Tampered) -> None:
    """With receipts in the same file and beside it, and while a line is being written."""
    code, said = trail.verify_against()
    assert (code, said.split(";")[0]) == (0, "250 rows fit, and 3 checkpoints")
    code, said = trail.verify("--against", trail.file)
    assert (code, "signatures were not checked, which takes --key" in said) == (0, True)
    with trail.registry.read() as reader:
        row = reader.events.get(7)
    assert row is not None
    lines = trail.file.read_text()
    receipts = (f"7:{row.hash[:16]}", json.dumps({"id": 7, "hash": row.hash, "at": row.at}))
    trail.file.write_text("\n".join([lines, *receipts, ""]))
    code, said = trail.verify("--against", trail.file, "--receipt", f"7:{row.hash[:10]}")
    assert (code, "250 rows fit, and 3 receipts, and 3 checkpoints" in said) == (0, True), said
    trail.file.write_text(lines[:-20])
    code, said = trail.verify_against()
    assert (code, "line 3 is not complete and does not count" in said, "and 2 check" in said) == (0, True, True)


def test_receipts_that_contradict_each_other_do_not_fit(trail: Tampered) -> None:
    """Each counts, whichever comes last; and a key signs no receipts."""
    with trail.registry.read() as reader:
        row = reader.events.get(7)
    assert row is not None
    code, said = trail.verify("--receipt", "7:00000000", "--receipt", f"7:{row.hash}")
    assert (code, "row 7 does not fit" in said) == (1, True), said
    assert trail.verify("--receipt", f"7:{row.hash}", "--key", trail.public)[0] == 1


def test_rows_that_were_archived_still_fit_their_checkpoints(trail: Tampered) -> None:
    """And the service goes on behind them; archiving adds a row, too."""
    for expected in ([100, 200, 250], [100, 200, 250, 353]):
        trail.record(1)
        code, said = trail.command("archive", "--before", "2999-01-01")
        assert code == 0, said
        trail.run_anew()
        assert trail.ids() == expected
        code, said = trail.verify_against()
        assert (code, f"and {len(expected)} checkpoints" in said) == (0, True), said
        trail.record(99)
    trail.cut_tail()
    code, said = trail.verify_against()
    assert (code, "does not fit" in said) == (1, True), said
