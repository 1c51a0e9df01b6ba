"""What an event keeps of what clients send, and what is under its hash."""

import hashlib

import pytest

from wfmgmt.domain.audit import HASHED, bounded, canonical_json, event_hash, hashed_line


def test_texts_of_a_detail_are_cut_at_any_depth() -> None:
    """Each says how much is missing, and what is no text stays."""
    long = "x" * 1500
    cut = "x" * 1000 + "… (500 more characters)"
    detail = {"url": long, "nodes": {long: {"sha256": None, "list": [long, 1, "short"]}}}
    assert bounded(detail) == {"url": cut, "nodes": {cut: {"sha256": None, "list": [cut, 1, "short"]}}}


def test_texts_of_a_detail_have_no_secrets() -> None:
    """The secrets of an address in a message are not stored, however it came there."""
    assert bounded({"error": "no such thing: https://u:SECRET@h/x?sig=SECRET"}) == {
        "error": "no such thing: https://h/x"
    }


@pytest.mark.parametrize(
    "text", ["", "plain", 'a "quoted" \\ path/', "%s %(x)s", "\x00\x1f\x7f\n\t\u2028", "ünï ☃ 🙂", "\ud800", '{"a":1}']
)
def test_line_under_the_hash_is_the_canonical_json_of_the_columns(text: str) -> None:
    """Whatever is in them; the hash is over that of the event before, a line feed, and the line."""
    line = hashed_line(f"{name}{text}" for name in HASHED)
    assert line.decode() == canonical_json({name: f"{name}{text}" for name in reversed(HASHED)})
    assert event_hash("0" * 64, line) == hashlib.sha256(b"0" * 64 + b"\n" + line).hexdigest()
