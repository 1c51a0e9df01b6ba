"""The database behind `read()` and `write()`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from wfmgmt.store import audit
from wfmgmt.store.engine import make_engine, parse_database
from wfmgmt.store.failures import translated
from wfmgmt.store.reading import Reader
from wfmgmt.store.writing import Writer


def utc_now() -> datetime:
    """Return the time as an aware value."""
    return datetime.now(UTC)


def timestamp(at: datetime) -> str:
    """Return the text that stands for a time in the tables, like `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """The registry and its audit trail. Thread-safe; must be made in the process that uses it, never before a fork.

    Args:
        database: Path of a SQLite file, or a URL; its schema must be current.
        clock: Gives the time that rows carry.
        connections: Connections at most, for reading and for writing each.
    """

    def __init__(self, database: Path | str, *, clock: Callable[[], datetime] = utc_now, connections: int = 16) -> None:
        url = parse_database(database)
        self._read_engine = make_engine(url, writes=False, connections=connections)
        self._write_engine = make_engine(url, writes=True, connections=connections)
        self._clock = clock

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give a consistent view that cannot be used to write.

        Raises:
            StoreUnavailable: The database could not be read.
        """
        with translated(), self._read_engine.connect() as connection, connection.begin():
            yield Reader(connection)

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """Give a transaction that holds the write lock; it commits at the end, or rolls back on an error.

        Raises:
            StoreUnavailable: The lock was not to be had within 5 s, or the database cannot be written.
            InsufficientStorage: No space is left.
        """
        with translated(), self._write_engine.connect() as connection, connection.begin():
            yield Writer(connection, timestamp(self._clock()))

    def verify_audit(self) -> audit.ChainReport:
        """Recompute the chain of audit hashes."""
        with translated(), self._read_engine.connect() as connection, connection.begin():
            return audit.verify(connection)

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database file; one process at a time may do this."""
        if self._write_engine.dialect.name == "sqlite":
            with translated(), self._read_engine.connect() as connection:
                raw = connection.connection.driver_connection
                if raw is not None:
                    raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close all connections; a later use opens new ones."""
        self._read_engine.dispose()
        self._write_engine.dispose()
