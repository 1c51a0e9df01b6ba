"""`wfmgmt restore`: a backup put into an instance without a database."""

import argparse
from pathlib import Path

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.cli.backup import print_report, sqlite_database
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import record_database
from wfmgmt.deployment.exclusion import lock_database, lock_instance, lock_stores
from wfmgmt.deployment.instance import prepare_instance
from wfmgmt.registry.registry import Registry
from wfmgmt.services.backup import restore


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `wfmgmt backup` wrote")


def run(options: argparse.Namespace) -> int:
    """Restore the backup and verify its audit trail.

    Returns:
        0 when all of it is there, 1 otherwise.
    """
    settings = load_settings()
    database = sqlite_database(settings, "pg_restore")
    prepare_instance(settings)
    locks = [lock_instance(settings), *lock_database(settings, wait_s=0), *lock_stores(settings, wait_s=0)]
    report = restore(
        options.file,
        database,
        StoreFolders.at(workflow=settings.workflow_store, model=settings.model_store),
        KeptArchives(settings.archives_folder),
        audit_folder=settings.audit_folder,
    )
    record_database(settings)
    chain = Registry(settings.database, connections=1).verify_audit(segments=settings.audit_folder)
    for lock in locks:
        lock.release()
    if chain.broken_at is not None:
        report.problems.append(f"audit row {chain.broken_at} does not fit: {chain.reason}")
    return print_report(f"restored {database}; {chain.events} audit rows fit", report, with_archives=True)
