"""`wfmgmt operations`, `wait` and `cancel`, and the end of what is followed."""

import argparse
import re
import time
from datetime import UTC, datetime
from typing import Any, get_args

from wfmgmt.cli.remote.arguments import OPERATIONS, OPERATIONS_AND_NAMES, completed
from wfmgmt.cli.remote.command import ExitCode, RemoteCommand, write_options
from wfmgmt.cli.remote.progress import step
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls
from wfmgmt.client.answers import Accepted
from wfmgmt.client.call import Call
from wfmgmt.client.operations import Operation, Operations, State
from wfmgmt.logs import escaped

#: What operations have and no workflow is likely to have.
_ID = re.compile(r"[0-9a-f]{32}")
#: How long the service is asked to wait for the end of an operation, and the pause before it is asked again.
_LOOK_S, _POLL_S = 1, 0.2


def _operations_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=get_args(State), help="only those in this state")
    parser.add_argument("--kind", help="only those of this kind, as register")
    parser.add_argument("--workflow", metavar="NAME", help="only those on this workflow")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="how many, 100 unless given")


def _id_argument(parser: argparse.ArgumentParser) -> None:
    completed(parser.add_argument("id", metavar="ID", help="the operation"), OPERATIONS)


def _wait_arguments(parser: argparse.ArgumentParser) -> None:
    found = parser.add_argument(
        "id",
        metavar="ID|NAME",
        help="the operation; or the workflow (or NAME/VERSION) that it works on: the last one, or the last under way",
    )
    completed(found, OPERATIONS_AND_NAMES)


def _wait(options: argparse.Namespace) -> Call[Operation]:
    if _ID.fullmatch(options.id):
        return calls.operation(options.id, wait_s=_LOOK_S)
    workflow, _, version = options.id.partition("/")
    return calls.last_operation(workflow, version=version or None)


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
        step("", operation.progress).text,
        f"{took.total_seconds():.1f}",
        operation.actor,
        operation.url,
        "-" if operation.error is None else operation.error.message,
    )


def next_look(answer: Accepted | Operation) -> Call[Operation] | None:
    """Return the request for the end of an operation; None when it is done."""
    if isinstance(answer, Operation):
        if answer.done:
            return None
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
        arguments=_wait_arguments,
        call=_wait,
        show=ended_text,
        names=lambda _, operation: [operation.id],
        following=lambda _, operation: next_look(operation),
        is_looking=True,
        code=ended_code,
    ),
}
