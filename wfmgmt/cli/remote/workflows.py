"""`wfmgmt register`, `list`, `describe` and `unregister`."""

import argparse
from typing import Any

from wfmgmt.cli.remote.command import RemoteCommand
from wfmgmt.cli.remote.text import properties, table
from wfmgmt.client import calls
from wfmgmt.client.answers import Node, Page, Registered, Status, Workflow
from wfmgmt.client.calls import Call
from wfmgmt.logs import escaped


def workflow_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of a workflow."""
    parser.add_argument("name", metavar="NAME", help="the workflow")


def status_text(_: argparse.Namespace, answer: Status) -> str:
    """Return what was done."""
    return escaped(answer.status)


def _register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="URL", help="name of a .war in the workflow store, or an http(s) URL")
    parser.add_argument("--name", help="what to call it; the archive's own name unless given")
    parser.add_argument("--response-timeout", type=int, metavar="S", help="seconds in which it has to answer a request")
    parser.add_argument("--startup-timeout", type=int, metavar="S", help="seconds in which its workers have to be up")


def _register(options: argparse.Namespace) -> Call[Registered]:
    return calls.register(
        options.archive,
        name=options.name,
        response_timeout_s=options.response_timeout,
        startup_timeout_s=options.startup_timeout,
    )


def _registered_text(_: argparse.Namespace, answer: Registered) -> str:
    return "\n".join(map(escaped, [answer.status, *(f"warning: {each}" for each in answer.warnings)]))


def _registered_name(options: argparse.Namespace, answer: Registered) -> list[str]:
    return [options.name or answer.status.split()[1]]


def _list(_: argparse.Namespace) -> Call[Page]:
    return calls.page()


def _next_page(page: Page) -> Call[Page] | None:
    return None if page.next_after is None else calls.page(after=page.next_after)


def _list_text(_: argparse.Namespace, page: Page) -> str:
    return table(("NAME", "URL"), [(each.workflow_name, each.workflow_url) for each in page.workflows])


def _described_text(_: argparse.Namespace, workflow: Workflow) -> str:
    about = properties(
        Name=workflow.workflow_name,
        Archive=workflow.workflow_url,
        SHA256=workflow.archive_sha256,
        Registered=f"{workflow.registered_at:%Y-%m-%d %H:%M:%S} UTC",
        Graph=workflow.workflow_dag,
    )
    headings = ("NODE", "KIND", "READY", "WORKERS", "BATCH", "DELAY", "TIMEOUT", "RETRIES", "ARCHIVE", "ERROR")
    return f"{about}\n\n{table(headings, [_node_row(node) for node in workflow.nodes])}"


def _node_row(node: Node) -> tuple[object, ...]:
    return (
        node.name,
        node.kind,
        node.ready_workers,
        f"{node.min_workers}-{node.max_workers}",
        node.batch_size,
        f"{node.max_batch_delay}ms",
        f"{node.timeout_ms}ms",
        node.retry_attempts,
        node.url or "-",
        node.error or "-",
    )


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "register": RemoteCommand(
        arguments=_register_arguments, call=_register, show=_registered_text, names=_registered_name
    ),
    "list": RemoteCommand(
        arguments=lambda _: None,
        call=_list,
        show=_list_text,
        names=lambda _, page: [each.workflow_name for each in page.workflows],
        following=_next_page,
    ),
    "describe": RemoteCommand(
        arguments=workflow_argument,
        call=lambda options: calls.describe(options.name),
        show=_described_text,
        names=lambda _, workflow: [workflow.workflow_name],
    ),
    "unregister": RemoteCommand(
        arguments=workflow_argument,
        call=lambda options: calls.unregister(options.name),
        show=status_text,
        names=lambda options, _: [options.name],
    ),
}
