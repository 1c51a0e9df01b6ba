"""Connections: how SQLite and PostgreSQL are opened, and how a transaction begins.

SQLite runs in WAL mode. Transactions that write begin IMMEDIATE, so that they wait for the write lock at their start
instead of failing half way; readers get connections that refuse to write. Checkpoints are not automatic: SQLite 3.7.0
to 3.51.2 can lose the WAL when two connections checkpoint while a third commits, so only one process makes them.
"""

import sqlite3
from importlib.util import find_spec
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.registry.files import DatabaseFiles

#: How long a writer waits for the write lock.
BUSY_TIMEOUT_S = 5
#: Key of the PostgreSQL advisory lock that lets one transaction write at a time, as SQLite does.
ADVISORY_LOCK = 0x77666D67
#: Where a connection keeps which files it has open.
OPENED = "wfmgmt.opened"
#: The write-ahead log is cut down to this once its content is in the database.
LOG_LIMIT_BYTES = 1024 * 1024

#: What SQLite calls these: every commit waits for the disk; only checkpoints do.
_FULL, _NORMAL = 2, 1
_PRAGMAS: dict[str, int | str] = {
    "busy_timeout": BUSY_TIMEOUT_S * 1000,
    "foreign_keys": 1,
    "journal_mode": "wal",
    "synchronous": _FULL,
    "wal_autocheckpoint": 0,
    "journal_size_limit": LOG_LIMIT_BYTES,
}


#: Names of PostgreSQL drivers that are psycopg.
_PSYCOPG = ("postgresql", "postgresql+psycopg")


def parse_database(database: Path | str) -> URL:
    """Return the URL of a database that wfmgmt can use.

    Args:
        database: The path of a SQLite file, or a URL, in which special characters are percent-encoded.

    Raises:
        SettingsInvalid: It cannot be parsed, or names neither a SQLite file nor a PostgreSQL database.
    """
    if isinstance(database, Path):
        return URL.create("sqlite", database=str(database))
    try:
        url = make_url(database)
        backend = url.get_backend_name()
    except ArgumentError as error:
        raise SettingsInvalid("WFMGMT_DATABASE_URL: expected sqlite:///<file> or postgresql://…") from error
    if backend not in ("sqlite", "postgresql") or (backend == "sqlite" and url.database in (None, "", ":memory:")):
        raise SettingsInvalid("WFMGMT_DATABASE_URL: expected sqlite:///<file> or postgresql://…")
    if backend == "postgresql" and url.drivername in _PSYCOPG and find_spec("psycopg") is None:
        raise SettingsInvalid(
            "WFMGMT_DATABASE_URL: PostgreSQL needs the package psycopg; install it: pip install 'wfmgmt[postgresql]'"
        )
    if backend == "postgresql" and url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url


def shown_database(url: URL) -> str:
    """Return how a database is called in messages: the path of its file, or its URL without the password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def make_engine(
    url: URL, *, writes: bool, is_durable: bool = True, connections: int = 16, files: DatabaseFiles | None = None
) -> Engine:
    """Return an engine whose transactions all write, or all only read.

    Args:
        url: From `parse_database`.
        writes: Whether its transactions take the write lock; otherwise the database refuses changes.
        is_durable: Whether a commit waits for the disk; otherwise a power cut may undo it until a later one has waited.
        connections: Connections at most; a thread that wants one more waits.
        files: The files of a SQLite database, which is never created here.
    """
    pool: dict[str, Any] = {"pool_size": connections, "max_overflow": 0, "pool_timeout": BUSY_TIMEOUT_S}
    if files is not None:
        uri = f"{Path(url.database or '').absolute().as_uri()}?mode=rw"
        engine = create_engine(url, creator=lambda: _connect(uri), **pool)
        _configure_sqlite(engine, files, writes=writes, is_durable=is_durable)
    else:
        engine = create_engine(url, isolation_level="REPEATABLE READ" if not writes else "READ COMMITTED", **pool)
        _configure_postgresql(engine, writes=writes, is_durable=is_durable)
    return engine


def _connect(uri: str) -> SqliteConnection:
    return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_S)


def _configure_sqlite(engine: Engine, files: DatabaseFiles, *, writes: bool, is_durable: bool) -> None:
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
    pragmas = {**_PRAGMAS, "query_only": int(not writes), "synchronous": _FULL if is_durable else _NORMAL}

    @event.listens_for(engine, "connect")
    def _on_connect(connection: SqliteConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # The driver must not begin transactions on its own.
        set_pragmas(connection, pragmas)
        record.info[OPENED] = files.opened()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.connection.cursor().execute(begin)  # By the driver: quicker for every request than SQLAlchemy.


def set_pragmas(connection: SqliteConnection, pragmas: dict[str, int | str]) -> None:
    """Set pragmas and read each back, since SQLite ignores what it does not know.

    Raises:
        RuntimeError: A pragma did not take its value.
    """
    for name, value in pragmas.items():
        connection.execute(f"PRAGMA {name} = {value}")
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != value:
            raise RuntimeError(f"SQLite keeps {name} at {found!r} instead of {value!r}")


def _configure_postgresql(engine: Engine, *, writes: bool, is_durable: bool) -> None:
    statement = f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})" if writes else "SET TRANSACTION READ ONLY"

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'")
        if not is_durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        connection.exec_driver_sql(statement)
