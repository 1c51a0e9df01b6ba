"""The database behind `read()` and `write()`."""

import errno
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from wfmgmt.domain.audit import Receipt
from wfmgmt.registry import audit, heartbeat
from wfmgmt.registry.change_log import log_change
from wfmgmt.registry.engine import BUSY_TIMEOUT_S, LOG_LIMIT_BYTES, OPENED, make_engine, parse_database
from wfmgmt.registry.failures import translated
from wfmgmt.registry.files import DatabaseFiles, FileIdentity
from wfmgmt.registry.heartbeat import Heartbeat
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.writing import Writer

#: How long the emptying of the log waits for others, who wait meanwhile if they want to write.
_TRUNCATE_WAIT_MS = 20
#: The id of the request that this context is.
REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")
#: The receipt of its own event that was recorded last, for its answer; what it finishes for others has theirs.
LAST_RECEIPT: ContextVar[Receipt | None] = ContextVar("LAST_RECEIPT", default=None)


def utc_now() -> datetime:
    """Return the time as an aware value."""
    return datetime.now(UTC)


def timestamp(at: datetime) -> str:
    """Return the text that stands for a time in the tables, like `2026-01-31T12:00:00.000000Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parsed_moment(text: str) -> str:
    """Return the same of a time, or a day, as people write it; without a zone it is UTC.

    Raises:
        ValueError: It is none; the text says what is expected.
    """
    try:
        moment = datetime.fromisoformat(text)
        return timestamp(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected a time like 2026-01-31T12:00:00Z, or a day, got {text[:40]!r}") from error


class Registry:
    """The registry and its audit trail. Thread-safe; must be made in the process that uses it, never before a fork.

    Args:
        database: Path of a SQLite file, or a URL; its schema must be current.
        clock: Gives the time that rows carry.
        connections: Connections at most, for reading and for writing each.
    """

    def __init__(self, database: Path | str, *, clock: Callable[[], datetime] = utc_now, connections: int = 16) -> None:
        url = parse_database(database)
        self._files = DatabaseFiles(Path(url.database or "")) if url.get_backend_name() == "sqlite" else None
        self._read_engine = make_engine(url, writes=False, connections=connections, files=self._files)
        self._write_engine = make_engine(url, writes=True, connections=connections, files=self._files)
        self._brief_engine = make_engine(url, writes=True, is_durable=False, connections=connections, files=self._files)
        self._clock = clock

    def pin(self, identity: FileIdentity) -> None:
        """Accept no other file than this one as the SQLite database."""
        if self._files is not None:
            self._files.pin(identity)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give a consistent view that cannot be used to write.

        Raises:
            RegistryUnavailable: The database could not be read.
        """
        with translated(), self._read_engine.connect() as connection:
            self._check(connection)
            with connection.begin():
                yield Reader(connection)

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[Writer]:
        """Give a transaction that holds the write lock; it commits at the end, or rolls back on an error.

        What it has recorded in the audit trail is logged once it is committed.

        Args:
            is_durable: Whether it survives a power cut once it is committed. Otherwise it survives the death of any
                process, and a power cut when a later one that is durable has been committed: for what matters only
                while the service runs, and what no client was answered.

        Raises:
            RegistryUnavailable: The lock was not to be had within 5 s, or the database cannot be written.
            InsufficientStorage: No space is left.
        """
        engine = self._write_engine if is_durable else self._brief_engine
        with translated(), engine.connect() as connection:
            self._check(connection)
            with connection.begin():
                writer = Writer(connection, timestamp(self._clock()))
                yield writer
                self._check(connection)  # What is acknowledged has to be in the file that a restart finds.
        if (own := writer.receipts.get(REQUEST_ID.get())) is not None:
            LAST_RECEIPT.set(own)
        for event in writer.recorded:
            log_change(event)

    def _check(self, connection: Connection) -> None:
        if self._files is not None:
            self._files.check(connection.info[OPENED])

    def beat(self, holder: str) -> Heartbeat | None:
        """Show in a PostgreSQL database that this service uses it; return the last sign of life of another that does.

        A SQLite file is locked instead.
        """
        if self._files is not None:
            return None
        with translated(), self._write_engine.connect() as connection, connection.begin():
            return heartbeat.beat(connection, holder)

    def end_beat(self, holder: str) -> None:
        """Let others have a PostgreSQL database."""
        if self._files is None:
            with translated(), self._write_engine.connect() as connection, connection.begin():
                heartbeat.end(connection, holder)

    def verify_audit(
        self,
        receipts: Collection[Receipt] = (),
        *,
        segments: Path = Path(),
        on_rows: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> audit.ChainReport:
        """Recompute the chain of audit hashes, and hold it against receipts, as `audit.verify` does."""
        with translated(), self._read_engine.connect() as connection, connection.begin():
            return audit.verify(connection, receipts, segments=segments, on_rows=on_rows)

    def copy_to(self, path: Path) -> None:
        """Copy one consistent state of a SQLite database into a new file, without keeping anybody from writing.

        Raises:
            OSError: The file cannot be written.
            RegistryUnavailable: The database cannot be read.
        """
        with translated(), self._read_engine.connect() as connection, closing(sqlite3.connect(path)) as copy:
            self._check(connection)
            raw = connection.connection.driver_connection
            if raw is None or self._files is None:
                raise TypeError("only SQLite databases are copied")
            path.chmod(0o600)
            try:
                raw.backup(copy)
                copy.execute("PRAGMA journal_mode = delete")  # One file is all that there is of the copy.
            except sqlite3.Error as error:  # The copy's; what is wrong with the database has shown before.
                raise OSError(errno.EIO, str(error), str(path)) from error

    def checkpoint(self) -> None:
        """Move what the write-ahead log holds into the database file; one process at a time may do this.

        A long log is emptied when all of it is there and no process reads it, so that none has to wait.
        """
        if self._files is None:
            return
        with translated(), self._read_engine.connect() as connection:
            self._check(connection)
            raw = connection.connection.driver_connection
            if raw is None:
                return
            _, frames, moved = raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames == moved and self._files.log_bytes() > LOG_LIMIT_BYTES:
                try:
                    raw.execute(f"PRAGMA busy_timeout = {_TRUNCATE_WAIT_MS}")
                    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")

    def close(self) -> None:
        """Close all connections; a later use opens new ones."""
        self._read_engine.dispose()
        self._write_engine.dispose()
        self._brief_engine.dispose()
