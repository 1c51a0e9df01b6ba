"""The OpenAPI descriptions of both addresses against the table of errors."""

from typing import Any

from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.http.answers import STATUS_AND_TYPE
from wfmgmt.serving.openapi import INFERENCE_API


def described_statuses(api: dict[str, Any]) -> set[str]:
    """Return all statuses that a description has."""
    operations = [operation for item in api["paths"].values() for operation in item.values()]
    return {status for operation in operations if "responses" in operation for status in operation["responses"]}


def test_every_error_has_a_described_status() -> None:
    """A new error with a status of its own has to be described, too."""
    statuses = {str(int(status)) for status, _type in STATUS_AND_TYPE.values()}
    assert statuses <= described_statuses(MANAGEMENT_API) | described_statuses(INFERENCE_API)
