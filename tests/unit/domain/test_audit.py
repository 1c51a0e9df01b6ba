"""What an event keeps of what clients send."""

from wfmgmt.domain.audit import bounded


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
