"""`wfmgmt completion`: a script by which a shell completes commands, options and names of workflows."""

import argparse

import shtab

from wfmgmt.cli import main

#: Names of workflows and operations come from the service; nothing is completed when there is none.
_PREAMBLE = {
    "bash": """\
_wfmgmt_names() {
  compgen -W "$(wfmgmt list -o name 2>/dev/null)" -- "$1"
}
_wfmgmt_operations() {
  compgen -W "$(wfmgmt operations -o name 2>/dev/null)" -- "$1"
}
_wfmgmt_operations_and_names() {
  _wfmgmt_operations "$1"; _wfmgmt_names "$1"
}""",
    "zsh": """\
_wfmgmt_names() {
  compadd -- ${(f)"$(wfmgmt list -o name 2>/dev/null)"}
}
_wfmgmt_operations() {
  compadd -- ${(f)"$(wfmgmt operations -o name 2>/dev/null)"}
}
_wfmgmt_operations_and_names() {
  _wfmgmt_operations; _wfmgmt_names
}""",
}


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def run(options: argparse.Namespace) -> int:
    """Print the script, which has the arguments of all commands as they are now."""
    print(shtab.complete(main.command_parser(main.COMMANDS), shell=options.shell, preamble=_PREAMBLE[options.shell]))
    return 0
