"""`wfmgmt backup` and `wfmgmt restore`."""

import argparse
import sys
from pathlib import Path

from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.deployment.database import inspect_database, record_database
from wfmgmt.deployment.exclusion import lock_database, lock_instance, lock_stores
from wfmgmt.deployment.gunicorn_master import prepare_instance
from wfmgmt.deployment.host_limits import raise_file_limit
from wfmgmt.errors import SettingsInvalid
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import require_current, sqlite_file
from wfmgmt.services.archives import StoreFolders
from wfmgmt.services.backup import BackupReport, back_up, restore
from wfmgmt.settings import Settings


def describe_backup(parser: argparse.ArgumentParser) -> None:
    """Add what `backup` takes to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="where nothing is yet")
    parser.add_argument(
        "--archives", action="store_true", help="with the archives of registered workflows; FILE is a tar file then"
    )
    parser.set_defaults(run=_back_up)


def describe_restore(parser: argparse.ArgumentParser) -> None:
    """Add what `restore` takes to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `wfmgmt backup` wrote")
    parser.set_defaults(run=_restore)


def _back_up(settings: Settings, options: argparse.Namespace) -> int:
    _sqlite_database(settings, "pg_dump")
    require_current(inspect_database(settings))
    raise_file_limit()
    registry = Registry(settings.database, connections=2)
    report = back_up(registry, _folders(settings), options.file, with_archives=options.archives)
    registry.close()
    return _tell(f"wrote {options.file}", report, with_archives=options.archives)


def _restore(settings: Settings, options: argparse.Namespace) -> int:
    database = _sqlite_database(settings, "pg_restore")
    prepare_instance(settings)
    locks = [lock_instance(settings), *lock_database(settings, wait_s=0), *lock_stores(settings, wait_s=0)]
    report = restore(options.file, database, _folders(settings))
    record_database(settings)
    chain = Registry(settings.database, connections=1).verify_audit()
    for lock in locks:
        lock.release()
    if chain.broken_at is not None:
        report.problems.append(f"audit row {chain.broken_at} does not fit: {chain.reason}")
    return _tell(f"restored {database}; {chain.events} audit rows fit", report, with_archives=True)


def _sqlite_database(settings: Settings, instead: str) -> Path:
    file = sqlite_file(settings.database)
    if file is None:
        raise SettingsInvalid(
            f"WFMGMT_DATABASE_URL: this command is for SQLite files; use {instead} for PostgreSQL, and copy the stores"
        )
    return file


def _folders(settings: Settings) -> StoreFolders:
    return StoreFolders(
        workflow=ArchiveFolder(folder=settings.workflow_store, suffix=".war"),
        model=ArchiveFolder(folder=settings.model_store, suffix=".mar"),
    )


def _tell(done: str, report: BackupReport, *, with_archives: bool) -> int:
    for problem in report.problems:
        print(f"wfmgmt: {problem}", file=sys.stderr)
    print(f"{done}, {report.archives} archives" if with_archives else done)
    return 1 if report.problems else 0
