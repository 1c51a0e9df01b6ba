"""`wfmgmt scale` and `update`."""

import argparse
from typing import Any

from wfmgmt.cli.remote.arguments import version_argument
from wfmgmt.cli.remote.command import RemoteCommand, write_options
from wfmgmt.cli.remote.workflows import status_text
from wfmgmt.client import calls
from wfmgmt.client.answers import Scaled
from wfmgmt.client.call import Call
from wfmgmt.logs import escaped


def _scale_arguments(parser: argparse.ArgumentParser) -> None:
    version_argument(parser)
    parser.add_argument("--node", help="the node; every model unless given")
    parser.add_argument("--min", type=int, metavar="N", help="workers that are always up")
    parser.add_argument("--max", type=int, metavar="N", help="workers at most")


def _scale(options: argparse.Namespace) -> Call[Scaled]:
    return calls.scale(
        options.name.workflow,
        version=options.name.version,
        node=options.node,
        min_workers=options.min,
        max_workers=options.max,
        wait=options.wait,
        timeout_s=options.timeout,
        **write_options(options),
    )


def _update_arguments(parser: argparse.ArgumentParser) -> None:
    version_argument(parser)
    parser.add_argument("--node", required=True, help="the node")
    parser.add_argument("--batch-size", type=int, metavar="N", help="requests handed to the handler together")
    parser.add_argument("--max-batch-delay", type=int, metavar="MS", help="longest wait for a batch to fill")
    parser.add_argument("--timeout-ms", type=int, metavar="MS", help="longest run of one attempt")
    parser.add_argument("--retry-attempts", type=int, metavar="N", help="further attempts after a failure")
    parser.add_argument("--reset", action="store_true", help="give it the settings of the spec back")


def _update(options: argparse.Namespace) -> Call[Scaled]:
    settings = {
        "batch_size": options.batch_size,
        "max_batch_delay_ms": options.max_batch_delay,
        "timeout_ms": options.timeout_ms,
        "retry_attempts": options.retry_attempts,
    }
    is_given = any(value is not None for value in settings.values())
    if options.reset == is_given:
        raise ValueError("give settings, or --reset, and not both")
    workflow, version = options.name
    if options.reset:
        return calls.reset(workflow, options.node, version=version, **write_options(options))
    return calls.update(workflow, options.node, version=version, **settings, **write_options(options))


def _scaled_text(_: argparse.Namespace, scaled: Scaled) -> str:
    return escaped(" ".join(filter(None, (scaled.status, scaled.id))))


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "scale": RemoteCommand(
        arguments=_scale_arguments,
        call=_scale,
        show=_scaled_text,
        names=lambda options, _: [str(options.name)],
        is_write=True,
    ),
    "update": RemoteCommand(
        arguments=_update_arguments,
        call=_update,
        show=status_text,
        names=lambda options, _: [str(options.name)],
        is_write=True,
    ),
}
