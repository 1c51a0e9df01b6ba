"""The table from errors to HTTP."""

import inspect
import pkgutil
from types import ModuleType

import pytest

from wfmgmt import errors
from wfmgmt.errors import access, commands, declared, loading, predictions, uploads
from wfmgmt.http.answers import STATUS_AND_TYPE, status_and_type


def _leaves(module: ModuleType) -> list[type[errors.WfmgmtError]]:
    """Return the errors that a module defines."""
    kinds = (kind for name, kind in inspect.getmembers(module, inspect.isclass) if not name.startswith("_"))
    own = [kind for kind in kinds if issubclass(kind, errors.WfmgmtError) and kind.__module__ == module.__name__]
    return [kind for kind in own if kind is not errors.WfmgmtError]


@pytest.mark.parametrize(
    "kind",
    [*_leaves(errors), *_leaves(declared), *_leaves(loading), *_leaves(predictions), *_leaves(uploads)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_has_a_line_of_its_own_or_of_its_parent(kind: type[errors.WfmgmtError]) -> None:
    """No error that a request can meet falls through to 500 by accident."""
    assert any(parent in STATUS_AND_TYPE for parent in kind.__mro__)


@pytest.mark.parametrize("kind", _leaves(commands), ids=lambda kind: kind.__name__)
def test_no_request_meets_an_error_of_a_command(kind: type[errors.WfmgmtError]) -> None:
    """What ends a command or a start has an exit code, and no status."""
    assert not any(parent in STATUS_AND_TYPE for parent in kind.__mro__)


@pytest.mark.parametrize(
    "module", [errors, access, declared, loading, predictions, uploads, commands], ids=lambda module: module.__name__
)
def test_every_error_is_drawn_in_the_tree_of_its_module(module: ModuleType) -> None:
    """The picture at the top of a module shows every class in it."""
    drawn = (module.__doc__ or "").split()
    assert [kind.__name__ for kind in _leaves(module) if kind.__name__ not in drawn] == []


def test_every_module_of_errors_is_looked_at() -> None:
    """A module that is added to the package gets into these tests, too."""
    assert {module.name for module in pkgutil.iter_modules(errors.__path__)} == {
        "access",
        "commands",
        "declared",
        "loading",
        "predictions",
        "uploads",
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.WorkflowNotFound("x"), (404, "WorkflowNotFoundException")),
        (errors.VersionNotFound("x", "9"), (404, "WorkflowVersionNotFoundException")),
        (errors.RelativePathRefused("../x"), (404, "WorkflowNotFoundException")),
        (errors.InvalidDag("x"), (400, "InvalidDAGException")),
        (errors.TooManyRegistrations("x"), (503, "ServiceUnavailableException")),
        (errors.InsufficientStorage("x"), (507, "InsufficientStorageException")),
        (loading.NodesFailedToLoad("w", {"n": "r"}), (500, "WorkflowException")),
        (loading.NodesNotLoadable("w", {"n": "r"}), (400, "WorkflowException")),
        (predictions.NodeFailed("n", 2, "r"), (500, "InternalServerException")),
        (predictions.NodeRefused("n", 1, "r", 422), (422, "PredictionException")),
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
    error = loading.NodesFailedToLoad("nomar", {"mx": "Model not found at: does_not_exist.mar"})
    assert str(error) == (
        "Workflow nomar has failed to register. Failures: [Workflow Node nomar__mx failed to register. "
        "Details: Model not found at: does_not_exist.mar]"
    )
