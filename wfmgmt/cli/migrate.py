"""`wfmgmt migrate`: the database brought up to date without starting the service."""

import argparse

from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database, prepare_database
from wfmgmt.deployment.instance import prepare_instance


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument(
        "--adopt", action="store_true", help="take a new database, or another one, for this instance's from now on"
    )


def run(options: argparse.Namespace) -> int:
    """Bring the database up to date, creating it when there is none."""
    settings = load_settings()
    prepare_instance(settings)
    prepare_database(settings, inspect_database(settings, adopt=options.adopt))
    return 0
