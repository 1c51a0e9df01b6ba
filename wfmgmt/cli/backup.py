"""`wfmgmt backup`: a consistent copy of the registry, and of its archives, while the service runs."""

import argparse
import sys
from pathlib import Path

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database
from wfmgmt.deployment.host_limits import raise_file_limit
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import require_current, sqlite_file
from wfmgmt.services.backup import BackupReport, back_up
from wfmgmt.settings import Settings


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="where nothing is yet")
    parser.add_argument(
        "--archives", action="store_true", help="with the archives of registered workflows; FILE is a tar file then"
    )


def run(options: argparse.Namespace) -> int:
    """Write the copy.

    Returns:
        0 when all is in it, 1 when something is missing.
    """
    settings = load_settings()
    sqlite_database(settings, "pg_dump")
    require_current(inspect_database(settings))
    raise_file_limit()
    registry = Registry(settings.database, connections=2)
    report = back_up(
        registry,
        StoreFolders.at(workflow=settings.workflow_store, model=settings.model_store),
        KeptArchives(settings.archives_folder),
        options.file,
        audit_folder=settings.audit_folder,
        with_archives=options.archives,
    )
    registry.close()
    return print_report(f"wrote {options.file}", report, with_archives=options.archives)


def sqlite_database(settings: Settings, instead: str) -> Path:
    """Return the file of the database.

    Raises:
        SettingsInvalid: It is not SQLite's; the text names the program to use instead.
    """
    file = sqlite_file(settings.database)
    if file is None:
        raise SettingsInvalid(
            f"WFMGMT_DATABASE_URL: this command is for SQLite files; use {instead} for PostgreSQL, and copy the stores"
        )
    return file


def print_report(done: str, report: BackupReport, *, with_archives: bool) -> int:
    """Print what was done and what went wrong, and return the exit code."""
    for problem in report.problems:
        print(f"wfmgmt: {problem}", file=sys.stderr)
    print(f"{done}, {report.archives} archives" if with_archives else done)
    return 1 if report.problems else 0
