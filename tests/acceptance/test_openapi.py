"""The OpenAPI descriptions of both addresses, against the service that they describe."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.fuzzing import findings, fuzzed_service
from tests.support.openapi_paths import concrete
from tests.support.service import Service

PLANES = ("management", "inference")
#: Examples for each operation; `make fuzz` makes more.
EXAMPLES = [3, pytest.param(20, marks=pytest.mark.slow)]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture(name="fuzzed", scope="module")
def _fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with fuzzed_service(tmp_path_factory.mktemp("f")) as service:
        yield service


def description(address: str) -> dict[str, Any]:
    """Return the description that an address gives of itself."""
    described: dict[str, Any] = requests.get(f"{address}/api-description", timeout=10).json()
    return described


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("plane", PLANES)
def test_schemathesis_finds_nothing(fuzzed: Service, plane: str, examples: int) -> None:
    """What the description allows is accepted, what it forbids is refused, and all answers have the described form."""
    found = findings(getattr(fuzzed, plane), examples=examples)
    assert not found, found


@pytest.mark.parametrize("plane", PLANES)
def test_methods_that_are_not_described_get_405_that_names_those_that_are(fuzzed: Service, plane: str) -> None:
    """The header `Allow` has the methods of the description, and HEAD with GET but for predictions."""
    address = getattr(fuzzed, plane)
    for path, item in description(address)["paths"].items():
        described = {method.upper() for method in item} & set(METHODS)
        head = {"HEAD"} if "GET" in described and "predict" not in path else set()
        for method in set(METHODS) - described:
            answer = requests.request(method, address + concrete(path), timeout=10)
            assert (answer.status_code, answer.json()["type"]) == (405, "MethodNotAllowedException")
            allowed = {each.strip() for each in answer.headers["Allow"].split(",")}
            assert allowed == described | head, (method, path)
        if head:
            url = address + concrete(path)
            answer = requests.head(url, timeout=10)
            assert (answer.status_code, answer.content) == (requests.get(url, timeout=10).status_code, b"")


@pytest.mark.parametrize("plane", PLANES)
def test_refusals_of_the_browser_guard_are_described(fuzzed: Service, plane: str) -> None:
    """Each operation describes the 403 that requests under another name of the server get."""
    address = getattr(fuzzed, plane)
    for path, item in description(address)["paths"].items():
        for method in {method.upper() for method in item} & set(METHODS):
            url = address + concrete(path)
            answer = requests.request(method, url, headers={"Host": "evil.example"}, timeout=10)
            if path in {"/ping", "/readyz", "/livez"}:
                assert answer.status_code == 200
                continue
            assert (answer.status_code, answer.json()["type"]) == (403, "CrossOriginException")
            assert answer.headers["x-request-id"]
            assert item[method.lower()]["responses"]["403"] == {"$ref": "#/components/responses/FORBIDDEN"}
