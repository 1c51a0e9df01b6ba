"""What the client returns, against the schemas that the service describes its answers with."""

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter

from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.client import answers

SCHEMAS: dict[str, Any] = MANAGEMENT_API["components"]["schemas"]
WORKFLOW = SCHEMAS["Workflow"]["properties"]
#: Each class, and the schema that it stands for.
PAIRS: dict[type, dict[str, Any]] = {
    answers.Status: SCHEMAS["Status"],
    answers.Registered: SCHEMAS["Registered"],
    answers.Page: SCHEMAS["Page"],
    answers.ListedWorkflow: SCHEMAS["Page"]["properties"]["workflows"]["items"],
    answers.Workflow: SCHEMAS["Workflow"],
    answers.Node: WORKFLOW["nodes"]["items"],
    answers.Health: SCHEMAS["Health"],
}
#: Fields of errors, which the client raises.
ERROR_FIELDS = {"code", "type", "message"}
#: Schemas that are read elsewhere.
OTHERS = {"Error"}


def described(kind: type) -> dict[str, Any]:
    """Return the schema that a class itself makes, by the names of the service."""
    schema = TypeAdapter(kind).json_schema(by_alias=True, mode="validation")
    return {"properties": schema["properties"], "required": schema.get("required", [])}


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_fields_are_those_of_the_schema(kind: type) -> None:
    """None is missing and none is made up, and the same ones may be left out."""
    schema, own = PAIRS[kind], described(kind)
    assert set(own["properties"]) == set(schema["properties"]) - ERROR_FIELDS
    assert set(own["required"]) == set(schema.get("required", ()))


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_fields_have_the_types_of_the_schema(kind: type) -> None:
    """As far as JSON has types; what may be null there is None here."""
    required = PAIRS[kind].get("required", ())
    for name, field in described(kind)["properties"].items():
        wanted = PAIRS[kind]["properties"][name]
        types = {each.get("type", "object") for each in field.get("anyOf", [field])}
        nothing = {"null"} if wanted.get("nullable") or (name not in required and "null" in types) else set()
        assert types == {wanted.get("type", "object")} | nothing, name


def test_every_schema_has_a_class() -> None:
    """A new answer of the service cannot be forgotten here."""
    schemas = [schema for name, schema in SCHEMAS.items() if name not in OTHERS]
    assert [schema for schema in schemas if schema not in PAIRS.values()] == []


def test_values_are_frozen() -> None:
    """An answer says what was so when it came."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        answers.Status(status="x").status = "y"  # type: ignore[misc] # that is the point
