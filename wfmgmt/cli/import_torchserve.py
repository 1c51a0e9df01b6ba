"""`wfmgmt import-torchserve`: register the workflows that a running TorchServe has."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.archives.urls import RemoteUrl, parse_url
from wfmgmt.cli.actor import command_origin
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database
from wfmgmt.deployment.instance import check_signers, prepare_instance
from wfmgmt.domain.names import printable
from wfmgmt.errors import BadRequest, DownloadFailed, RelativePathRefused, RuntimeUnavailable, WfmgmtError
from wfmgmt.management import Services
from wfmgmt.registry.schema import require_current
from wfmgmt.services.torchserve_import import Outcome, Source, TorchServeImport, Verdict
from wfmgmt.torchserve.listing import TorchServeListing

_INTERRUPTED = 130
_COUNTED = {
    Verdict.REGISTERED: "registered",
    Verdict.PLANNED: "to register",
    Verdict.HERE: "here already",
    Verdict.NOT_IMPORTED: "not imported",
}


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("url", metavar="URL", help="management address of the TorchServe, like http://127.0.0.1:8081")
    parser.add_argument("--workflow-store", type=Path, metavar="FOLDER", help="its workflow store, to copy .war from")
    parser.add_argument("--model-store", type=Path, metavar="FOLDER", help="its model store, to copy .mar files from")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="its key_file.json, unless it wants no tokens")
    parser.add_argument("--ca-bundle", type=Path, metavar="FILE", help="certificates to trust for https")
    parser.add_argument("--workflow", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def run(options: argparse.Namespace) -> int:
    """Import workflows and say what became of each.

    Returns:
        0 when everything was registered or is here already, 1 otherwise.

    Raises:
        WfmgmtError: Nothing could be begun.
    """
    settings = load_settings()
    require_current(inspect_database(settings))
    check_signers(settings)
    prepare_instance(settings)
    source = _source(options)
    services = Services(settings)
    importing = TorchServeImport(
        registry=services.registry,
        folders=services.folders,
        runtime=services.runtime,
        registration=services.registration,
        leases=services.leases,
        limits=settings.limits,
        policy=settings.model_requirements,
    )
    outcomes = importing.run(source, command_origin(), only=options.workflow, is_dry=options.dry_run)
    try:
        return _report(outcomes, is_dry=options.dry_run)
    except KeyboardInterrupt:
        # What was under way is undone by the service, as after any death of this process.
        print("wfmgmt: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _source(options: argparse.Namespace) -> Source:
    url = management_address(options.url)
    folders = {
        "workflow": _folder("--workflow-store", options.workflow_store, ".war"),
        "model": _folder("--model-store", options.model_store, ".mar"),
    }
    return Source(
        listing=TorchServeListing(
            url.requested, authorization=url.authorization, key_file=options.key_file, ca_bundle=options.ca_bundle
        ),
        stores={store: folder for store, folder in folders.items() if folder is not None},
    )


def management_address(text: str) -> RemoteUrl:
    """Return where a management API is.

    Raises:
        BadRequest: It is not the address of a server, or more than that.
    """
    try:
        address = parse_url(text)
    except (DownloadFailed, RelativePathRefused) as error:
        raise BadRequest("The url is not the address of a server.") from error
    if "?" in text or "#" in text:
        raise BadRequest("The url has to be the management address alone, without a query.")
    return address


def _folder(option: str, folder: Path | None, suffix: str) -> ArchiveFolder | None:
    if folder is None:
        return None
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise BadRequest(f"{option}: {folder} is no folder that can be read: {error.strerror}") from error
    return ArchiveFolder(folder=folder, suffix=suffix)


def _report(outcomes: Iterator[Outcome], *, is_dry: bool) -> int:
    """Print a line for each workflow as it comes, what there is to note on it, and the counts."""
    counts: Counter[Verdict] = Counter()
    failure: WfmgmtError | None = None
    try:
        for outcome in outcomes:
            counts[outcome.verdict] += 1
            reason = f": {outcome.reason}" if outcome.reason else ""
            print(printable(f"{outcome.workflow}: {outcome.verdict}{reason}"), flush=True)
            for note in outcome.notes:
                print(printable(f"  {note}"), flush=True)
    except RuntimeUnavailable as error:
        failure = error
        print(f"wfmgmt: {error} Workflows can only be imported while the service runs.", file=sys.stderr)
    unused = Verdict.REGISTERED if is_dry else Verdict.PLANNED
    print(", ".join(f"{counts[verdict]} {words}" for verdict, words in _COUNTED.items() if verdict is not unused))
    return 1 if counts[Verdict.NOT_IMPORTED] or failure else 0
