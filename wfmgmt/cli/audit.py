"""`wfmgmt audit verify`: the audit trail against its chain of hashes."""

import argparse

from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import require_current


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("verify", help="recompute the chain of hashes; exit 1 at the first row that does not fit")


def run(_options: argparse.Namespace) -> int:
    """Verify the chain and say how far it fits.

    Returns:
        0 when all of it does, 1 otherwise.
    """
    settings = load_settings()
    require_current(inspect_database(settings))
    report = Registry(settings.database).verify_audit()
    if report.broken_at is not None:
        print(f"row {report.broken_at} does not fit: {report.reason}; the {report.events} rows before it do")
        return 1
    print(f"{report.events} rows fit; hash of the last one: {report.last_hash}")
    return 0
