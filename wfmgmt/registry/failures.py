"""Foreign errors of the database, mapped once to our own."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from wfmgmt.errors import InsufficientStorage, RegistryUnavailable, WfmgmtError

#: PostgreSQL's class of conditions "insufficient resources: disk full".
_DISK_FULL = "53100"
_PRIMARY_CODE = 0xFF
_REASONS = {
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked by another process",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is damaged",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_IOERR: "its file cannot be read or written",
}


def translate(error: DBAPIError | sqlite3.Error) -> WfmgmtError:
    """Return our error for one of the database driver, wrapped by SQLAlchemy or not."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        if code & _PRIMARY_CODE == sqlite3.SQLITE_FULL:
            return InsufficientStorage("No space is left for the database.")
        reason = _REASONS.get(code & _PRIMARY_CODE, "it failed")
    elif getattr(original, "sqlstate", None) == _DISK_FULL:
        return InsufficientStorage("No space is left for the database.")
    else:
        reason = "it cannot be reached"
    return RegistryUnavailable(f"The database cannot be used now: {reason}.")


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors instead of the driver's; integrity errors are the caller's to understand."""
    try:
        yield
    except PoolTimeoutError as error:
        raise RegistryUnavailable("The database cannot be used now: all connections are busy.") from error
    except (DBAPIError, sqlite3.Error) as error:
        raise translate(error) from error
