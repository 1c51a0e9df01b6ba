"""Keys of TorchServe, from files as it writes them."""

import json
from pathlib import Path

import pytest

from wfmgmt.torchserve.keys import Keys, KeySet, bearer


def write(file: Path, **keys: str) -> None:
    """Write a file of keys."""
    file.write_text(
        json.dumps({name: {"key": key, "expiration time": "2026-01-01T00:00:00Z"} for name, key in keys.items()})
    )


def test_keys_are_read_from_the_file(tmp_path: Path) -> None:
    """Each address has its own, and one is for asking for new ones."""
    write(tmp_path / "key_file.json", management="m", inference="i", API="a")
    assert Keys(KeySet(), tmp_path / "key_file.json").current == KeySet("m", "i", "a")


def test_given_keys_win(tmp_path: Path) -> None:
    """What is set is what is used."""
    write(tmp_path / "key_file.json", management="m", inference="i")
    assert Keys(KeySet(management="set"), tmp_path / "key_file.json").current == KeySet("set", "i", None)


def test_reread_finds_new_keys(tmp_path: Path) -> None:
    """A file that was not there, or that TorchServe has written anew, is read again."""
    keys = Keys(KeySet(), tmp_path / "key_file.json")
    assert keys.current == KeySet()
    for management in ("first", "second"):
        write(tmp_path / "key_file.json", management=management, inference="i", API="a")
        keys.reread()
        assert (keys.current.of("management"), keys.current.of("inference")) == (management, "i")


@pytest.mark.parametrize("text", ["", "[", "[]", "null", '{"management": 1}', '{"management": {}}', "\ud800"])
def test_a_file_that_makes_no_sense_holds_no_keys(tmp_path: Path, text: str) -> None:
    """TorchServe may be about to write it."""
    (tmp_path / "key_file.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert Keys(KeySet(), tmp_path / "key_file.json").current == KeySet()


def test_bearer_is_empty_without_a_key() -> None:
    """A server without keys gets no header."""
    assert (bearer(None), bearer("k")) == ({}, {"Authorization": "Bearer k"})
