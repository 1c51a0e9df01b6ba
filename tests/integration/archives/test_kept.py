"""Archives that are kept under their digests, on a real disk."""

import errno
import fcntl
import hashlib
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.kept import kept_digests, kept_entry, kept_parts
from tests.support.swaps import WAYS
from wfmgmt.archives.kept import Kept, KeptArchives
from wfmgmt.archives.manifest import read_mar, unpacked_model
from wfmgmt.archives.seen import looks_of
from wfmgmt.domain.limits import Limits
from wfmgmt.errors import InvalidArchive
from wfmgmt.folders import remove_folder

LIMITS = Limits()
WEIGHTS = os.urandom(700_000)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "archives"


@pytest.fixture(name="kept")
def _kept(folder: Path) -> KeptArchives:
    return KeptArchives(folder, owner="lease")


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    return make_mar(tmp_path, extra_files={"inner/weights.bin": WEIGHTS, "small.txt": "small"})


def keep(kept: KeptArchives, source: Path, *, is_unpacked: bool = True) -> Kept:
    """Keep an archive."""
    with kept.part(is_unpacked=is_unpacked) as part, part.open(source) as content:
        read_mar(content, LIMITS, part.tree, is_known=part.is_known)
        return part.keep()


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def modes(folder: Path) -> set[str]:
    """Return the modes of what is in a folder, of files and of folders."""
    return {f"{'d' if path.is_dir() else 'f'}{path.stat().st_mode & 0o777:o}" for path in (folder, *folder.rglob("*"))}


def test_archive_is_kept_with_its_bytes_and_its_tree(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Under its digest, read-only, and with the same content."""
    digest = digest_of(source)
    found = keep(kept, source)
    assert (found.sha256, found.is_new) == (digest, True)
    tree, file = kept.tree(digest), kept.file(digest)
    assert tree is not None
    assert file is not None
    assert (tree.folder / "inner" / "weights.bin").read_bytes() == WEIGHTS
    assert unpacked_model(tree.folder).handler == "handler.py"
    assert file.read_bytes() == source.read_bytes()
    assert (file.stat().st_nlink, file.stat().st_ino != source.stat().st_ino) == (1, True)
    assert (modes(tree.folder), modes(file)) == ({"d500", "f400"}, {"f400"})
    assert (kept_digests(folder), kept_parts(folder)) == ({digest}, set())


@pytest.mark.parametrize(
    ("keeps_bytes", "is_unpacked", "has"),
    [
        (True, True, (True, True)),
        (False, True, (False, True)),
        (True, False, (True, False)),
        (False, False, (True, False)),
    ],
    ids=["all", "unpacked", "for TorchServe", "unpacked, for TorchServe"],
)
def test_only_what_is_wanted_is_kept(
    folder: Path, source: Path, *, keeps_bytes: bool, is_unpacked: bool, has: tuple[bool, bool]
) -> None:
    """Trees, bytes or both; never neither."""
    kept = KeptArchives(folder, keeps_bytes=keeps_bytes)
    digest = keep(kept, source, is_unpacked=is_unpacked).sha256
    assert (kept.file(digest) is not None, kept.tree(digest) is not None) == has


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_does_not_change_with_the_store(kept: KeptArchives, source: Path, way: str) -> None:
    """Whether the file there is replaced or written over."""
    digest = keep(kept, source).sha256
    WAYS[way](source, b"something else")
    file = kept.file(digest)
    assert file is not None
    assert digest_of(file) == digest
    assert kept.tree(digest) is not None


def test_file_that_changes_while_it_is_read_is_not_kept(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Its bytes would not be those of any digest."""
    with pytest.raises(InvalidArchive), kept.part() as part, part.open(source) as content:
        content.seek(-10, os.SEEK_END)
        content.read()
        source.write_bytes(b"")
        read_mar(content, LIMITS, part.tree)
    assert (kept_digests(folder), kept_parts(folder)) == (set(), set())


@pytest.mark.parametrize("step", ["open", "read", "keep"])
def test_nothing_is_left_of_what_is_not_kept(kept: KeptArchives, folder: Path, source: Path, step: str) -> None:
    """At whatever step it fails."""
    with pytest.raises(OSError, match="step"), kept.part() as part:
        fail_at(step, "open")
        with part.open(source) as content:
            fail_at(step, "read")
            read_mar(content, LIMITS, part.tree)
            fail_at(step, "keep")
    assert (kept_digests(folder), kept_parts(folder)) == (set(), set())


def fail_at(step: str, here: str) -> None:
    """Fail if this is the step."""
    if step == here:
        raise OSError(errno.ENOSPC, "step")


def test_archive_that_is_kept_twice_is_there_once(kept: KeptArchives, folder: Path, source: Path) -> None:
    """The tree that is in use stays the very one, and the second one to keep it can take nothing back."""
    first = keep(kept, source)
    tree = kept.tree(first.sha256)
    assert tree is not None
    second = keep(kept, source)
    assert (second.sha256, second.is_new) == (first.sha256, False)
    assert second.stamp > first.stamp
    again = kept.tree(first.sha256)
    assert again == tree
    kept.take_back(second)
    kept.take_back(first)
    assert kept_digests(folder) == {first.sha256}


def test_what_is_missing_of_an_archive_is_added(folder: Path, source: Path) -> None:
    """Its tree when only its bytes are kept, and its bytes when only its tree is."""
    digest = keep(KeptArchives(folder), source, is_unpacked=False).sha256
    both = KeptArchives(folder)
    assert both.tree(digest) is None
    keep(both, source)
    assert (both.tree(digest) is None, both.file(digest) is None) == (False, False)
    remove_folder(kept_entry(folder, digest))
    keep(KeptArchives(folder, keeps_bytes=False), source)
    tree = both.tree(digest)
    keep(both, source, is_unpacked=False)
    assert both.file(digest) is not None
    assert both.tree(digest) == tree


def test_file_that_was_seen_is_known_by_its_looks(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Also under another name; not once it was written to, nor when nobody keeps its archive any more."""
    digest = keep(kept, source).sha256
    link = source.with_name("link.mar")
    link.hardlink_to(source)
    assert kept.seen.digest(looks_of(link)) == digest
    copy = source.with_name("copy.mar")
    copy.write_bytes(source.read_bytes())
    assert kept.seen.digest(looks_of(copy)) is None
    looks = looks_of(source)
    WAYS["rewritten"](source, b"something else")
    assert kept.seen.digest(looks_of(source)) is None
    assert (looks_of(source.with_name("nosuch")), kept.seen.digest(None)) == (None, None)
    kept.sweep(lambda _: True, {digest}, before=2**63)
    assert kept.seen.digest(looks) == digest
    kept.sweep(lambda _: True, (), before=2**63)
    assert kept.seen.digest(looks) is None
    assert list((folder / "seen").iterdir()) == []


def test_record_of_a_file_that_was_seen_may_be_anything(kept: KeptArchives, folder: Path, source: Path) -> None:
    """A handler can write there: what is no digest is none, and nothing waits for who writes to a pipe."""
    digest, looks = keep(kept, source).sha256, str(looks_of(source))
    record = folder / "seen" / looks
    for content in (b"\xff" * 64, b"x", b"0" * 65, b""):
        record.write_bytes(content)
        assert kept.seen.digest(looks) is None
    os.mkfifo(_replaced(record))
    assert kept.seen.digest(looks) is None
    keep(kept, source)
    assert kept.seen.digest(looks) == digest
    _replaced(record).mkdir()
    assert kept.seen.digest(looks) is None
    kept.sweep(lambda _: True, (), before=2**63)


def test_file_that_was_seen_is_hashed_and_nothing_else(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Since it is kept, it is neither copied nor unpacked again; unless what is kept of it is not whole."""
    first = keep(kept, source)
    with kept.part() as part, part.open(source) as content:
        assert (part.is_known, part.tree) == (True, None)
        assert kept_parts(folder) == set()  # There is nothing to be made.
        read_mar(content, LIMITS, is_known=True)
        again = part.keep()
    assert (again.sha256, again.is_new, again.stamp > first.stamp) == (first.sha256, False, True)
    _rewrite(kept_entry(folder, first.sha256) / "tree")
    with kept.part() as part, part.open(source):
        assert not part.is_known
        assert part.tree is not None


def test_file_that_only_looks_like_one_that_was_seen_is_kept_as_what_it_is(
    kept: KeptArchives, folder: Path, source: Path, tmp_path: Path
) -> None:
    """It was written to without its time telling."""
    first = keep(kept, source)
    other = make_mar(tmp_path, name="other")
    looks = looks_of(other)
    assert looks is not None
    kept.seen.remember(looks, first.sha256)
    second = keep(kept, other)
    assert second.sha256 == digest_of(other)
    assert kept_digests(folder) == {first.sha256, second.sha256}
    assert kept.seen.digest(looks) == second.sha256


def test_archive_that_nobody_else_uses_is_taken_back(kept: KeptArchives, folder: Path, source: Path) -> None:
    """At once, by the one who kept it."""
    found = keep(kept, source)
    kept.take_back(found)
    kept.take_back(found)
    assert (kept_digests(folder), kept_parts(folder)) == (set(), set())
    assert (kept.tree(found.sha256), kept.file(found.sha256)) == (None, None)
    assert list((folder / "seen").iterdir()) == []


def _rewrite(tree: Path) -> None:
    (tree / "small.txt").chmod(0o600)
    (tree / "small.txt").write_text("other")
    (tree / "small.txt").chmod(0o400)


def _replaced(path: Path) -> Path:
    path.unlink()
    return path


def _grown(path: Path, size_bytes: int) -> None:
    path.chmod(0o600)
    os.truncate(path, size_bytes)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": _rewrite,
    "all": remove_folder,
    "facts": lambda tree: (tree.parent / "facts.json").write_text("no facts"),
    "no facts": lambda tree: (tree.parent / "facts.json").unlink(),
    "nested facts": lambda tree: (tree.parent / "facts.json").write_text("[" * 100_000),
    "facts that are a folder": lambda tree: _replaced(tree.parent / "facts.json").mkdir(),
    "facts that are a pipe": lambda tree: os.mkfifo(_replaced(tree.parent / "facts.json")),
    "facts that are a link": lambda tree: _replaced(tree.parent / "facts.json").symlink_to("facts.json"),
    "facts of a terabyte": lambda tree: _grown(tree.parent / "facts.json", 2**40),
    "shape of facts": lambda tree: (tree.parent / "facts.json").write_text("[1]"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_tree_that_was_changed_is_none_and_gets_replaced(
    kept: KeptArchives, folder: Path, source: Path, change: Callable[[Path], object]
) -> None:
    """The next part with that digest brings another one to the same place."""
    digest = keep(kept, source).sha256
    tree = kept_entry(folder, digest) / "tree"
    change(tree)
    assert kept.tree(digest) is None
    file = kept.file(digest)
    assert file is not None
    assert keep(kept, file).sha256 == digest
    found = kept.tree(digest)
    assert found is not None
    assert (found.folder, (tree / "small.txt").read_text()) == (tree, "small")
    assert (modes(tree), kept_parts(folder)) == ({"d500", "f400"}, set())


def test_tree_that_is_forgotten_is_made_again(kept: KeptArchives, source: Path) -> None:
    """The runtime knows better what it looked like than a file that a handler could have written."""
    digest = keep(kept, source).sha256
    kept.forget_tree(digest)
    assert kept.tree(digest) is None
    keep(kept, source)
    assert kept.tree(digest) is not None


def test_bytes_that_were_damaged_are_replaced(kept: KeptArchives, source: Path) -> None:
    """By the next registration of the archive."""
    digest = keep(kept, source).sha256
    file = kept.file(digest)
    assert file is not None
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    keep(kept, source)
    assert digest_of(file) == digest


def test_sweep_removes_what_nobody_uses(kept: KeptArchives, folder: Path, tmp_path: Path) -> None:
    """Not what is used, nor what was used after the given moment, nor parts whose owner lives."""
    used, young, old = (keep(kept, make_mar(tmp_path, name=name)) for name in ("used", "young", "old"))
    kept.touch({young.sha256, "0" * 64})
    new, alive, dead = make_mar(tmp_path, name="new"), kept.of("alive"), kept.of("dead")
    with alive.part() as one, one.open(new), dead.part() as other, other.open(new):
        removed = kept.sweep(lambda owner: owner == "alive", {used.sha256}, before=old.stamp + 1)
        assert [name.split("-")[0] for name in kept_parts(folder)] == [".alive"]
    assert removed == [old.sha256]
    assert kept_digests(folder) == {used.sha256, young.sha256}


def test_sweep_finishes_a_removal_that_broke_off(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Also when there is nothing else, and when there is not even a folder."""
    assert kept.sweep(lambda _: True, (), before=0) == []
    digest = keep(kept, source).sha256
    entry = kept_entry(folder, digest)
    entry.rename(folder / "sha256" / f".{'0' * 32}.old")
    assert kept.sweep(lambda _: True, (), before=0) == []
    assert (kept_digests(folder), kept_parts(folder)) == (set(), set())


def test_many_keep_and_take_back_one_archive_at_once(folder: Path, source: Path) -> None:
    """Whoever keeps it last has it whole, whatever the others do."""
    digest, failures = digest_of(source), []

    def work(owner: str) -> None:
        kept = KeptArchives(folder, owner=owner)
        try:
            for _ in range(10):
                kept.take_back(keep(kept, source))
                kept.sweep(lambda _: True, (), before=0)
        except Exception as error:  # noqa: BLE001 - the test shows it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"owner{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    kept = KeptArchives(folder)
    keep(kept, source)
    assert kept.tree(digest) is not None
    assert kept_parts(folder) == set()


def test_folder_that_was_removed_or_closed_is_made_again(kept: KeptArchives, folder: Path, source: Path) -> None:
    """What was in it is gone, and the next archive is kept."""
    digest = keep(kept, source).sha256
    remove_folder(folder)
    assert (kept.tree(digest), kept.file(digest)) == (None, None)
    keep(kept, source)
    folder.chmod(0)
    keep(kept, source)
    assert kept.tree(digest) is not None


def test_owner_gets_back_what_was_taken_away(kept: KeptArchives, folder: Path, source: Path) -> None:
    """Of folders and of the lock; what has their names and is something else makes room."""
    digest = keep(kept, source).sha256
    entry = kept_entry(folder, digest)
    for path in (entry / "archive", entry, entry.parent, folder / "sha256", folder / "lock", folder):
        path.chmod(0)
    assert kept.file(digest) is not None
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "sha256", entry.parent, entry)} == {0o700}
    keep(kept, source)
    assert kept.tree(digest) is not None
    assert kept.file(digest) is not None
    assert modes(folder / "sha256") <= {"d700", "d500", "f400", "f600"}
    assert (folder / "lock").stat().st_mode & 0o777 == 0o600
    _replaced(folder / "lock").mkdir()
    remove_folder(entry.parent)
    entry.parent.write_text("no folder")
    keep(kept, source)
    assert kept.tree(digest) is not None


def test_folder_may_be_a_link(folder: Path, tmp_path: Path, source: Path) -> None:
    """To a larger disk."""
    (tmp_path / "larger").mkdir()
    folder.symlink_to("larger")
    digest = keep(KeptArchives(folder), source).sha256
    assert folder.is_symlink()
    assert kept_digests(tmp_path / "larger") == {digest}


def test_owner_has_to_have_the_form_of_a_name(kept: KeptArchives) -> None:
    """It becomes a part of file names."""
    with pytest.raises(ValueError, match="not an owner of parts"):
        kept.of("../x")


def test_reflink_is_used_where_there_are_some(
    kept: KeptArchives, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel copies all at once, and what is read from then on is the copy, whatever becomes of the file."""
    content, calls = source.read_bytes(), []

    def clone(copy: int, request: int, original: int) -> int:
        calls.append(request)
        os.write(copy, os.pread(original, os.fstat(original).st_size, 0))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    with kept.part() as part, part.open(source) as opened:
        source.write_bytes(b"something else")
        read_mar(opened, LIMITS, part.tree)
        digest = part.keep().sha256
    assert (calls, digest) == ([0x40049409], hashlib.sha256(content).hexdigest())
    file = kept.file(digest)
    assert file is not None
    assert file.read_bytes() == content


def test_copy_is_written_whole_by_a_system_that_writes_little_at_once(
    kept: KeptArchives, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full does."""
    write = os.write

    def little(descriptor: int, data: Any) -> int:
        return write(descriptor, data[:1000])

    monkeypatch.setattr(os, "write", little)
    digest = keep(kept, source).sha256
    file = kept.file(digest)
    assert file is not None
    assert digest_of(file) == digest == digest_of(source)


def test_archive_of_many_members_is_kept(kept: KeptArchives, tmp_path: Path) -> None:
    """All of them are made durable, and their facts are known afterwards."""
    path = tmp_path / "many.mar"
    shutil.copyfile(make_mar(tmp_path), path)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(2000):
            archive.writestr(f"{number % 50}/{number}.txt", "x")
    tree = kept.tree(keep(kept, path).sha256)
    assert tree is not None
    assert len(tree.facts) == 2000 + 50 + 4
