"""Keys of TorchServe, from files as it writes them."""

import json
from pathlib import Path

import pytest

from wfmgmt.torchserve.keys import Keys, bearer


def write(file: Path, **keys: str) -> None:
    """Write a file of keys."""
    file.write_text(
        json.dumps({name: {"key": key, "expiration time": "2026-01-01T00:00:00Z"} for name, key in keys.items()})
    )


def test_keys_are_read_from_the_file(tmp_path: Path) -> None:
    """Each address has its own, and one is for asking for new ones."""
    write(tmp_path / "key_file.json", management="m", inference="i", API="a")
    assert Keys(tmp_path / "key_file.json").current == {"management": "m", "inference": "i", "API": "a"}


def test_given_keys_win(tmp_path: Path) -> None:
    """What is set is what is used."""
    write(tmp_path / "key_file.json", management="m", inference="i")
    assert Keys(tmp_path / "key_file.json", {"management": "set"}).current == {"management": "set", "inference": "i"}


def test_reread_finds_new_keys(tmp_path: Path) -> None:
    """A file that was not there, or that TorchServe has written anew, is read again."""
    keys = Keys(tmp_path / "key_file.json")
    assert keys.current == {}
    for management in ("first", "second"):
        write(tmp_path / "key_file.json", management=management, inference="i", API="a")
        keys.reread()
        assert (keys.current["management"], keys.current["inference"]) == (management, "i")


def test_new_keys_are_asked_for_where_that_is_allowed(tmp_path: Path) -> None:
    """It makes the key before it invalid for others, too."""
    write(tmp_path / "key_file.json", management="m", API="a")
    for are_renewed, key in ((True, "a"), (False, None)):
        assert Keys(tmp_path / "key_file.json", are_renewed=are_renewed).renewing == key


@pytest.mark.parametrize("text", ["", "[", "[]", "null", '{"management": 1}', '{"management": {}}', "\ud800"])
def test_a_file_that_makes_no_sense_holds_no_keys(tmp_path: Path, text: str) -> None:
    """TorchServe may be about to write it."""
    (tmp_path / "key_file.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert Keys(tmp_path / "key_file.json").current == {}


def test_bearer_is_empty_without_a_key() -> None:
    """A server without keys gets no header."""
    assert (bearer(None), bearer("k")) == ({}, {"Authorization": "Bearer k"})
