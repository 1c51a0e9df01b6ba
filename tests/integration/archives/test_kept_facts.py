"""The record of what an unpacked archive looked like, which lies where a handler can write to it."""

import json
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.kept import kept_entry
from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.manifest import read_mar
from wfmgmt.domain.limits import Limits


def keep(kept: KeptArchives, source: Path) -> str:
    """Keep an archive, and return its digest."""
    with kept.part() as part, part.open(source) as content:
        read_mar(content, Limits(), part.tree)
        return part.keep().sha256


def test_long_facts_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may write some that take a web worker minutes; nothing else would run meanwhile."""
    kept, read = KeptArchives(tmp_path), list[int]()
    digest = keep(kept, make_mar(tmp_path))
    facts = kept_entry(tmp_path, digest) / "facts.json"
    known = json.loads(facts.read_bytes())
    facts.write_text(json.dumps({**known, **{f"f{number}": [1, 2, 3] for number in range(100_000)}}))
    loads = json.loads

    def measured(content: bytes) -> object:
        read.append(len(content))
        return loads(content)

    monkeypatch.setattr(json, "loads", measured)
    assert kept.tree(digest) is None
    assert max(read) < 100_000
    facts.write_text(json.dumps({**known, "f": [1, 2, 3]}))
    assert kept.tree(digest) is None
    facts.write_text(json.dumps(known))
    assert kept.tree(digest) is not None


def test_names_of_all_kinds_fit_into_the_record_of_a_tree(tmp_path: Path) -> None:
    """Also those that take the most there."""
    kept = KeptArchives(tmp_path)
    files = {f"{letter * 60}{number}": "" for letter in ("a", "ü", "\U0001f600") for number in range(100)}
    assert kept.tree(keep(kept, make_mar(tmp_path, extra_files=files))) is not None
