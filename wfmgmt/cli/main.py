"""The `wfmgmt` command: its subcommands and its exit codes."""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Container, Sequence
from types import ModuleType
from typing import NamedTuple, Protocol

from wfmgmt import __version__
from wfmgmt.errors import WfmgmtError
from wfmgmt.errors.commands import CannotStart, ResourcesExhausted
from wfmgmt.host import require_linux
from wfmgmt.logs import open_standard_streams, write_error


class Command(Protocol):
    """What carries out a subcommand: a module of this package, or a value in one."""

    def describe_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add what the command takes to its parser."""

    def run(self, options: argparse.Namespace, /) -> int:
        """Carry it out and return the exit code."""


class Entry(NamedTuple):
    """A subcommand.

    Attributes:
        summary: What it does.
        group: The module of `wfmgmt.cli.remote` that has it, if it calls a running service; else it has a module of
            this package to itself.
        is_write: Whether it changes something there, which can be planned.
    """

    summary: str
    group: str | None = None
    is_write: bool = False

    @property
    def help(self) -> str:
        """The summary as a sentence."""
        return f"{self.summary[0].upper()}{self.summary[1:]}."


COMMANDS = {
    "serve": Entry("run the whole service: gunicorn, with the runtime beside it"),
    "register": Entry("register a workflow, or another version of one, from an archive", "workflows", is_write=True),
    "list": Entry("list the workflows, all of them or those in one state", "workflows"),
    "describe": Entry("describe a workflow, with its nodes and their workers", "workflows"),
    "unregister": Entry("unregister a workflow, or one version of it", "workflows", is_write=True),
    "versions": Entry("list the versions of a workflow", "workflows"),
    "diff": Entry("compare two versions of a workflow, or what a file declares with what is there", "declared"),
    "apply": Entry("bring workflows to what a file declares", "declared"),
    "drift": Entry("list what somebody has changed since it was applied", "declared"),
    "explain": Entry("say why a workflow is not ready or slow, and what to do", "explain"),
    "graph": Entry("draw the graph of a workflow", "graph"),
    "logs": Entry("show the last lines of the log about the nodes of a workflow", "workflows"),
    "releases": Entry("list the releases of a workflow: who gave which version which share, when and why", "traffic"),
    "set-default": Entry("send all requests to one version", "traffic", is_write=True),
    "traffic": Entry("show or change which version gets which share of the requests", "traffic", is_write=True),
    "rollout": Entry("pause a rollout, resume it, or end it", "traffic", is_write=True),
    "rollback": Entry("repeat an earlier release", "traffic", is_write=True),
    "scale": Entry("change how many workers nodes have", "scaling", is_write=True),
    "update": Entry("change other settings of a node", "scaling", is_write=True),
    "operations": Entry("list what is under way, and how what is done ended", "operations"),
    "wait": Entry("wait until an operation is done, and say how far it is", "operations"),
    "cancel": Entry("cancel an operation, so that nothing of it is left", "operations", is_write=True),
    "archives": Entry("list the archives in the stores, and which versions use them", "archives"),
    "upload": Entry("put archives into the stores", "archives"),
    "remove-archive": Entry("remove an archive that no version uses from its store", "archives", is_write=True),
    "inspect": Entry("say what is in a .war or .mar file, and whether it can be registered"),
    "whoami": Entry("say who the service takes this client for, and what that may do", "whoami"),
    "plan": Entry("say what another command would do; the same as its --dry-run"),
    "predict": Entry("send a request through a workflow", "predict"),
    "runtime": Entry("run the runtime process; the service starts it by itself"),
    "migrate": Entry("bring the database up to date; the service does it by itself"),
    "reconcile": Entry("finish or undo what a dead process left unfinished, and bring model servers back in step"),
    "import-torchserve": Entry("register what a running TorchServe has, from the same archives"),
    "backup": Entry("write a consistent copy while the service runs"),
    "restore": Entry("put a backup into an instance without a database"),
    "token": Entry("make, list and revoke tokens, by which clients show who they are"),
    "audit": Entry("the audit trail"),
    "completion": Entry("print a script by which a shell completes what is typed"),
}


def implementation(name: str) -> Command:
    """Return what carries out a subcommand, with what that imports."""
    group = COMMANDS[name].group
    if group is None:
        return _imported(f"wfmgmt.cli.{name.replace('-', '_')}")
    found: Command = _imported(f"wfmgmt.cli.remote.{group}").COMMANDS[name]
    return found


def _imported(name: str) -> ModuleType:
    """Return a module; it stays, with what it imports, so the collector of cycles leaves it out.

    That search, now and at the end, would be an eighth of the time of a short command.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when done, 1 for a finding or a failure, 2 for wrong settings or a system that is not Linux, 3 for a database
        that cannot be used, 75 when the host lacks something for now. Commands that call a running service have codes
        of their own (`wfmgmt.cli.remote.command`).
    """
    open_standard_streams()
    try:
        options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        code: int = options.run(options)
    except CannotStart as error:
        write_error(f"wfmgmt: {error}")
        return error.exit_code
    except WfmgmtError as error:
        write_error(f"wfmgmt: {error}")
        return 1
    except BrokenPipeError:  # Who reads has enough; Python would write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        write_error(f"wfmgmt: {error}")
        return ResourcesExhausted.exit_code if error.errno in ResourcesExhausted.ERRNOS else 1
    return code


def command_parser(described: Container[str]) -> argparse.ArgumentParser:
    """Return the parser of the command, with the arguments of some subcommands.

    Args:
        described: Subcommands whose arguments are needed. Only those are imported, so that no process loads what others
            need.
    """
    parser = argparse.ArgumentParser(prog="wfmgmt", description="Workflow management for model serving.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, entry in COMMANDS.items():
        command = commands.add_parser(name, help=entry.summary, description=entry.help)
        if name in described:
            found = implementation(name)
            found.describe_arguments(command)
            command.set_defaults(run=found.run)
    return parser


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of one command, with those that only gunicorn knows."""
    if arguments and (entry := COMMANDS.get(arguments[0])) is not None and entry.group is None:
        require_linux()
    parser = command_parser(arguments[:1])
    options, unknown = parser.parse_known_args(arguments)
    if unknown and arguments[0] != "serve":
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.gunicorn_options = unknown
    return options


if __name__ == "__main__":
    sys.exit(main())
