"""The database of an instance: brought up to date, and refused when it is not the one that the instance had before."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wfmgmt.errors import InsufficientStorage, RegistryUnavailable
from wfmgmt.errors.commands import DatabaseUnusable, ResourcesExhausted
from wfmgmt.registry.files import file_identity
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import DatabaseState, inspect, sqlite_file, upgrade
from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")


def inspect_database(settings: Settings, *, adopt: bool = False) -> DatabaseState:
    """Look at the database without changing it.

    Args:
        settings: The settings in force.
        adopt: Whether one that is new, or not the instance's, is wanted.

    Raises:
        DatabaseUnusable: It is damaged or newer than this version, or not the one that the instance had.
    """
    file = sqlite_file(settings.database)
    state = inspect(settings.database, is_checked=file is None or _clean_end(settings) != _stamp(file))
    if adopt:
        return state
    known = _known_identity(settings)
    ways_out = "put that one back, restore a backup, or run `wfmgmt migrate --adopt` to go on with {}"
    if not state.revisions and known:
        raise DatabaseUnusable(
            f"the database {state.shown} is not there, but {settings.instance} had one ({known}); "
            + ways_out.format("a new one")
        )
    if not state.revisions and file is not None and file.with_name(f"{file.name}-wal").exists():
        raise DatabaseUnusable(
            f"the database {state.shown} is not there, but its write-ahead log is; " + ways_out.format("a new one")
        )
    if state.revisions and known and state.identity != known:
        found = state.identity or "one without identity"
        raise DatabaseUnusable(
            f"the database {state.shown} ({found}) is not the one that {settings.instance} had ({known}); "
            + ways_out.format("this one")
        )
    return state


def prepare_database(settings: Settings, state: DatabaseState) -> None:
    """Bring the database up to date, creating it when there is none, and record it as the instance's.

    Raises:
        DatabaseUnusable: It is read-only, locked or damaged.
        ResourcesExhausted: There is no space for it.
    """
    upgrade(settings.database)
    _clean_end_path(settings).unlink(missing_ok=True)
    if not state.revisions:
        _log.info("made a new database: %s", state.shown)
    record_database(settings)


def record_database(settings: Settings) -> None:
    """Record the database as the instance's.

    Raises:
        DatabaseUnusable: It cannot be written.
        ResourcesExhausted: There is no space for it.
    """
    identity = _identity(settings)
    if identity != _known_identity(settings):
        marker = _marker(settings)
        unfinished = marker.with_suffix(".unfinished")
        unfinished.write_text(f"{identity}\n", encoding="ascii")
        unfinished.replace(marker)


def _identity(settings: Settings) -> str:
    with registry_at_start(settings) as registry, registry.write() as writer:
        return writer.identity()


@contextmanager
def registry_at_start(settings: Settings) -> Iterator[Registry]:
    """Open the database, with failures that end the start.

    Raises:
        DatabaseUnusable: It cannot be read or written.
        ResourcesExhausted: There is no space for it.
    """
    registry = Registry(settings.database, connections=1)
    try:
        yield registry
    except InsufficientStorage as error:
        raise ResourcesExhausted(str(error)) from error
    except RegistryUnavailable as error:
        raise DatabaseUnusable(str(error)) from error
    finally:
        registry.close()


def record_clean_end(settings: Settings) -> None:
    """Record that no process has the database open any more, so that the next start need not read all of it."""
    file = sqlite_file(settings.database)
    if file is not None and settings.run_folder.is_dir():
        _clean_end_path(settings).write_text(_stamp(file), encoding="ascii")


def _marker(settings: Settings) -> Path:
    return settings.instance / "database.id"


def _known_identity(settings: Settings) -> str:
    try:
        return _marker(settings).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _clean_end_path(settings: Settings) -> Path:
    return settings.run_folder / "clean-end"


def _clean_end(settings: Settings) -> str:
    try:
        return _clean_end_path(settings).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _stamp(file: Path) -> str:
    """Return a text that is another one once the file was changed."""
    if file_identity(file) is None:
        return "none"
    found = file.stat()
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
