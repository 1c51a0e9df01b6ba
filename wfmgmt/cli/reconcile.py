"""`wfmgmt reconcile`: unfinished work finished or undone, and model servers brought back in step."""

import argparse
import sys

from wfmgmt.cli.actor import command_origin
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database
from wfmgmt.deployment.instance import prepare_instance
from wfmgmt.errors import RuntimeDown, RuntimeUnavailable
from wfmgmt.logs import write_error
from wfmgmt.management import Services
from wfmgmt.registry.schema import require_current


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(options: argparse.Namespace) -> int:
    """Reconcile and say what was done.

    Returns:
        0 when all is in step, 1 when something could not be done or is not known.
    """
    settings = load_settings()
    require_current(inspect_database(settings))
    prepare_instance(settings)
    services = Services(settings)
    failed: list[str] = []
    if options.dry_run:
        sentences = [*services.removal.abandoned(), *services.operations.abandoned()]
    else:
        recovery = services.removal.recover(command_origin())
        sentences, failed = [*recovery.done, *services.operations.recover()], recovery.failed
    try:
        if not options.dry_run:
            services.runtime.reconcile_now()
        drifts, is_known = services.runtime.check(dry_run=options.dry_run)
        sentences += drifts
    except RuntimeUnavailable as error:
        write_error(f"wfmgmt: {error}")
        # Local models are gone with a runtime that is down, and come back with it.
        is_known = settings.model_server == "local" and isinstance(error, RuntimeDown)
    for sentence in sentences:
        print(sentence)
    print(f"{len(sentences)} {'to do' if options.dry_run else 'done'}")
    for sentence in failed:
        print(f"wfmgmt: could not {sentence}", file=sys.stderr)
    return 0 if is_known and not failed else 1
