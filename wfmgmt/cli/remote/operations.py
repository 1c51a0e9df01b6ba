"""`wfmgmt operations`, `wait` and `cancel`, and the end of what is followed."""

import argparse
import re
import time
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from wfmgmt.cli.remote.arguments import OPERATIONS_AND_NAMES, completed
from wfmgmt.cli.remote.command import ExitCode, RemoteCommand, write_options
from wfmgmt.cli.remote.progress import step
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls, operation_calls
from wfmgmt.client.answers import Accepted
from wfmgmt.client.call import Call
from wfmgmt.client.operations import Operation, Operations, State
from wfmgmt.logs import escaped

T = TypeVar("T")
#: What operations have and no workflow is likely to have.
_ID = re.compile(r"[0-9a-f]{32}")
#: How long the service is asked to wait for the end of an operation, and the pause before it is asked again.
_LOOK_S, _POLL_S = 1, 0.2


def _operations_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=get_args(State), help="only those in this state")
    parser.add_argument("--kind", help="only those of this kind: register, scale or release")
    parser.add_argument("--workflow", metavar="NAME", help="only those on this workflow")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="how many, 100 unless given")


def _operation_argument(parser: argparse.ArgumentParser) -> None:
    found = parser.add_argument(
        "id",
        metavar="ID|NAME",
        help="the operation; or the workflow (or NAME/VERSION) that it works on: the last one, or the last under way",
    )
    completed(found, OPERATIONS_AND_NAMES)


def _wait(options: argparse.Namespace) -> Call[Operation]:
    if _ID.fullmatch(options.id):
        return operation_calls.operation(options.id, wait_s=_LOOK_S)
    workflow, _, version = options.id.partition("/")
    return operation_calls.last_operation(workflow, version=version or None)


def _cancel(options: argparse.Namespace) -> Call[Any]:
    """Return the request that cancels an operation, or that for the operation on a workflow, which comes before."""
    if not _ID.fullmatch(options.id):
        return _wait(options)
    return operation_calls.cancel(options.id, **write_options(options))


def _cancel_found(options: argparse.Namespace, answer: Accepted | Operation) -> Call[Any] | None:
    return operation_calls.cancel(answer.id, **write_options(options)) if isinstance(answer, Operation) else None


def _operations(options: argparse.Namespace) -> Call[Operations]:
    return operation_calls.operations(
        state=options.state, kind=options.kind, workflow=options.workflow, limit=options.limit
    )


def _operations_text(_: argparse.Namespace, answer: Operations) -> str:
    headings = ("ID", "KIND", "WORKFLOW", "VERSION", "STATE", "PHASE", "PROGRESS", "SECONDS", "BY", "ARCHIVE", "ERROR")
    return table(headings, [_row(each) for each in answer.operations])


def _row(operation: Operation) -> tuple[object, ...]:
    took = (operation.ended_at or datetime.now(UTC)) - operation.created_at
    return (
        operation.id,
        operation.kind,
        operation.workflow or "-",
        operation.version or "-",
        operation.state,
        operation.phase or "-",
        step("", operation.progress).text,
        f"{took.total_seconds():.1f}",
        operation.actor,
        operation.url or "-",
        "-" if operation.error is None else operation.error.message,
    )


def next_look(answer: Accepted | Operation) -> Call[Operation] | None:
    """Return the request for the end of an operation; None when it is done."""
    if isinstance(answer, Operation):
        if answer.done:
            return None
        time.sleep(_POLL_S)  # The service does not wait itself while too many others do.
    return operation_calls.operation(answer.id, wait_s=_LOOK_S)


def ended_text(_: argparse.Namespace, operation: Operation) -> str:
    """Return how an operation ended."""
    error = "" if operation.error is None else f": {operation.error.message}"
    about = (operation.kind, operation.workflow or operation.url, operation.version, operation.state)
    return escaped(f"{' '.join(filter(None, about))}{error}")


def ended_code(operation: Operation) -> ExitCode:
    """Return the exit code that stands for the end of an operation."""
    return ExitCode.DONE if operation.state == "succeeded" else ExitCode.FAILED


def _next_look_if_waited_for(options: argparse.Namespace, answer: object) -> Call[Operation] | None:
    return next_look(answer) if options.wait and isinstance(answer, Accepted | Operation) else None


def followed(command: RemoteCommand[T], *, has_options: bool = True) -> RemoteCommand[Any]:
    """Return a command whose change may be an operation: that is followed to its end with `--wait`, else named.

    Args:
        command: The command.
        has_options: Whether it takes what changes of one workflow take.
    """

    def call(options: argparse.Namespace) -> Call[Any]:
        made = command.call(options)
        if options.dry_run or not made.is_write:
            return made
        return calls.or_accepted(made) if options.wait else calls.later(made)

    def show(options: argparse.Namespace, answer: T | Accepted | Operation) -> str:
        match answer:
            case Operation():
                return ended_text(options, answer)
            case Accepted():
                return f"{escaped(answer.status)} {answer.id}"
        return command.show(options, answer)

    def names(options: argparse.Namespace, answer: T | Accepted | Operation) -> list[str]:
        return [answer.id] if isinstance(answer, Accepted | Operation) else command.names(options, answer)

    def code(answer: T | Accepted | Operation) -> ExitCode:
        match answer:
            case Operation():
                return ended_code(answer)
            case Accepted():
                return ExitCode.DONE
        return command.code(answer)

    return RemoteCommand(
        arguments=command.arguments,
        call=call,
        show=show,
        names=names,
        following=_next_look_if_waited_for,
        is_looking=True,
        code=code,
        is_write=has_options,
    )


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "operations": RemoteCommand(
        arguments=_operations_arguments,
        call=_operations,
        show=_operations_text,
        names=lambda _, answer: [each.id for each in answer.operations],
    ),
    "cancel": RemoteCommand(
        arguments=_operation_argument,
        call=_cancel,
        following=_cancel_found,
        is_looked_up=True,
        is_looking=True,
        show=lambda _, answer: escaped(answer.status),
        names=lambda _, answer: [answer.id],
        is_write=True,
    ),
    "wait": RemoteCommand(
        arguments=_operation_argument,
        call=_wait,
        show=ended_text,
        names=lambda _, operation: [operation.id],
        following=lambda _, operation: next_look(operation),
        is_looking=True,
        code=ended_code,
    ),
}
