"""A batch's way to a worker and back."""

import pytest

from wfmgmt.serving.models.base import InputField, NodeAnswer, NodeRequest, PredictionFailed
from wfmgmt.serving.models.local.batches import encode_batch, read_result
from wfmgmt.serving.models.local.frames import Frame


def test_batch_has_the_documented_layout() -> None:
    """The header tells how long each part of the payload is, in their order."""
    fields = [InputField("body", b"abc"), InputField("picture", b"\xff", "image/png")]
    batch = [NodeRequest("id1", b'{"A": "b"}', fields), NodeRequest("id2", b"{}", [])]
    header, payload = encode_batch(batch, 7)
    first = ["id1", 10, [["body", "", 3], ["picture", "image/png", 1]]]
    assert header == {"op": "predict", "ticket": 7, "requests": [first, ["id2", 2, []]]}
    assert b"".join(payload) == b'{"A": "b"}abc\xff{}'


def outcome_of(status: object, headers: object) -> object:
    """Return what becomes of one answer with this status and these headers."""
    header = {"op": "answer", "ticket": 7, "run_us": 1500, "answers": [[status, headers, 1]], "metrics": []}
    result = read_result(Frame(header, b"x"), 1, 7)
    assert result.run_s == 0.0015
    (outcome,) = result.outcomes
    return outcome


def test_answer_to_something_else_is_refused() -> None:
    """An answer without the batch's own ticket is not taken for it."""
    frame = Frame({"op": "answer", "ticket": 8, "run_us": 1, "answers": [[200, {}, 0]], "metrics": []}, b"")
    with pytest.raises(ValueError, match="an answer to something else"):
        read_result(frame, 1, 7)


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (99, {}, "it set the status 99; expected 200 to 599"),
        (100, {}, "it set the status 100"),
        (600, {}, "it set the status 600"),
        (200, {"a b": "c"}, "it set a header whose name is not allowed: 'a b'"),
        (200, {"": "c"}, "it set a header whose name is not allowed"),
        (200, {"x": "a\r\nSet-Cookie: b"}, "it set the header x to a value that is not allowed"),
        (200, {"content-type": "a\nb"}, "it set the header content-type to a value that is not allowed"),
        (200, {"x": "\u20ac"}, "it set the header x to a value that is not allowed"),
    ],
)
def test_answer_fails_when_http_cannot_carry_it(status: int, headers: dict[str, str], reason: str) -> None:
    """A status or header that would break the answer fails the request, and names what it was."""
    outcome = outcome_of(status, headers)
    assert isinstance(outcome, PredictionFailed)
    assert outcome.reason.startswith(reason)


def test_answer_keeps_what_the_handler_set() -> None:
    """Status, content type and headers are the handler's, but for those that frame the message."""
    headers = {"Content-Type": "text/plain", "X-Model": "7", "Content-Length": "99", "Transfer-Encoding": "chunked"}
    assert outcome_of(201, headers) == NodeAnswer(
        content=b"x", status=201, content_type="text/plain", headers={"x-model": "7"}
    )
