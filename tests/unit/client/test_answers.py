"""What the client returns, against the schemas that the service describes its answers with."""

import dataclasses
import inspect
from typing import Any

import pytest
from pydantic import TypeAdapter

from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.client import answers, archives, audit, declared, explain, operations, plans, tokens, traffic

SCHEMAS: dict[str, Any] = MANAGEMENT_API["components"]["schemas"]
PLAN, DIFF, TRAFFIC = (SCHEMAS[name]["properties"] for name in ("Plan", "Diff", "Traffic"))
FIGURES = SCHEMAS["VersionFigures"]["properties"]
#: Each class that stands for a part of a schema, and that part.
PARTS: dict[type, dict[str, Any]] = {
    answers.ListedWorkflow: SCHEMAS["Page"]["properties"]["workflows"]["items"],
    answers.Node: SCHEMAS["Workflow"]["properties"]["nodes"]["items"],
    answers.Worker: SCHEMAS["Workflow"]["properties"]["nodes"]["items"]["properties"]["workers"]["items"],
    archives.Use: SCHEMAS["Archive"]["properties"]["usedBy"]["items"],
    archives.ReportedNode: SCHEMAS["ArchiveReport"]["properties"]["nodes"]["items"],
    archives.ReportedFunction: SCHEMAS["ArchiveReport"]["properties"]["functions"]["items"],
    archives.Import: SCHEMAS["ArchiveReport"]["properties"]["imports"]["items"],
    plans.Difference: DIFF["nodes"],
    plans.PlannedFunction: PLAN["functions"]["items"],
    plans.PlannedModel: PLAN["models"]["items"],
    plans.PlannedRoutes: PLAN["routes"],
    plans.PlannedWorkers: PLAN["workers"],
    declared.Drifted: SCHEMAS["Drift"]["properties"]["drift"]["items"],
    traffic.Figures: FIGURES["pinned"],
    traffic.InForce: TRAFFIC["inForce"],
    traffic.MirrorFigures: FIGURES["mirrored"],
}
#: Classes that are for the answer of one path, for what is sent, or for an error as a value.
OWN = {traffic.Releases, traffic.RoutingTable, answers.Predicted, operations.OperationError, declared.ApplyError}
CLASSES: list[type] = [
    kind
    for module in (answers, archives, audit, declared, explain, operations, plans, tokens, traffic)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__ and kind not in OWN
]
PAIRS = {kind: PARTS.get(kind) or SCHEMAS.get(kind.__name__, {}) for kind in CLASSES}
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
        if not {"type", "$ref", "allOf"} & wanted.keys():
            continue  # Any JSON value.
        types = {each.get("type", "object") for each in field.get("anyOf", [field])}
        nothing = {"null"} if wanted.get("nullable") or (name not in required and "null" in types) else set()
        assert types == {wanted.get("type", "object")} | nothing, name


def test_every_schema_has_a_class() -> None:
    """A new answer of the service cannot be forgotten here."""
    schemas = [schema for name, schema in SCHEMAS.items() if name not in OTHERS]
    assert [schema for schema in schemas if schema not in PAIRS.values()] == []


def test_values_are_frozen() -> None:
    """An answer says what was so when it came."""
    status: Any = answers.Status(status="x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.status = "y"
