"""`wfmgmt graph`: the graph of a workflow, for the terminal or for other programs."""

import argparse
from typing import Any, get_args

from wfmgmt.cli.remote.arguments import version_argument
from wfmgmt.cli.remote.command import RemoteCommand
from wfmgmt.client import calls
from wfmgmt.logs import escaped


def _arguments(parser: argparse.ArgumentParser) -> None:
    version_argument(parser)
    formats = get_args(calls.GraphFormat)
    parser.add_argument("--format", choices=formats, default="text", help="what to draw it as; text unless given")


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "graph": RemoteCommand(
        arguments=_arguments,
        call=lambda options: calls.graph(
            options.name.workflow, version=options.name.version, graph_format=options.format
        ),
        show=lambda _, drawing: "\n".join(map(escaped, drawing.removesuffix("\n").split("\n"))),
        names=lambda options, _: [str(options.name)],
    )
}
