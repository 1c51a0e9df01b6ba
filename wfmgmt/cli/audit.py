"""`wfmgmt audit`: the audit trail read, exported, archived and held against its chain, in the database itself."""

import argparse
import json
import re
import sys
from contextlib import closing
from pathlib import Path

from wfmgmt.cli.audit_archive import archive, rows_shown
from wfmgmt.cli.audit_evidence import Evidence, read_evidence
from wfmgmt.cli.remote.progress import ProgressLine
from wfmgmt.cli.remote.text import properties, table
from wfmgmt.cli.settings import load_settings
from wfmgmt.deployment.database import inspect_database
from wfmgmt.domain.audit import AuditAction, AuditOutcome, Receipt
from wfmgmt.errors import BadRequest
from wfmgmt.errors.access import EventNotFound
from wfmgmt.registry.audit_reading import EventFilter, RecordedEvent
from wfmgmt.registry.registry import Registry, parsed_moment
from wfmgmt.registry.schema import require_current
from wfmgmt.services.anchor_keys import signature_check
from wfmgmt.services.audit_lines import csv_lines, event_json, json_lines
from wfmgmt.services.audit_trail import AuditTrail

_DIGITS = 12
_FORMATS = {"ndjson": json_lines, "csv": csv_lines}


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="action")
    listing = commands.add_parser("list", help="list events, the newest first")
    _filter_arguments(listing)
    listing.add_argument("-n", "--limit", type=_count, default=100, metavar="N", help="how many, 100 unless given")
    show = commands.add_parser("show", help="show one event, with all that it has")
    show.add_argument("id", metavar="ID", type=_count, help="its number")
    export = commands.add_parser("export", help="write events to standard output, the oldest first")
    _filter_arguments(export)
    export.add_argument("--format", choices=list(_FORMATS), default="ndjson", help="ndjson unless given")
    archive = commands.add_parser("archive", help="move the oldest events into files, which stay under the chain")
    archive.add_argument(
        "--before", metavar="TIME", type=_moment, required=True, help="events from before: 2026-01-31, or a time"
    )
    archive.add_argument("--to", metavar="FOLDER", type=Path, help="where to write files; else `audit` in the instance")
    archive.add_argument("--dry-run", action="store_true", help="say which events that would be, and change nothing")
    verify = commands.add_parser(
        "verify", help="recompute the chain of hashes; exit 1 at the first row that does not fit"
    )
    verify.add_argument(
        "--receipt",
        metavar="N:HASH",
        type=_receipt,
        action="append",
        default=[],
        help="of a row that was there, as the header x-wfmgmt-audit of an answer has it; may be repeated",
    )
    verify.add_argument(
        "--against",
        metavar="FILE",
        type=Path,
        help="checkpoints (WFMGMT_AUDIT_ANCHOR), receipts, or JSON with id and hash, one a line",
    )
    verify.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="public key in PEM that has to have signed each checkpoint; may be repeated, for earlier keys",
    )


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", metavar="NAME", help="about this workflow")
    parser.add_argument("--what", metavar="ACTION", choices=[each.value for each in AuditAction], help="of this kind")
    parser.add_argument("--actor", metavar="NAME", help="of this actor, like token:ci")
    parser.add_argument("--outcome", choices=[each.value for each in AuditOutcome], help="that ended so")
    parser.add_argument("--address", help="from this address")
    parser.add_argument("--request-id", metavar="ID", help="of this request")
    parser.add_argument("--after", metavar="TIME", type=_moment, help="recorded then or later: 2026-01-31, or a time")
    parser.add_argument("--before", metavar="TIME", type=_moment, help="recorded before: the same")
    parser.add_argument("--text", default="", help="with this text in the detail")


def run(options: argparse.Namespace) -> int:
    """Read, export or verify.

    Returns:
        0 when that is done, 1 when the chain does not fit, or there is no such event.
    """
    settings = load_settings()
    state = inspect_database(settings)
    require_current(state)
    with closing(Registry(settings.database)) as registry:
        if options.action == "verify":
            return _verify(registry, settings.audit_folder, options, state.identity)
        if options.action == "archive":
            return archive(registry, settings.audit_folder, options.before, options.to, is_dry_run=options.dry_run)
        return _read(AuditTrail(registry), options)


def _read(trail: AuditTrail, options: argparse.Namespace) -> int:
    if options.action == "show":
        return _show(trail, options.id)
    wanted = EventFilter(
        workflow=options.workflow,
        action=options.what,
        actor=options.actor,
        outcome=options.outcome,
        address=options.address,
        request_id=options.request_id,
        since=options.after,
        until=options.before,
        text=options.text,
    )
    if options.action == "export":
        sys.stdout.writelines(_FORMATS[options.format](trail.all(wanted, is_ascending=True)))
        _print_archived(trail)
        return 0
    events = list(trail.all(wanted, limit=options.limit))
    print(_listed(events))
    if len(events) < options.limit:
        _print_archived(trail)
    return 0


def _print_archived(trail: AuditTrail) -> None:
    """Say on standard error which events are in files, and so not among those that were printed."""
    segments = trail.segments()
    if segments:
        files = f"{segments[0].file_name} to {segments[-1].file_name}" if len(segments) > 1 else segments[0].file_name
        print(f"wfmgmt: events 1 to {segments[-1].last_id} were archived: {files}", file=sys.stderr)


def _verify(registry: Registry, segments: Path, options: argparse.Namespace, origin: str | None) -> int:
    evidence, file = Evidence(), options.against
    if file is not None:
        check = signature_check(options.key) if options.key else None
        evidence = read_evidence(file, origin=origin, check=check)
    elif options.key:
        raise BadRequest("--key: expected --against, too, with the checkpoints that it signed.")
    evidence.receipts += options.receipt
    if evidence.problem:
        print(f"{file}: {evidence.problem}")
    if evidence.note:
        print(f"{file}: {evidence.note}")
    with ProgressLine("verifying") as line:
        report = registry.verify_audit(evidence.rows, segments=segments, on_rows=rows_shown(line, "verifying"))
    if report.broken_at is not None:
        print(f"row {report.broken_at} does not fit: {report.reason}; the {report.events} rows before it do")
        return 1
    print(f"{report.events} rows fit{evidence}; hash of the last one: {report.last_hash}")
    return 1 if evidence.problem else 0


def _receipt(text: str) -> Receipt:
    try:
        return Receipt.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _show(trail: AuditTrail, number: int) -> int:
    try:
        event = trail.event(number)
    except EventNotFound as error:
        print(f"wfmgmt: {error}", file=sys.stderr)
        return 1
    values = {name: value for name, value in event_json(event).items() if name != "detail"}
    print(properties(**values))
    print(json.dumps(event.detail, indent=2, ensure_ascii=False))
    return 0


def _listed(events: list[RecordedEvent]) -> str:
    headings = ("ID", "AT", "ACTOR", "ADDRESS", "ACTION", "WORKFLOW", "OUTCOME", "HASH")
    return table(
        headings,
        [
            (
                each.id,
                each.at[:19].replace("T", " "),
                each.actor,
                each.address or "-",
                each.action,
                each.workflow or "-",
                each.outcome,
                each.hash[:_DIGITS],
            )
            for each in events
        ],
    )


def _moment(text: str) -> str:
    try:
        return parsed_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if re.fullmatch("[1-9][0-9]{0,17}", text) is None:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)
