"""Whether a database can be used, and how it is brought up to date.

Alembic, which takes time and memory, is imported only by a process that has something to migrate: the revision of a
schema stands in its database, and all revisions are the numbers with which the files of the migrations begin.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from wfmgmt.domain.limits import MIB
from wfmgmt.errors.commands import DatabaseUnusable, ResourcesExhausted
from wfmgmt.registry.engine import ADVISORY_LOCK, BUSY_TIMEOUT_S, parse_database, shown_database

_PACKAGE = Path(__file__).resolve().parents[1]
#: Inside of the package where that was installed from a wheel, beside it in the checkout.
MIGRATIONS = next(folder for folder in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations") if folder.is_dir())
#: Revisions of the schema, from the first one to the current one.
REVISIONS = tuple(sorted(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("*_*.py")))
_SQLITE_MAGIC = b"SQLite format 3\x00"
_VERSIONS = "alembic_version"
#: Tables with the identity: the current one, and that of schemas before 0007.
_IDENTITY_TABLES = ("installation", "deployment")
#: From this version on SQLite has no WAL-reset defect.
SAFE_SQLITE = (3, 51, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """The state of a database, as found without changing it.

    Attributes:
        shown: How it is called in messages.
        revisions: Those of its schema; none when it is not there or has no tables yet.
        identity: Identity of the installation, None when it has none yet.
        has_tokens: Whether there is a token, or was one.
    """

    shown: str
    revisions: tuple[str, ...] = ()
    identity: str | None = None
    has_tokens: bool = False


def sqlite_file(database: Path | str) -> Path | None:
    """Return the file of a SQLite database, None when it is another one."""
    url = parse_database(database)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def inspect(database: Path | str, *, is_checked: bool = True) -> DatabaseState:
    """Look into a database.

    Args:
        database: Path of a SQLite file, or a URL.
        is_checked: Whether all of a SQLite file is read for damage.

    Raises:
        DatabaseUnusable: It cannot be read or written, is damaged, or newer than this version; it is unchanged.
        ResourcesExhausted: Its server cannot be reached.
    """
    url = parse_database(database)
    shown = shown_database(url)
    file = sqlite_file(database)
    try:
        if file is not None:
            state = _inspect_file(file, is_checked=is_checked)
        else:
            engine = create_engine(url)
            with _reachable(shown), engine.connect() as connection:
                revisions = _revisions(connection)
                tables = sqlalchemy.inspect(connection).get_table_names()
                identity = connection.execute(sqlalchemy.text(_identity_query(tables))).scalar_one_or_none()
                has_tokens = bool(connection.execute(sqlalchemy.text(_tokens_query(tables))).scalar_one())
            engine.dispose()
            state = DatabaseState(shown=shown, revisions=revisions, identity=identity, has_tokens=has_tokens)
    except DBAPIError as error:
        raise DatabaseUnusable(f"the database {shown} cannot be used: {error.orig}") from error
    _refuse_newer(state.revisions, shown=shown)
    return state


@contextmanager
def _reachable(shown: str) -> Iterator[None]:
    """Distinguish a database server that may be there later from a database that cannot be used."""
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) is None:
            raise ResourcesExhausted(f"the database {shown} cannot be reached: {_first_line(error)}") from error
        raise


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


def upgrade(database: Path | str) -> None:
    """Bring the schema up to date, creating the database when there is none.

    The write lock is taken before revisions are compared, so of several processes that start at once one migrates and
    the others find it done; all migrations commit together.

    Raises:
        DatabaseUnusable: The database is corrupt, read-only, locked, or newer than this version; it is unchanged.
        ResourcesExhausted: There is no space for it.
    """
    url = parse_database(database)
    shown = shown_database(url)
    try:
        with locked_connection(database) as connection:
            revisions = _revisions(connection)
            _refuse_newer(revisions, shown=shown)
            if revisions != REVISIONS[-1:]:
                from wfmgmt.registry.migrations import migrate  # noqa: PLC0415 - see above

                migrate(connection)
    except DBAPIError as error:
        if url.get_backend_name() == "sqlite" and _is_full(Path(url.database or "").parent):
            raise ResourcesExhausted(f"the database {shown} cannot be used: no space is left for it") from error
        raise DatabaseUnusable(f"the database {shown} cannot be used: {error.orig}") from error


def require_current(state: DatabaseState) -> None:
    """Refuse a database that is not there or whose schema is not this version's.

    Raises:
        DatabaseUnusable: It is one of these.
    """
    if state.revisions != REVISIONS[-1:]:
        raise DatabaseUnusable(f"the database {state.shown} is not there or not up to date; run `wfmgmt migrate`")


@contextmanager
def locked_connection(database: Path | str) -> Iterator[Connection]:
    """Give a connection in a transaction that holds the write lock, with foreign keys off, and commit at the end.

    Foreign keys are off because Alembic changes a SQLite table by building it anew; `migrations/env.py` checks them.
    """
    url = parse_database(database)
    engine = _migration_engine(url)
    try:
        with engine.connect() as connection:
            if url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode = wal")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
            yield connection
            connection.commit()
    finally:
        engine.dispose()


def _migration_engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url)
    return create_engine(url, connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_S})


def _is_full(folder: Path) -> bool:
    """Return whether there is no space: SQLite has several words for that, some of which have other reasons, too."""
    try:
        return shutil.disk_usage(folder).free < MIB
    except OSError:
        return False


def _revisions(connection: Connection) -> tuple[str, ...]:
    """Return the revision of the schema, none when the database has no tables yet."""
    if not sqlalchemy.inspect(connection).has_table(_VERSIONS):
        return ()
    return tuple(connection.execute(sqlalchemy.text(f"SELECT version_num FROM {_VERSIONS}")).scalars())  # noqa: S608 - a constant


def _refuse_newer(revisions: Iterable[str], *, shown: str) -> None:
    if unknown := set(revisions) - set(REVISIONS):
        raise DatabaseUnusable(
            f"the database {shown} was written by a newer version of wfmgmt (schema {', '.join(sorted(unknown))}); "
            "install that version or restore a backup"
        )


def _inspect_file(path: Path, *, is_checked: bool) -> DatabaseState:
    """Refuse a file that SQLite should not be let near; a file that is not there is fine.

    The file is read through a connection that cannot write, since the last one that can empties the log into the file.
    """
    state = DatabaseState(shown=str(path))
    if not path.exists():
        return state
    try:
        with path.open("r+b") as file:
            start = file.read(len(_SQLITE_MAGIC))
        with tempfile.TemporaryFile(dir=path.parent):  # The write-ahead log needs the folder to be writable, too.
            pass
    except OSError as error:
        if error.errno in ResourcesExhausted.ERRNOS:
            raise ResourcesExhausted(f"the database {path} cannot be used: {error.strerror}") from error
        raise DatabaseUnusable(f"the database {path} cannot be written: {error.strerror}") from error
    if start and start != _SQLITE_MAGIC:
        raise DatabaseUnusable(f"the database {path} is not a SQLite database")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as found:
            findings = found.execute("PRAGMA quick_check(1)").fetchone()[0] if is_checked else "ok"
            if findings == "ok":
                tables = {row[0] for row in found.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
                revisions = found.execute("SELECT version_num FROM alembic_version") if _VERSIONS in tables else ()
                identities = found.execute(_identity_query(tables))
                state = replace(
                    state,
                    revisions=tuple(row[0] for row in revisions),
                    identity=next((row[0] for row in identities), None),
                    has_tokens=bool(found.execute(_tokens_query(tables)).fetchone()[0]),
                )
    except sqlite3.DatabaseError as error:
        raise DatabaseUnusable(f"the database {path} is damaged: {error}") from error
    if findings != "ok":
        raise DatabaseUnusable(f"the database {path} is damaged: {findings.splitlines()[0]}; restore a backup")
    return state


def _identity_query(tables: Collection[str]) -> str:
    """Return the query for the identity in a database with these tables; it finds nothing when none has it."""
    table = next((table for table in _IDENTITY_TABLES if table in tables), None)
    return f"SELECT identity FROM {table}" if table else "SELECT NULL WHERE 1 = 0"  # noqa: S608 - constants


def _tokens_query(tables: Collection[str]) -> str:
    """Return the query for whether a database with these tables has tokens; schemas before 0013 know none."""
    return "SELECT EXISTS (SELECT 1 FROM token)" if "token" in tables else "SELECT FALSE"


def warning_about_sqlite() -> str:
    """Return a warning when the SQLite library has the WAL-reset defect, else an empty text."""
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        return ""
    safe = ".".join(map(str, SAFE_SQLITE))
    return (
        f"SQLite {sqlite3.sqlite_version} can corrupt a database when two processes checkpoint at once (fixed in "
        f"{safe}); wfmgmt lets one process checkpoint, so keep other programs from writing to the database"
    )
