"""What the audit trail takes with ten million rows: pages by each filter, and the proof that none was changed."""

import itertools
import random
import sqlite3
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from benchmarks.figures import Figure
from tests.support.records import make_database
from tests.support.service import Service
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH, event_hash, hashed_line
from wfmgmt.registry.registry import Registry

MANY, VERIFIED = 10_000_000, 1_000_000
ROUNDS = 5
_START_S = 600
_CACHE_KIB = 4 * 1024 * 1024
_INDICES = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'audit_event' AND sql IS NOT NULL"
#: In the order of `HASHED`, and then the two hashes.
_INSERT = (
    "INSERT INTO audit_event "
    "(action, actor, address, at, detail, id, outcome, request_id, workflow, previous_hash, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIRST, _BETWEEN = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=3)
_FAILED = 0.01
_ACTIONS = ("register", "unregister", "scale", "traffic", "set-default")
#: By what they are called in the table; `text` reads only what another filter leaves.
FILTERS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "workflow": {"workflow": "w17"},
    "actor": {"actor": "token:t5"},
    "an actor who did nothing": {"actor": "token:nobody"},
    "action": {"action": "scale"},
    "outcome": {"outcome": "failed"},
    "address": {"address": "10.0.1.7"},
    "request": {"request_id": "r123456"},
    "after": {"after": "2026-06-01T00:00:00Z"},
    "before": {"before": "2026-06-01T00:00:00Z"},
    "actor and action": {"actor": "token:t5", "action": "scale"},
    "workflow and outcome": {"workflow": "w17", "outcome": "failed"},
    "actor and an action that never was": {"actor": "token:t5", "action": "rollout"},
    "a text that is nowhere": {"q": "nosuch"},
    "month and actor": {"after": "2026-05-01T00:00:00Z", "before": "2026-06-01T00:00:00Z", "actor": "token:t9"},
}


def reading(folder: Path) -> list[Figure]:
    """Fill the trail of a service, verify the first million of rows, and ask for pages of 100 by each filter."""
    service = Service(folder, web_workers=1)
    make_database(service.database)
    rows = _rows()
    _append(service.database, rows, VERIFIED)
    with closing(Registry(service.database)) as registry:
        began = time.perf_counter()
        report = registry.verify_audit()
        verified_s = time.perf_counter() - began
    assert (report.events, report.reason) == (VERIFIED, "")
    _append(service.database, rows, MANY - VERIFIED)
    service.start_s = _START_S  # Its first start reads all of a database.
    with service, requests.Session() as session:
        spent_ms = {name: _page_ms(session, service, parameters) for name, parameters in FILTERS.items()}
    how = f"page of 100 of {MANY:,} rows of the audit trail, median of {ROUNDS}, by"
    return [
        Figure(what=f"verification of {VERIFIED:,} rows of the audit trail", value=verified_s, unit="s", at_most=10),
        *(Figure(what=f"{how} {name}", value=value, unit="ms", at_most=50) for name, value in spent_ms.items()),
    ]


def _page_ms(session: requests.Session, service: Service, parameters: Mapping[str, str]) -> float:
    spent_ms = []
    for _ in range(ROUNDS):
        answer = session.get(f"{service.management}/audit", params=parameters, timeout=60)
        assert answer.ok, answer.text
        spent_ms.append(answer.elapsed.total_seconds() * 1000)
    return statistics.median(spent_ms)


def _rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of a year in which a hundred tokens changed ten thousand workflows, one percent in vain."""
    chance, previous = random.Random(14), FIRST_PREVIOUS_HASH
    for number in range(1, MANY + 1):
        values = (
            chance.choice(_ACTIONS),
            f"token:t{chance.randrange(100)}",
            f"10.0.{chance.randrange(4)}.{chance.randrange(250)}",
            f"{_FIRST + number * _BETWEEN:%Y-%m-%dT%H:%M:%S}.000000Z",
            f'{{"url":"seq.war","version":"{number}"}}',
            str(number),
            "failed" if chance.random() < _FAILED else "succeeded",
            f"r{number}",
            f"w{chance.randrange(10_000)}",
        )
        own = event_hash(previous, hashed_line(values))
        yield (*values, previous, own)
        previous = own


def _append(database: Path, rows: Iterator[tuple[str, ...]], count: int) -> None:
    """Add rows past the registry, whose transaction for each would take days; indices are made when all are there."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for setting in ("journal_mode = off", "synchronous = off", f"cache_size = -{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {setting}")
        indices = connection.execute(_INDICES).fetchall()
        for name, _ in indices:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("BEGIN")
        connection.executemany(_INSERT, itertools.islice(rows, count))
        for _, sql in indices:
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = wal")
