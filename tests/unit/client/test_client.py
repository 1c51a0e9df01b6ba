"""The methods of the client, against the requests that they send and the commands that do the same."""

import inspect
from typing import get_args

import pytest

from wfmgmt.cli.main import COMMANDS
from wfmgmt.client import Client, archive_calls, audit_calls, calls, operation_calls, token_calls

#: What makes another request of one.
TURNS = {"planned", "later", "or_accepted"}
BUILDERS = {
    name: function
    for module in (calls, archive_calls, audit_calls, operation_calls, token_calls)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_") and name not in TURNS
}


@pytest.mark.parametrize("name", BUILDERS)
def test_every_request_has_a_method_with_its_arguments(name: str) -> None:
    """And with its docs; it returns what the answer says, where the function returns the request."""
    method, function = getattr(Client, name), BUILDERS[name]
    this, *parameters = inspect.signature(method).parameters.values()
    assert (this.name, parameters) == ("self", list(inspect.signature(function).parameters.values()))
    assert get_args(inspect.signature(function).return_annotation) == (inspect.signature(method).return_annotation,)
    assert inspect.getdoc(method) == inspect.getdoc(function)


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry.group is not None])
def test_every_command_has_a_method(name: str) -> None:
    """Of the same name."""
    assert callable(getattr(Client, name.replace("-", "_")))


def test_dry_run_has_no_key() -> None:
    """It changes nothing, and must not use up the key of the change."""
    call = calls.planned(calls.rollback("seq", to=3, idempotency_key="once", if_revision=4))
    assert (call.query, call.headers, call.is_write) == ({"to": "3", "dry_run": "true"}, {"If-Match": '"4"'}, False)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Otherwise `unregister` of such a version would be that of the whole workflow."""
    with pytest.raises(ValueError, match="expected the name of a workflow, version or node"):
        calls.unregister("seq", version=name)
    with pytest.raises(ValueError, match="expected the name of a workflow, version or node"):
        calls.describe(name)


def test_names_are_quoted() -> None:
    """A name is one part of the path, whatever it has."""
    assert calls.scale("a/b", node="two words").path == "/workflows/a%2Fb/nodes/two%20words"
