"""Errors of nodes that do not come up.

WfmgmtError
├── NodesNotLoadable            model files that are missing or invalid, found without running code
├── NodesFailedToLoad           workers that did not come up
├── ModelNameTaken              the model server has a model of that name that is not ours
├── ModelServerFailed           the model server failed while it loaded models
├── ModelServerTimedOut         the model server did not answer in time while it loaded models
└── Unavailable
    ├── ModelServerUnreachable  the model server cannot be reached
    └── TooManyWorkers          as many workers as allowed run
"""

from collections.abc import Mapping

from wfmgmt.errors import Unavailable, WfmgmtError


class _NodeFailures(WfmgmtError):
    """Nodes of one workflow failed; the text has the form of TorchServe 0.12.0."""

    def __init__(self, workflow: str, failures: Mapping[str, str]) -> None:
        listed = ", ".join(
            f"Workflow Node {workflow}__{node} failed to register. Details: {reason}"
            for node, reason in failures.items()
        )
        super().__init__(f"Workflow {workflow} has failed to register. Failures: [{listed}]")


class NodesNotLoadable(_NodeFailures):
    """Model files are missing or invalid; no code was run to find out."""


class NodesFailedToLoad(_NodeFailures):
    """Workers did not come up: their handlers failed to import, raised, exited or took too long."""


class ModelNameTaken(_NodeFailures):
    """The model server holds models of these names that are not ours, and that we leave alone."""


class ModelServerFailed(_NodeFailures):
    """The model server failed, ended the connection or sent a malformed answer."""


class ModelServerTimedOut(_NodeFailures):
    """The model server did not answer in time."""


class ModelServerUnreachable(_NodeFailures, Unavailable):
    """The model server cannot be reached, or lost its forkserver, so models cannot be loaded."""


class TooManyWorkers(_NodeFailures, Unavailable):
    """Nodes need more workers than the setting MAX_WORKERS leaves, or than the host has room for."""
