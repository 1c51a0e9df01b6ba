"""`wfmgmt operations`."""

import argparse
from datetime import UTC, datetime
from typing import Any, get_args

from wfmgmt.cli.remote.command import RemoteCommand
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls
from wfmgmt.client.call import Call
from wfmgmt.client.operations import Operation, Operations, Progress, State

_MIB = 1024 * 1024


def _operations_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=get_args(State), help="only those in this state")
    parser.add_argument("--workflow", metavar="NAME", help="only those on this workflow")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="how many, 100 unless given")


def _operations(options: argparse.Namespace) -> Call[Operations]:
    return calls.operations(state=options.state, workflow=options.workflow, limit=options.limit)


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


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "operations": RemoteCommand(
        arguments=_operations_arguments,
        call=_operations,
        show=_operations_text,
        names=lambda _, answer: [each.id for each in answer.operations],
    ),
}
