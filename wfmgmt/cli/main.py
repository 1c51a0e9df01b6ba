"""The `wfmgmt` command: its subcommands and its exit codes."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from wfmgmt import __version__
from wfmgmt.errors import CannotStart, ResourcesExhausted, WfmgmtError
from wfmgmt.host import require_linux
from wfmgmt.logs import open_standard_streams, write_error

#: Each is a module of this package with `describe_arguments` and `run`. Only that of the command which is asked for is
#: imported, so that no process loads what others need.
COMMANDS = {
    "serve": "run the whole service: gunicorn, with the runtime beside it",
    "runtime": "run the runtime process; the service starts it by itself",
    "migrate": "bring the database up to date; the service does it by itself",
    "reconcile": "finish or undo what a dead process left unfinished, and bring model servers back in step",
    "import-torchserve": "register what a running TorchServe has, from the same archives",
    "backup": "write a consistent copy while the service runs",
    "restore": "put a backup into an instance without a database",
    "audit": "the audit trail",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when done, 1 for a finding or a failure, 2 for wrong settings or a system that is not Linux, 3 for a database
        that cannot be used, 75 when the host lacks something for now.
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
    except OSError as error:
        write_error(f"wfmgmt: {error}")
        return ResourcesExhausted.exit_code if error.errno in ResourcesExhausted.ERRNOS else 1
    return code


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of one command, with those that only gunicorn knows."""
    parser = argparse.ArgumentParser(prog="wfmgmt", description="Workflow management for model serving.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if arguments[:1] == [name]:
            require_linux()
            module = importlib.import_module(f"wfmgmt.cli.{name.replace('-', '_')}")
            module.describe_arguments(command)
            command.set_defaults(run=module.run)
    options, unknown = parser.parse_known_args(arguments)
    if unknown and arguments[0] != "serve":
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.gunicorn_options = unknown
    return options


if __name__ == "__main__":
    sys.exit(main())
