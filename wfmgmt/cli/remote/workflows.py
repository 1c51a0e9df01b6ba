"""`wfmgmt register`, `list`, `describe`, `unregister`, `versions` and `logs`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

from wfmgmt.cli.remote.arguments import readable, version_argument, workflow_argument
from wfmgmt.cli.remote.command import ExitCode, RemoteCommand, write_options
from wfmgmt.cli.remote.operations import ended_code, ended_text, next_look
from wfmgmt.cli.remote.text import milliseconds, properties, shares, table
from wfmgmt.client import calls
from wfmgmt.client.answers import (
    Accepted,
    ListedWorkflow,
    LogLine,
    Node,
    Page,
    Registered,
    Scaled,
    Status,
    StoreFile,
    Worker,
    Workflow,
)
from wfmgmt.client.call import Answer, Call, reader
from wfmgmt.client.operations import Operation
from wfmgmt.logs import escaped

#: The columns of nodes.
_NODE_HEADINGS = (
    "NODE",
    "KIND",
    "READY",
    "WORKERS",
    "THREADS",
    "BATCH",
    "DELAY",
    "TIMEOUT",
    "RETRIES",
    "CHANGED",
    "ARCHIVE",
    "ERROR",
)
#: Those of what was measured in the last minute, and of the workers.
_FIGURE_HEADINGS = ("NODE", "REQUESTS", "FAILURES", "QUEUED", "P50", "P99")
_WORKER_HEADINGS = ("NODE", "PID", "STARTED", "MEMORY", "THREADS")


def status_text(_: argparse.Namespace, answer: Status | Scaled) -> str:
    """Return what was done."""
    return escaped(answer.status)


def _register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "archive",
        metavar="URL|FILE",
        help="name of a .war in the workflow store, an http(s) URL, or a file here, with a slash: ./seq.war",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        type=readable,
        action="append",
        default=[],
        help="a .mar here that is sent along; may be repeated",
    )
    parser.add_argument("--name", help="what to call it; the archive's own name unless given")
    parser.add_argument("--version", help="what to call this version; needed for all but the first one")
    parser.add_argument("--set-default", action="store_true", help="send all requests to it once it is up")
    parser.add_argument("--response-timeout", type=int, metavar="S", help="seconds in which it has to answer a request")
    parser.add_argument("--startup-timeout", type=int, metavar="S", help="seconds in which its workers have to be up")
    parser.add_argument(
        "--follow", action="store_true", help="have it done by the service on its own, and say how far it is"
    )


def _register(options: argparse.Namespace) -> Call[Any]:
    is_local = "/" in options.archive and "://" not in options.archive
    call: Call[Any] = calls.register(
        "" if is_local else options.archive,
        archive=Path(options.archive) if is_local else None,
        models=options.model,
        name=options.name,
        version=options.version,
        set_default=True if options.set_default else None,
        response_timeout_s=options.response_timeout,
        startup_timeout_s=options.startup_timeout,
        **write_options(options),
    )
    if options.dry_run:
        return call
    return calls.later(call) if options.follow or not options.wait else replace(call, read=_registered_or_accepted)


def _registered_or_accepted(answer: Answer) -> Registered | Accepted:
    """Return what was answered to a registration; a service that is at work on many others carries it out later."""
    found: Registered | Accepted = reader(Accepted if answer.status == HTTPStatus.ACCEPTED else Registered)(answer)
    return found


def _follow(options: argparse.Namespace, answer: Registered | Accepted | Operation) -> Call[Operation] | None:
    if isinstance(answer, Registered) or not (options.follow or options.wait):
        return None
    return next_look(answer)


def _registered_text(options: argparse.Namespace, answer: Registered | Accepted | Operation) -> str:
    if isinstance(answer, Operation):
        return ended_text(options, answer)
    if isinstance(answer, Accepted):
        return f"{escaped(answer.status)} {answer.id}"
    return "\n".join(map(escaped, [answer.status, *(f"warning: {each}" for each in answer.warnings)]))


def _registered_name(options: argparse.Namespace, answer: Registered | Accepted | Operation) -> list[str]:
    if not isinstance(answer, Registered):
        return [answer.id]
    name = options.name or answer.status.split()[1]  # The answer has it nowhere else, and it has no spaces.
    return [name if answer.version is None else f"{name}/{answer.version}"]


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=get_args(calls.WorkflowState), help="those in this state, under way or not")
    parser.add_argument("--name", metavar="GLOB", help="those of this name, or whose names begin so: 'seq*'")
    parser.add_argument("--node", metavar="GLOB", help="those that have a node of this name, or whose name begins so")


def _is_plain(options: argparse.Namespace) -> bool:
    """Return whether the list is TorchServe's, of what is registered."""
    return options.state is None and options.name is None and options.node is None


def _list(options: argparse.Namespace) -> Call[Page]:
    if _is_plain(options):
        return calls.page()
    return calls.listed(state=options.state, name=options.name, node=options.node)


def _next_page(options: argparse.Namespace, page: Page) -> Call[Page] | None:
    if page.next_page_token is not None:
        token = page.next_page_token
        return calls.listed(state=options.state, name=options.name, node=options.node, token=token)
    return None if page.next_after is None else calls.page(after=page.next_after)


def _joined_pages(pages: Sequence[Page]) -> Page:
    return replace(pages[-1], workflows=tuple(each for page in pages for each in page.workflows))


def _list_text(options: argparse.Namespace, page: Page) -> str:
    if _is_plain(options):
        return table(("NAME", "URL"), [(each.workflow_name, each.workflow_url) for each in page.workflows])
    headings = ("NAME", "VERSION", "STATE", "URL", "OPERATION")
    return table(headings, [_state_row(each) for each in page.workflows])


def _state_row(listed: ListedWorkflow) -> tuple[object, ...]:
    operation = "-" if listed.operation is None else listed.operation.rpartition("/")[2]
    return listed.workflow_name or "-", listed.version, listed.state, listed.workflow_url, operation


def _described_text(_: argparse.Namespace, workflow: Workflow) -> str:
    about = properties(
        Name=workflow.workflow_name,
        Version=f"{workflow.version} ({workflow.state}{', default' if workflow.default else ''})",
        Revision=workflow.revision,
        Release=f"{workflow.release}: {shares(workflow.routes)}",
        Archive=_archive_text(workflow.workflow_url, workflow.store_file),
        SHA256=workflow.archive_sha256,
        Registered=f"{workflow.registered_at:%Y-%m-%d %H:%M:%S} UTC",
        Graph=workflow.workflow_dag,
    )
    nodes = workflow.nodes
    tables = [table(_NODE_HEADINGS, [_node_row(node) for node in nodes])]
    if measured := [_figure_row(node) for node in nodes if node.requests is not None]:
        tables.append(table(_FIGURE_HEADINGS, measured))
    if workers := [_worker_row(node, worker) for node in nodes for worker in node.workers]:
        tables.append(table(_WORKER_HEADINGS, workers))
    return "\n\n".join([about, *tables])


def _node_row(node: Node) -> tuple[object, ...]:
    return (
        node.name,
        node.kind,
        node.ready_workers,
        f"{node.min_workers}-{node.max_workers}",
        node.threads or "-",
        node.batch_size,
        f"{node.max_batch_delay}ms",
        f"{node.timeout_ms}ms",
        node.retry_attempts,
        " ".join(node.overridden) or "-",
        _archive_text(node.url, node.store_file),
        node.error or "-",
    )


def _archive_text(url: str | None, store_file: StoreFile | None) -> str:
    """Return what a node or workflow was registered from, and what became of that file unless it is the same."""
    if url is None:
        return "-"
    return url if store_file in {None, "same"} else f"{url} ({store_file})"


def _figure_row(node: Node) -> tuple[object, ...]:
    times = map(milliseconds, (node.p50_ms, node.p99_ms))
    return (node.name, node.requests, node.failures, node.queued, *times)


def _worker_row(node: Node, worker: Worker) -> tuple[object, ...]:
    return (
        node.name,
        worker.pid,
        f"{worker.started_at:%Y-%m-%d %H:%M:%S}",
        "-" if worker.pss_bytes is None else f"{worker.pss_bytes / 1e6:.1f}MB",
        "-" if worker.threads is None else worker.threads,
    )


def _versions_text(_: argparse.Namespace, versions: tuple[Workflow, ...]) -> str:
    headings = ("VERSION", "WEIGHT", "STATE", "REGISTERED", "ARCHIVE")
    return table(headings, [_version_row(each) for each in versions])


def _version_row(workflow: Workflow) -> tuple[object, ...]:
    weights = {route.version: route.weight for route in workflow.routes}
    return (
        workflow.version,
        weights.get(workflow.version, 0),
        workflow.state,
        f"{workflow.registered_at:%Y-%m-%d %H:%M:%S}",
        workflow.workflow_url,
    )


def _logs_arguments(parser: argparse.ArgumentParser) -> None:
    version_argument(parser)
    parser.add_argument("--node", metavar="N", help="lines about this node only")
    parser.add_argument("-n", "--lines", type=int, metavar="N", help="lines at most; 100 unless given")


def _logs_text(_: argparse.Namespace, lines: tuple[LogLine, ...]) -> str:
    return "\n".join(map(_log_line_text, lines))


def _log_line_text(line: LogLine) -> str:
    """Return a record; further lines of its text are indented, so that none can pass for another record."""
    first, *rest = line.text.split("\n")
    where = line.node if line.pid is None else f"{line.node} {line.pid}"
    head = f"{line.at:%Y-%m-%d %H:%M:%S} {line.level.upper()} [{where}] {first}"
    return "\n    ".join(map(escaped, [head, *filter(None, rest)]))


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "register": RemoteCommand(
        arguments=_register_arguments,
        call=_register,
        show=_registered_text,
        names=_registered_name,
        following=_follow,
        is_looking=True,
        code=lambda answer: ended_code(answer) if isinstance(answer, Operation) else ExitCode.DONE,
        is_write=True,
    ),
    "list": RemoteCommand(
        arguments=_list_arguments,
        call=_list,
        show=_list_text,
        names=lambda _, page: [each.workflow_name for each in page.workflows if each.workflow_name],
        following=_next_page,
        joined=_joined_pages,
    ),
    "describe": RemoteCommand(
        arguments=version_argument,
        call=lambda options: calls.describe(options.name.workflow, version=options.name.version),
        show=_described_text,
        names=lambda options, _: [str(options.name)],
    ),
    "unregister": RemoteCommand(
        arguments=version_argument,
        call=lambda options: calls.unregister(
            options.name.workflow, version=options.name.version, **write_options(options)
        ),
        show=status_text,
        names=lambda options, _: [str(options.name)],
        is_write=True,
    ),
    "versions": RemoteCommand(
        arguments=workflow_argument,
        call=lambda options: calls.versions(options.name),
        show=_versions_text,
        names=lambda _, versions: [f"{each.workflow_name}/{each.version}" for each in versions],
    ),
    "logs": RemoteCommand(
        arguments=_logs_arguments,
        call=lambda options: calls.logs(
            options.name.workflow, version=options.name.version, node=options.node, lines=options.lines
        ),
        show=_logs_text,
        names=lambda _, lines: sorted({line.node for line in lines}),
    ),
}
