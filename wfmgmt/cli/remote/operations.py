"""`wfmgmt operations`, `wait` and `cancel`, and the end of what is followed."""

import argparse
import sys
import time
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, get_args

from wfmgmt.cli.remote.command import ExitCode, RemoteCommand, write_options
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls
from wfmgmt.client.answers import Accepted
from wfmgmt.client.call import Call
from wfmgmt.client.operations import Operation, Operations, Progress, State
from wfmgmt.logs import escaped

_MIB = 1024 * 1024
#: How long the service is asked to wait for the end of an operation, and the pause before it is asked again.
_LOOK_S, _POLL_S = 1, 0.2


def _operations_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=get_args(State), help="only those in this state")
    parser.add_argument("--kind", help="only those of this kind, as register")
    parser.add_argument("--workflow", metavar="NAME", help="only those on this workflow")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="how many, 100 unless given")


def _id_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the operation")


def _operations(options: argparse.Namespace) -> Call[Operations]:
    return calls.operations(state=options.state, kind=options.kind, workflow=options.workflow, limit=options.limit)


def _operations_text(_: argparse.Namespace, answer: Operations) -> str:
    headings = ("ID", "KIND", "WORKFLOW", "VERSION", "STATE", "PHASE", "PROGRESS", "SECONDS", "BY", "ARCHIVE", "ERROR")
    return table(headings, [_row(each) for each in answer.operations])


def _row(operation: Operation) -> tuple[object, ...]:
    took = (operation.ended_at or datetime.now(UTC)) - operation.created_at
    return (
        operation.id,
        operation.kind,
        operation.workflow or "-",
        operation.version,
        operation.state,
        operation.phase or "-",
        progress_text(operation.progress),
        f"{took.total_seconds():.1f}",
        operation.actor,
        operation.url,
        "-" if operation.error is None else operation.error.message,
    )


def progress_text(progress: Progress) -> str:
    """Return how far an operation is: bytes, then workers once there are some to come."""
    parts = []
    if progress.bytes:
        total = "?" if progress.total_bytes is None else f"{progress.total_bytes / _MIB:.1f}"
        parts.append(f"{progress.bytes / _MIB:.1f}/{total}MiB")
    if progress.nodes:
        ready, wanted = (sum(getattr(node, name) for node in progress.nodes.values()) for name in ("ready", "wanted"))
        parts.append(f"{ready}/{wanted} workers")
    return " ".join(parts) or "-"


def next_look(answer: Accepted | Operation) -> Call[Operation] | None:
    """Return the request for the end of an operation, after a line about how far it is; None when it is done."""
    if isinstance(answer, Operation):
        if answer.done:
            return None
        print(f"{answer.phase or answer.state}: {progress_text(answer.progress)}", file=sys.stderr, flush=True)
        time.sleep(_POLL_S)  # The service does not wait itself while too many others do.
    return calls.operation(answer.id, wait_s=_LOOK_S)


def ended_text(_: argparse.Namespace, operation: Operation) -> str:
    """Return how an operation ended."""
    error = "" if operation.error is None else f": {operation.error.message}"
    return escaped(
        f"{operation.kind} {operation.workflow or operation.url} {operation.version} {operation.state}{error}"
    )


def ended_code(operation: Operation) -> ExitCode:
    """Return the exit code that stands for the end of an operation."""
    return ExitCode.DONE if operation.state == "succeeded" else ExitCode.FAILED


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "operations": RemoteCommand(
        arguments=_operations_arguments,
        call=_operations,
        show=_operations_text,
        names=lambda _, answer: [each.id for each in answer.operations],
    ),
    "cancel": RemoteCommand(
        arguments=_id_argument,
        call=lambda options: calls.cancel(options.id, **write_options(options)),
        show=lambda _, answer: escaped(answer.status),
        names=lambda _, answer: [answer.id],
        is_write=True,
    ),
    "wait": RemoteCommand(
        arguments=_id_argument,
        call=lambda options: calls.operation(options.id, wait_s=_LOOK_S),
        show=ended_text,
        names=lambda _, operation: [operation.id],
        following=lambda _, operation: next_look(operation),
        joined=itemgetter(-1),
        code=ended_code,
    ),
}
