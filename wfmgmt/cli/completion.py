"""`wfmgmt completion`: a script by which a shell completes commands, options and names of workflows."""

import argparse

import shtab

from wfmgmt.cli import main


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def run(options: argparse.Namespace) -> int:
    """Print the script, which has the arguments of all commands as they are now."""
    print(shtab.complete(main.command_parser(main.COMMANDS), shell=options.shell))
    return 0
