"""What both planes answer alike."""

import json
import uuid

import pytest

from wfmgmt.http.answers import error_body, health, json_text, sane_request_id

DOWN = {"code": 503, "type": "ServiceUnavailableException", "message": "down"}


def test_json_is_indented_by_two_spaces_and_ends_in_a_newline() -> None:
    """Answers look as TorchServe's do, and text stays readable."""
    assert json_text({"a": ["é"]}) == '{\n  "a": [\n    "é"\n  ]\n}\n'


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
def test_health_tells_the_worst(problem: str, not_ready: dict[str, str], total: int, expected: object) -> None:
    """A reason that nothing can be served wins over single workflows."""
    assert health(problem, not_ready, total) == expected


def test_lone_surrogates_are_replaced() -> None:
    """A handler's error can hold text that cannot be sent; it is answered all the same."""
    assert json_text({"a": "\ud800"}) == '{\n  "a": "?"\n}\n'
