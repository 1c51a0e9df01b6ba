"""Which names workflows, versions and nodes may have, and how names from outside are shown in messages."""

import difflib
import re
from collections.abc import Iterable

from wfmgmt.domain.redaction import redacted
from wfmgmt.errors import BadRequest, InvalidWorkflow, WorkflowNotFound

WORKFLOW_NAME_FORM = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
VERSION_FORM = "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
NODE_NAME_FORM = r"\w[\w .-]{0,127}"

#: No versions, since they have a meaning of their own where a version can stand in a path or a command.
RESERVED_VERSIONS = (
    "all",
    "latest",
    "default",
    "versions",
    "releases",
    "rollback",
    "traffic",
    "rollout",
    "nodes",
    "diff",
    "explain",
    "graph",
    "logs",
    "samples",
)

_WORKFLOW_NAME = re.compile(WORKFLOW_NAME_FORM)
_VERSION = re.compile(VERSION_FORM)
_NODE_NAME = re.compile(rf"(?!.* $){NODE_NAME_FORM}")
_MAX_NODE_NAME_CHARS = 128
_MAX_SHOWN_CHARS = 64


def is_workflow_name(text: str) -> bool:
    """Return whether a workflow may have this name."""
    return _WORKFLOW_NAME.fullmatch(text) is not None


def check_workflow_name(name: str) -> str:
    """Return the name of a workflow unchanged.

    Raises:
        BadRequest: The name does not have the allowed form.
    """
    if not is_workflow_name(name):
        raise BadRequest(f"Workflow name {quoted(name)} is not allowed, it has to be of the form {WORKFLOW_NAME_FORM}")
    return name


def check_may_exist(name: str) -> None:
    """Look whether there can be a workflow of a name, before a database is asked that does not take every text.

    Raises:
        WorkflowNotFound: No workflow may have it.
    """
    if not is_workflow_name(name):
        raise WorkflowNotFound(name)


def is_version(text: str) -> bool:
    """Return whether a version may be called this."""
    return _VERSION.fullmatch(text) is not None and text not in RESERVED_VERSIONS


def check_version(version: str) -> str:
    """Return a version unchanged.

    Raises:
        BadRequest: It does not have the allowed form, or is a reserved word.
    """
    if version in RESERVED_VERSIONS:
        raise BadRequest(
            f"Workflow version {quoted(version)} is not allowed, reserved are {', '.join(RESERVED_VERSIONS)}"
        )
    if not is_version(version):
        raise BadRequest(f"Workflow version {quoted(version)} is not allowed, it has to be of the form {VERSION_FORM}")
    return version


def check_node_name(name: str, where: str) -> str:
    """Return the name of a node unchanged.

    Letters and digits of any language count, and spaces inside. Any Python identifier is a good name besides, for
    function nodes are called by their names.

    Args:
        name: Name of a model or function.
        where: Key path in the spec, for the message.

    Raises:
        InvalidWorkflow: The name does not have the allowed form.
    """
    is_identifier = name.isidentifier() and len(name) <= _MAX_NODE_NAME_CHARS
    if not is_identifier and not _NODE_NAME.fullmatch(name):
        raise InvalidWorkflow(
            f"{where}: expected a name of the form {NODE_NAME_FORM} with no space at its end, got {quoted(name)}"
        )
    return name


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that looks most like the given one, None when none comes close."""
    if len(word) > _MAX_SHOWN_CHARS:
        return None
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def quoted(text: str) -> str:
    """Return text from outside in quotes for a message: without secrets, escaped, and shortened when it is long."""
    return repr(shortened(redacted(text)))


def shortened(text: str) -> str:
    """Return the text, or its beginning and an ellipsis when it is long."""
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"


def printable(text: str) -> str:
    """Return text from outside on one line, without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)
