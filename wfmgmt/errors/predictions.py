"""Errors that answer predictions alone.

WfmgmtError
├── RequestTooLarge             the body of a prediction is longer than the settings allow
├── RequestTooSlow              the head or the body of a prediction did not arrive in time
├── UnsupportedEncoding         the body of a prediction is compressed in a way that is not read
├── ModelNotFound               no node has the name of a model that a prediction is for
├── ModelVersionNotFound        the workflow of that node has no such version
├── NodeFailed                  a node could not answer a prediction, in all its attempts
│   ├── NodeServerFailed        because its model server failed
│   └── NodeServerTimedOut      because its model server did not answer in time
├── WorkflowTimedOut            a workflow did not answer a prediction within its response_timeout
└── NodeRefused                 a handler refused a prediction with an HTTP status of its choice
"""

from collections.abc import Sequence

from wfmgmt.errors import WfmgmtError


class RequestTooLarge(WfmgmtError):
    """The body of a prediction is longer than the settings allow."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The body of the request is longer than {limit_bytes} bytes, the limit of this server "
            "(WFMGMT_REQUEST_LIMIT_BYTES)."
        )


class RequestTooSlow(WfmgmtError):
    """A part of a prediction did not arrive in time."""

    def __init__(self, part: str, timeout_s: float) -> None:
        super().__init__(f"The {part} of the request did not arrive within {timeout_s:g} s.")


class UnsupportedEncoding(WfmgmtError):
    """The body of a prediction is compressed in a way that is not read."""

    def __init__(self, encoding: str, supported: Sequence[str]) -> None:
        super().__init__(f"Content-Encoding {encoding!r} is not supported; expected one of {', '.join(supported)}.")


class ModelNotFound(WfmgmtError):
    """No node has the name of a model that a prediction is for; the text is TorchServe's."""

    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found: {model}")


class ModelVersionNotFound(WfmgmtError):
    """The workflow of a node has no such version; the text is TorchServe's."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")


class NodeFailed(WfmgmtError):
    """A node could not answer a prediction; the text starts as that of TorchServe 0.12.0.

    Attributes:
        node: The node.
        attempt: How many attempts were made.
        hint: What the client may want to know besides; None for nothing.
    """

    def __init__(self, node: str, attempt: int, reason: str, hint: str | None = None) -> None:
        super().__init__(f"Error executing {node}: {reason}")
        self.node = node
        self.attempt = attempt
        self.hint = hint


class NodeServerFailed(NodeFailed):
    """The model server of a node failed, ended the connection or sent a malformed answer."""


class NodeServerTimedOut(NodeFailed):
    """The model server of a node did not answer in time."""


class WorkflowTimedOut(WfmgmtError):
    """A workflow did not answer a prediction in time."""

    def __init__(self, workflow: str, timeout_s: float) -> None:
        super().__init__(f"Workflow {workflow} did not answer within its response_timeout of {timeout_s:g} s.")


class NodeRefused(WfmgmtError):
    """A handler refused a prediction on purpose.

    Attributes:
        node: The node.
        attempt: In which attempt.
        status: The HTTP status that the handler chose, 400 to 599.
    """

    def __init__(self, node: str, attempt: int, reason: str, status: int) -> None:
        super().__init__(reason)
        self.node = node
        self.attempt = attempt
        self.status = status
