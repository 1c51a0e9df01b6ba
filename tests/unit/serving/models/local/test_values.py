"""What handlers get and return, as bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.serving.models.local.values import decode, encode

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("content", "content_type", "value"),
    [
        (b"abc", "", bytearray(b"abc")),
        (b"abc", "application/octet-stream", bytearray(b"abc")),
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'{"a": 1}', "Application/JSON; charset=utf-8", {"a": 1}),
        (b"{", "application/json", bytearray(b"{")),
        (b"[" * 100_000, "application/json", bytearray(b"[" * 100_000)),
        (b"", "application/json", bytearray()),
        ("grün".encode(), "text/plain", "grün"),
        ("grün".encode("latin-1"), "text/plain; charset=iso-8859-1", "grün"),
        ("grün".encode("utf-16"), 'text/csv;charset="utf-16"', "grün"),
        (b"\xff", "text/plain", bytearray(b"\xff")),
        (b"abc", "text/plain; charset=nosuch", bytearray(b"abc")),
        (b"abc", "text/plain; charset=", "abc"),
        (b"a" * 1_000_000, "text/plain; charset=punycode", bytearray(b"a" * 1_000_000)),
        (b"xn--" + b"a9" * 300_000, "text/plain; charset=IDNA", bytearray(b"xn--" + b"a9" * 300_000)),
    ],
)
def test_value_is_decoded_as_its_content_type_says(content: bytes, content_type: str, value: object) -> None:
    """JSON and text are decoded; what cannot be decoded stays as it came."""
    assert decode(bytearray(content), content_type) == value
    assert type(decode(bytearray(content), content_type)) is type(value)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"abc"), b"abc"),
        ("grün", "grün".encode()),
        (7, b"7"),
        (0.5, b"0.5"),
        (True, b"true"),
        (None, b"null"),
        ([1, 2], b"[\n  1,\n  2\n]"),
        ({"a": float("nan")}, b'{\n  "a": NaN\n}'),
        ([float("inf"), float("-inf")], b"[\n  Infinity,\n  -Infinity\n]"),
        ({"a": {"b": []}}, b'{\n  "a": {\n    "b": []\n  }\n}'),
    ],
)
def test_answer_is_encoded_as_torchserve_does(value: object, content: bytes) -> None:
    """Bytes and texts go as they are, everything else as indented JSON; what JSON has not, as Python writes it."""
    assert encode(value) == content


@given(JSON_VALUES.filter(lambda value: not isinstance(value, str)))
def test_json_comes_back(value: object) -> None:
    """What JSON can hold is what the next reader gets."""
    assert json.loads(encode(value)) == value


@pytest.mark.parametrize("value", [object(), {1: {2}}, "\ud800", b"x".join], ids=["object", "set", "surrogate", "code"])
def test_answer_that_has_no_bytes_is_refused(value: object) -> None:
    """An error for the handler's author, instead of a malformed answer for the client."""
    with pytest.raises((TypeError, ValueError)):
        encode(value)
