"""`wfmgmt plan`: what another command would do, the same as its `--dry-run`."""

import argparse

from wfmgmt.cli import main


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add each command that changes something over HTTP, with what it takes."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, entry in main.COMMANDS.items():
        if entry.is_write:
            command = commands.add_parser(name, help=entry.summary, description=entry.help)
            found = main.implementation(name)
            found.describe_arguments(command)
            command.set_defaults(planned=found, dry_run=True)


def run(options: argparse.Namespace) -> int:
    """Find out what the command would do."""
    planned: main.Command = options.planned
    return planned.run(options)
