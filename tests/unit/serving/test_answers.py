"""The answer that a client gets."""

import json

import pytest

from wfmgmt.serving.answers import joined, trace_text
from wfmgmt.serving.models.base import NodeAnswer
from wfmgmt.serving.predictions import NodeTrace


def test_only_leaf_answers_for_itself() -> None:
    """Its bytes are not touched."""
    answer = NodeAnswer(content=b"\x00\xff", status=201, content_type="image/png")
    assert joined({"leaf": answer}) is answer


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": [1, 2.50]}', {"a": [1, 2.5]}),
        (b" 7\n", 7),
        (b'"text"', "text"),
        (b"plain text", "plain text"),
        (b"", ""),
        (b"NaN", "NaN"),
        (b"[1, NaN]", "[1, NaN]"),
        ("grün".encode(), "grün"),
        (b"\xff\xfe", "//4="),
        (b"[" * 100_000, "[" * 100_000),
        (bytearray(b"[1]"), [1]),
    ],
    ids=["object", "number", "string", "text", "empty", "nan", "nan inside", "unicode", "bytes", "too deep", "array"],
)
def test_several_leaves_become_one_object(content: bytes, value: object) -> None:
    """Each leaf has an entry: its JSON value, else its text, else its bytes in base64."""
    answer = joined({"a": NodeAnswer(content=content), 'b"': NodeAnswer(content=b"1", status=202)})
    assert json.loads(bytes(answer.content)) == {"a": value, 'b"': 1}
    assert answer.status == 202


def test_trace_tells_of_each_node() -> None:
    """The header is a JSON object in one line of ASCII."""
    text = trace_text({"grün": NodeTrace(attempts=2, queued_s=0.0015, run_s=0.25, size_bytes=10)})
    assert text.isascii()
    assert json.loads(text) == {"grün": {"queuedMs": 1.5, "runMs": 250.0, "attempts": 2, "bytes": 10}}


def test_trace_of_many_nodes_is_cut() -> None:
    """A header has to stay short and says how many nodes it leaves out."""
    text = trace_text({f"node{number}": NodeTrace() for number in range(1000)})
    values = json.loads(text)
    assert len(text) < 8000
    assert values["more"] == 1000 - (len(values) - 1)
