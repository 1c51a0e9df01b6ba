"""Checkpoints as lines, and chains of them."""

import json
from typing import Any

import pytest

from tests.support.checkpoints import ORIGIN, chained, make_checkpoint
from wfmgmt.domain.checkpoints import AnchorBroken, Checkpoint, check_chain


@pytest.mark.parametrize("signature", ["", "A" * 86 + "=="], ids=["without signature", "signed"])
def test_line_is_read_as_what_it_was_written_from(signature: str) -> None:
    """Also when something in between has written the same JSON in another way, which changes no digest."""
    checkpoint = make_checkpoint(signature=signature)
    assert Checkpoint.parse(checkpoint.line) == checkpoint
    reordered = json.dumps(dict(reversed(json.loads(checkpoint.line).items())), indent=1)
    assert Checkpoint.parse(reordered).digest == checkpoint.digest
    assert ("signature" in checkpoint.line) == bool(signature)
    assert b"signature" not in checkpoint.message


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "x"},
        {"id": 0},
        {"id": "1"},
        {"id": True},
        {"id": 10**18},
        {"hash": "A" * 64},
        {"hash": None},
        {"previous": "0"},
        {"at": "2026-01-31"},
        {"at": "2026-02-31T12:00:00.000000Z"},
        {"signature": "AAAA"},
        {"more": 1},
    ],
    ids=str,
)
def test_line_of_another_form_is_refused(change: dict[str, Any]) -> None:
    """Nothing of a line counts when a part of it is not understood."""
    values = json.loads(make_checkpoint().line)
    with pytest.raises(ValueError, match=r"expected|wrong form|out of range"):
        Checkpoint.parse(json.dumps({**values, **change}))
    for name in values:
        with pytest.raises(ValueError, match="expected"):
            Checkpoint.parse(json.dumps({key: value for key, value in values.items() if key != name}))


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '"x"', "1:aaaaaaaa"])
def test_what_is_no_object_is_no_checkpoint(text: str) -> None:
    """It is refused as such."""
    with pytest.raises(ValueError, match=r"(?i)expect|extra data"):
        Checkpoint.parse(text)


def test_chain_fits_also_when_lines_were_delivered_again() -> None:
    """An address whose answer was lost gets a line once more, and the first one may come late."""
    one, two, three = chained(3)
    check_chain(enumerate([one, two, two, three, two], 1), origin=ORIGIN)
    check_chain([], origin=ORIGIN)


@pytest.mark.parametrize(
    ("positions", "line", "reason"),
    [
        ([1, 2], 1, "checkpoints before it are missing"),
        ([0, 2], 2, "does not name the line before it"),
        ([0, 2, 1], 2, "does not name the line before it"),
    ],
    ids=["first removed", "one removed", "order"],
)
def test_chain_with_other_lines_does_not_fit(positions: list[int], line: int, reason: str) -> None:
    """The first line that does not fit is named."""
    chain = chained(3)
    with pytest.raises(AnchorBroken, match=f"line {line} does not fit: .*{reason}"):
        check_chain(enumerate([chain[position] for position in positions], 1), origin=ORIGIN)


def test_chain_of_another_installation_does_not_fit() -> None:
    """Whatever its hashes are."""
    with pytest.raises(AnchorBroken, match=f"of the installation {ORIGIN}, and the database of {'b' * 12}"):
        check_chain(enumerate(chained(1), 1), origin="b" * 12)


def test_chain_whose_rows_go_back_does_not_fit() -> None:
    """Rows are only added."""
    first = make_checkpoint(id=5)
    with pytest.raises(AnchorBroken, match="not newer"):
        check_chain(enumerate([first, make_checkpoint(id=4, previous=first.digest)], 1), origin=ORIGIN)


def test_every_line_needs_a_right_signature_where_they_are_checked() -> None:
    """One without a signature is no better than one with a wrong one."""
    signed = make_checkpoint(signature="A" * 86 + "==")
    check_chain(
        [(1, signed)], origin=ORIGIN, check=lambda value, message: (value, message) == (bytes(64), signed.message)
    )
    with pytest.raises(AnchorBroken, match="signature is wrong"):
        check_chain([(1, signed)], origin=ORIGIN, check=lambda *_: False)
    with pytest.raises(AnchorBroken, match="not signed"):
        check_chain([(1, make_checkpoint())], origin=ORIGIN, check=lambda *_: True)
