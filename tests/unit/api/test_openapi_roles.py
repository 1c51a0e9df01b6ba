"""What the descriptions of both addresses say about tokens and roles."""

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from wfmgmt.api.access import ROLES
from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.serving.openapi import INFERENCE_API

DESCRIPTIONS = {"management": MANAGEMENT_API, "inference": INFERENCE_API}
OPEN = {"/ping", "/readyz", "/livez", "/api-description", "/", "/whoami"}


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


@pytest.mark.parametrize("plane", DESCRIPTIONS)
def test_every_operation_says_what_it_takes(plane: str) -> None:
    """The scheme, the role in its own field and in words, and the answers of refusals; or that it is open to all."""
    description = DESCRIPTIONS[plane]
    assert description["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, method, operation in operations(description):
        assert {"401", "403", "429"} <= operation["responses"].keys(), (path, method)
        if path in OPEN:
            assert (operation["security"], "x-required-role" in operation) == ([], False), (path, method)
            continue
        assert {"token": []} in operation["security"], (path, method)
        assert f"the role `{operation['x-required-role']}`" in operation["description"], (path, method)


def test_roles_are_those_of_the_table() -> None:
    """Some, which the matrix of routes and roles holds against the service."""
    roles = {(path, method): each.get("x-required-role") for path, method, each in operations(MANAGEMENT_API)}
    assert roles["/workflows", "post"] == "register"
    assert roles["/workflows/{name}/{version}/set-default", "put"] == "operate"
    assert roles["/archives/{store}/{file}", "get"] == "view"
    assert roles["/audit/head", "get"] == "audit"
    assert roles["/tokens/{token}", "delete"] == "admin"
    assert len(roles) == sum(not route.partition(" ")[2].startswith("/ui/") for route in ROLES)
    predicting = {each["x-required-role"] for path, _, each in operations(INFERENCE_API) if "predict" in path}
    assert predicting == {"predict"}


@pytest.mark.parametrize("plane", DESCRIPTIONS)
def test_refusals_have_their_headers(plane: str) -> None:
    """How to come in, and when to come back."""
    responses = DESCRIPTIONS[plane]["components"]["responses"]
    assert "WWW-Authenticate" in responses["UNAUTHORIZED"]["headers"]
    assert "Retry-After" in responses["TOO_MANY_REQUESTS"]["headers"]
    validate(DESCRIPTIONS[plane])
