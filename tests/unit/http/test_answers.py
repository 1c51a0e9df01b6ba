"""What both planes answer alike."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.api.openapi import MANAGEMENT_API
from wfmgmt.http.answers import error_body, health, json_body, sane_request_id
from wfmgmt.serving.openapi import INFERENCE_API

DOWN = {"code": 503, "type": "ServiceUnavailableException", "message": "down"}


TEXTS = st.text(st.characters(exclude_categories=()))  # With lone surrogates.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda values: st.lists(values) | st.dictionaries(TEXTS, values),
)


def test_json_is_indented_by_two_spaces_and_ends_in_a_newline() -> None:
    """Answers look as TorchServe's do, and text stays readable."""
    assert json_body({"a": ["é"]}) == '{\n  "a": [\n    "é"\n  ]\n}\n'.encode()


@given(VALUES)
def test_json_is_what_the_standard_library_would_write(value: Any) -> None:
    """Byte for byte, for all that answers hold: keys in their order, integers of any size, text that is none."""
    expected = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    assert json_body(value) == expected.encode("utf-8", "replace")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_of_a_number_with_a_fraction_is_that_number(value: float) -> None:
    """No answer has one, and its digits may be spelled in another way than the standard library's, but it is exact."""
    assert json.loads(json_body([value])) == [value]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_json_of_what_json_cannot_hold_is_null(value: float) -> None:
    """The standard library would write NaN and Infinity, which few clients read."""
    assert json_body(value) == b"null\n"


def test_json_of_deep_nesting_is_written() -> None:
    """Where the quick encoder stops, the standard library goes on."""
    value: list[Any] = []
    for _ in range(300):
        value = [value]
    assert json.loads(json_body(value)) == value


@pytest.mark.parametrize("description", [MANAGEMENT_API, INFERENCE_API], ids=["management", "inference"])
def test_json_of_the_description_is_what_the_standard_library_would_write(description: dict[str, Any]) -> None:
    """The largest of the answers that do not change."""
    assert json_body(description).decode() == json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def test_error_has_code_type_and_message_in_this_order() -> None:
    """Clients of TorchServe read these three."""
    assert list(json.loads(error_body(404, "X", "gone")).items()) == [("code", 404), ("type", "X"), ("message", "gone")]


@pytest.mark.parametrize("given", ["abc", "A-1_b.c", "a" * 128, "3f0e1c9a-7d2e-4a53-9a39-0d1d0a4e2b11"])
def test_sane_request_id_is_kept(given: str) -> None:
    """A caller can follow its own id."""
    assert sane_request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "a b", "a" * 129, "é", "a\nb", 'a"b'])
def test_other_request_ids_are_replaced(given: str | None) -> None:
    """What could disturb a log or a header gives way to a UUID."""
    assert uuid.UUID(sane_request_id(given)).version == 4


@pytest.mark.parametrize(
    ("problem", "not_ready", "total", "expected"),
    [
        ("", {}, 0, (200, {"status": "Healthy"})),
        ("", {"a": "b"}, 1, (200, {"status": "Partial Healthy", "notReady": {"a": "b"}})),
        ("", {"a": "b"}, 7, (200, {"status": "Partial Healthy", "notReady": {"a": "b"}, "notReadyCount": 7})),
        ("down", {"a": "b"}, 1, (503, {**DOWN, "status": "Unhealthy"})),
    ],
    ids=["healthy", "partial", "cut off", "unhealthy"],
)
def test_health_reports_the_worst(problem: str, not_ready: dict[str, str], total: int, expected: object) -> None:
    """A reason that nothing can be served wins over single workflows."""
    assert health(problem, not_ready, total) == expected


def test_lone_surrogates_are_replaced() -> None:
    """A handler's error can hold text that cannot be sent; it is answered all the same."""
    assert json_body({"a": "\ud800"}) == b'{\n  "a": "?"\n}\n'
