"""`wfmgmt explain`."""

import argparse
from typing import Any

from wfmgmt.cli.remote.arguments import version_argument
from wfmgmt.cli.remote.command import RemoteCommand
from wfmgmt.client import calls
from wfmgmt.client.call import Call
from wfmgmt.logs import escaped


def _explain(options: argparse.Namespace) -> Call[Any]:
    """Return the request: for people in the words of the service."""
    build = calls.explained_text if options.output == "table" else calls.explain
    return build(options.name.workflow, version=options.name.version)


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "explain": RemoteCommand(
        arguments=version_argument,
        call=_explain,
        show=lambda _, text: "\n".join(map(escaped, text.rstrip().split("\n"))),
        names=lambda _, explanation: sorted({each.node for each in explanation.problems if each.node is not None}),
    ),
}
