"""The table from errors to HTTP."""

import inspect

import pytest

from wfmgmt import errors
from wfmgmt.http.answers import STATUS_AND_TYPE, status_and_type

NEVER_ANSWERED = {
    errors.WfmgmtError,
    errors.CannotStart,
    errors.SettingsInvalid,
    errors.DatabaseUnusable,
    errors.ResourcesExhausted,
    errors.AlreadyInUse,
    errors.NotImported,  # These two are a command's.
    errors.BackupRefused,
}
ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.WfmgmtError) and not kind.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in NEVER_ANSWERED], ids=lambda kind: kind.__name__)
def test_every_error_has_a_line_of_its_own_or_of_its_parent(kind: type[errors.WfmgmtError]) -> None:
    """No error that a request can meet falls through to 500 by accident."""
    assert any(parent in STATUS_AND_TYPE for parent in kind.__mro__)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_drawn_in_the_tree(kind: type[errors.WfmgmtError]) -> None:
    """The picture at the top of the module shows every class."""
    assert kind.__name__ in (errors.__doc__ or "").split()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.WorkflowNotFound("x"), (404, "WorkflowNotFoundException")),
        (errors.VersionNotFound("x", "9"), (404, "WorkflowVersionNotFoundException")),
        (errors.RelativePathRefused("../x"), (404, "WorkflowNotFoundException")),
        (errors.InvalidDag("x"), (400, "InvalidDAGException")),
        (errors.TooManyRegistrations("x"), (503, "ServiceUnavailableException")),
        (errors.InsufficientStorage("x"), (507, "InsufficientStorageException")),
        (errors.NodesFailedToLoad("w", {"n": "r"}), (500, "WorkflowException")),
        (errors.NodesNotLoadable("w", {"n": "r"}), (400, "WorkflowException")),
        (errors.NodeFailed("n", 2, "r"), (500, "InternalServerException")),
        (errors.NodeRefused("n", 1, "r", 422), (422, "PredictionException")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_status_and_type_follow_the_most_specific_line(error: errors.WfmgmtError, expected: tuple[int, str]) -> None:
    """A subclass answers as its nearest ancestor in the table."""
    assert status_and_type(error) == expected


def test_unknown_version_reads_as_torchserve_writes_it_of_models() -> None:
    """The message has the form that TorchServe 0.12.0 gives it for models."""
    assert str(errors.VersionNotFound("seq", "9")) == "Workflow version: 9 does not exist for workflow: seq"


def test_node_failures_read_as_torchserve_writes_them() -> None:
    """The message has the form that TorchServe 0.12.0 gives it."""
    error = errors.NodesFailedToLoad("nomar", {"mx": "Model not found at: does_not_exist.mar"})
    assert str(error) == (
        "Workflow nomar has failed to register. Failures: [Workflow Node nomar__mx failed to register. "
        "Details: Model not found at: does_not_exist.mar]"
    )
