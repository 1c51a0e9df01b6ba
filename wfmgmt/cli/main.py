"""The `wfmgmt` command: run the runtime, migrate, reconcile, take workflows over, verify the audit trail."""

import argparse
import logging.config
import os
import socket
import sys
from collections.abc import Sequence

from wfmgmt import __version__
from wfmgmt.cli import backup, torchserve_import
from wfmgmt.cli.actor import command_origin
from wfmgmt.control.client import RuntimeClient
from wfmgmt.deployment.database import inspect_database, prepare_database
from wfmgmt.deployment.gunicorn_master import PRIVATE_UMASK, prepare_instance, runtime_lock
from wfmgmt.deployment.listening import listen
from wfmgmt.errors import CannotStart, ResourcesExhausted, RuntimeUnavailable, WfmgmtError
from wfmgmt.logs import logging_config, open_standard_streams, write_error
from wfmgmt.management import Services
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import require_current
from wfmgmt.runtime_factory import renew_folders, run_runtime
from wfmgmt.settings import Settings

#: How long the model servers may take to be compared and mended.
_CHECK_S = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when done, 1 for a finding or a failure, 2 for wrong settings, 3 for a database that cannot be used, 75 when
        the host lacks something for now.
    """
    open_standard_streams()
    parser = _parser()
    operators_umask = os.umask(PRIVATE_UMASK)
    options = parser.parse_args(arguments, argparse.Namespace(umask=operators_umask))
    try:
        settings = Settings.load()
        logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
        code: int = options.run(settings, options)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wfmgmt", description="Workflow management for model serving.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    runtime = commands.add_parser("runtime", help="run the runtime process; gunicorn starts it by itself")
    runtime.add_argument("--inference-fd", type=int, help="descriptor of a socket that listens already")
    runtime.add_argument("--lifeline-fd", type=int, help="descriptor of a pipe whose end ends the runtime")
    runtime.add_argument("--database-file", type=int, nargs=2, help="device and inode of the SQLite database")
    runtime.add_argument("--umask", type=lambda text: int(text, 8), default=argparse.SUPPRESS, help="that of handlers")
    runtime.set_defaults(run=_runtime)
    migrate = commands.add_parser("migrate", help="bring the database up to date; gunicorn does it by itself")
    migrate.add_argument(
        "--adopt", action="store_true", help="take a new database, or another one, for this instance's from now on"
    )
    migrate.set_defaults(run=_migrate)
    reconcile = commands.add_parser(
        "reconcile", help="finish or undo what a dead process left unfinished, and bring model servers back in step"
    )
    reconcile.add_argument("--dry-run", action="store_true", help="only say what would be done")
    reconcile.set_defaults(run=_reconcile)
    torchserve_import.describe_arguments(
        commands.add_parser("import-torchserve", help="register what a running TorchServe has, from the same archives")
    )
    backup.describe_backup(commands.add_parser("backup", help="write a consistent copy while the service runs"))
    backup.describe_restore(commands.add_parser("restore", help="put a backup into an instance without a database"))
    audit = commands.add_parser("audit", help="the audit trail").add_subparsers(required=True, metavar="COMMAND")
    verify = audit.add_parser("verify", help="recompute the chain of hashes; exit 1 at the first row that does not fit")
    verify.set_defaults(run=_verify)
    return parser


def _runtime(settings: Settings, options: argparse.Namespace) -> int:
    prepare_instance(settings)
    lock = runtime_lock(settings)
    if not lock.acquire():
        write_error("wfmgmt: the runtime of this instance is running already")
        return 1
    renew_folders(settings.run_folder)
    if options.inference_fd is None:
        address = settings.inference_address
        sock = listen("WFMGMT_INFERENCE_ADDRESS", address.host, address.port)
    else:
        sock = socket.socket(fileno=options.inference_fd)
    database_file = tuple(options.database_file) if options.database_file else None
    run_runtime(
        settings,
        inference_socket=sock,
        lifeline=options.lifeline_fd,
        database_file=database_file,
        worker_umask=options.umask,
    )
    return 0


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    prepare_instance(settings)
    prepare_database(settings, inspect_database(settings, adopt=options.adopt))
    return 0


def _reconcile(settings: Settings, options: argparse.Namespace) -> int:
    require_current(inspect_database(settings))
    prepare_instance(settings)
    services = Services(settings)
    runtime = RuntimeClient(settings.control_socket, call_timeout_s=_CHECK_S)
    failed: list[str] = []
    if options.dry_run:
        sentences = services.removal.abandoned()
    else:
        recovery = services.removal.recover(command_origin())
        sentences, failed = recovery.done, recovery.failed
    try:
        if not options.dry_run:
            runtime.reconcile_now()
        drifts, is_known = runtime.check(dry_run=options.dry_run)
        sentences += drifts
    except RuntimeUnavailable as error:
        write_error(f"wfmgmt: {error}")
        is_known = settings.model_server == "local"  # Its models are gone with the runtime, and come back with it.
    for sentence in sentences:
        print(sentence)
    print(f"{len(sentences)} {'to do' if options.dry_run else 'done'}")
    for sentence in failed:
        print(f"wfmgmt: could not {sentence}", file=sys.stderr)
    return 0 if is_known and not failed else 1


def _verify(settings: Settings, _options: argparse.Namespace) -> int:
    require_current(inspect_database(settings))
    report = Registry(settings.database).verify_audit()
    if report.broken_at is not None:
        print(f"row {report.broken_at} does not fit: {report.reason}; the {report.events} rows before it do")
        return 1
    print(f"{report.events} rows fit; hash of the last one: {report.last_hash}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
