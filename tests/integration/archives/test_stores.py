"""The store folders on a real file system."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.service import CHECKOUT
from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.errors import ArchiveNotFound, BadRequest, InsufficientStorage, RelativePathRefused, UrlNotAllowed

NOT_PLAIN = {
    "subfolder": "sub/x.war",
    "absolute path": "/x.war",
    "current folder": "./x.war",
    "encoded dots": "%2e%2e/x.war",
    "backslash": "sub\\x.war",
    "ftp": "ftp://models.example/x.war",
    "s3": "s3://bucket/x.war",
    "hidden": ".x.war",
    "one dot": ".",
    "suffix alone": ".war",
    "empty": "",
    "as long as names can be": "x" * 251 + ".war",
    "missing": "nosuch.war",
    "missing, other suffix": "nosuch.zip",
    "below a file": "x.war/x.war",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder inside the test's own."""
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture(params=["hard links", "no hard links"])
def store(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ArchiveFolder:
    """A workflow store over that folder, also on a file system like FAT."""
    if request.param == "no hard links":
        monkeypatch.setattr("os.link", fails_with(errno.EPERM))
    return ArchiveFolder(folder=folder, suffix=".war")


def make_part(store: ArchiveFolder, owner: str = "web-1", content: bytes = b"new") -> Path:
    """Write a part as a finished download leaves it."""
    part = store.reserve(owner)
    part.write_bytes(content)
    return part


def names(folder: Path) -> list[str]:
    """List all that is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def fails_with(number: int) -> Callable[..., None]:
    """Make a system call that always fails."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_find_returns_the_file_of_that_name(store: ArchiveFolder, folder: Path) -> None:
    """A plain name of a regular file in the folder is its path."""
    (folder / "x y@%41.war").write_bytes(b"zip")
    assert store.find("x y@%41.war") == folder / "x y@%41.war"


@pytest.mark.parametrize("name", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_find_refuses_paths_and_unknown_names(store: ArchiveFolder, folder: Path, name: str) -> None:
    """Only plain names of files in the folder are found, not paths that lead to one."""
    (folder / "sub").mkdir()
    for path in ("x.war", "sub/x.war", ".x.war", ".war"):
        (folder / path).write_bytes(b"zip")
    with pytest.raises(ArchiveNotFound) as caught:
        store.find(name)
    assert str(caught.value) == f"Workflow not found in workflow store: {name}"


def test_find_refuses_the_absolute_path_of_an_archive(store: ArchiveFolder, folder: Path) -> None:
    """A path into the store is not a name."""
    (folder / "x.war").write_bytes(b"zip")
    with pytest.raises(ArchiveNotFound):
        store.find(str(folder / "x.war"))


@pytest.mark.parametrize("name", ["../x.war", "a/../x.war", "x..war", "..", "file:///../x.war"])
def test_find_refuses_two_dots(store: ArchiveFolder, name: str) -> None:
    """Any two dots in a row are answered as a relative path."""
    with pytest.raises(RelativePathRefused) as caught:
        store.find(name)
    assert str(caught.value) == f"Relative path is not allowed in url: {name}"


@pytest.mark.parametrize("name", ["x\0.war", "x\n.war", "\x7f.war", "x\x85.war", "\ud800.war", "..\0"])
def test_find_refuses_what_is_not_text(store: ArchiveFolder, name: str) -> None:
    """Control characters and lone surrogates are a bad request, and the message can be encoded."""
    with pytest.raises(BadRequest) as caught:
        store.find(name)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("name", "size"), [("x" * 252 + ".war", 256), ("ü" * 126 + ".war", 256), ("x" * 60_000, 60_000)]
)
def test_find_refuses_what_is_longer_than_a_name(store: ArchiveFolder, name: str, size: int) -> None:
    """The system would fail on it, and it is not repeated."""
    with pytest.raises(BadRequest) as caught:
        store.find(name)
    assert str(caught.value) == f"The url has {size} bytes, and names of archives have 255 at most."


@pytest.mark.parametrize("name", ["file:///etc/passwd", "FILE:x.war"])
def test_find_never_allows_file_addresses(store: ArchiveFolder, name: str) -> None:
    """A file: address is refused with a hint at what to do instead."""
    with pytest.raises(UrlNotAllowed, match=r"put the \.war file into the store"):
        store.find(name)


def test_find_hides_credentials_of_other_schemes(store: ArchiveFolder) -> None:
    """An address that is taken for a name is repeated without its credentials."""
    with pytest.raises(ArchiveNotFound) as caught:
        store.find("s3://key:secret@bucket/x.war")
    assert str(caught.value) == "Workflow not found in workflow store: s3://bucket/x.war"


@pytest.mark.parametrize("name", ["x.zip", "x", "x.WAR"])
def test_find_wants_the_suffix(store: ArchiveFolder, folder: Path, name: str) -> None:
    """A file that is there but named otherwise is a bad request that says what is wanted."""
    (folder / name).write_bytes(b"zip")
    with pytest.raises(BadRequest, match=r"has to end in \.war"):
        store.find(name)


@pytest.mark.parametrize("name", ["m.tar.gz", "m.tgz"])
def test_find_names_the_commands_that_make_a_model_of_a_tar(folder: Path, name: str) -> None:
    """The archiver's format `tgz` is unpacked as TorchServe does it, and zipped."""
    (folder / name).write_bytes(b"tar")
    commands = f"mkdir m && tar -xzmf {name} -C m --strip-components=1 && python3 -m zipfile -c m.mar m/."
    with pytest.raises(BadRequest) as caught:
        ArchiveFolder(folder=folder, suffix=".mar").find(name)
    assert str(caught.value) == (
        f"The url {name} has to end in .mar, tgz is not read; "
        f"in the store, `{commands}` makes m.mar of it, to name instead."
    )


def test_find_names_the_command_that_makes_a_model_of_a_folder(folder: Path) -> None:
    """The archiver's format `no-archive` is zipped; a shell reads any name in the command as one."""
    (folder / "m; x").mkdir()
    with pytest.raises(BadRequest) as caught:
        ArchiveFolder(folder=folder, suffix=".mar").find("m; x")
    assert str(caught.value) == (
        "The url m; x names a folder, no-archive is not read; "
        "in the store, `python3 -m zipfile -c 'm; x.mar' 'm; x/.'` makes m; x.mar of it, to name instead."
    )


def test_find_takes_only_regular_files(store: ArchiveFolder, folder: Path) -> None:
    """Folders, pipes, sockets and links to nothing are not archives."""
    (folder / "folder.war").mkdir()
    os.mkfifo(folder / "pipe.war")
    (folder / "dangling.war").symlink_to("nosuch")
    (folder / "loop.war").symlink_to("loop.war")
    (folder / "device.war").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.war"))
        for name in names(folder):
            with pytest.raises(ArchiveNotFound):
                store.find(name)


def test_find_follows_links_to_files_outside(store: ArchiveFolder, folder: Path, tmp_path: Path) -> None:
    """An operator may share a file by a symbolic link in the store."""
    (tmp_path / "shared.war").write_bytes(b"zip")
    (folder / "x.war").symlink_to(tmp_path / "shared.war")
    assert store.find("x.war").read_bytes() == b"zip"


def test_reserve_names_hidden_files_that_do_not_exist(store: ArchiveFolder, folder: Path) -> None:
    """Each part is a new hidden name that tells its owner."""
    first, second = store.reserve("web-1"), store.reserve("web-1")
    assert first != second
    assert first.parent == folder
    assert first.name.startswith(".web-1-")
    assert names(folder) == []


def test_reserve_refuses_owners_that_are_no_part_of_a_name(store: ArchiveFolder) -> None:
    """An owner cannot lead out of the folder."""
    with pytest.raises(ValueError, match="not an owner"):
        store.reserve("../x")


def test_publish_gives_the_part_its_name(store: ArchiveFolder, folder: Path) -> None:
    """The archive appears whole under its name, and the part stays until it is discarded."""
    part = make_part(store)
    assert store.publish(part, "x.war") == "x.war"
    assert [Path(name).stem for name in names(folder)] == [part.stem, "x"]
    store.discard(part)
    store.discard(part)
    assert store.find("x.war").read_bytes() == b"new"


@pytest.mark.parametrize(("wanted", "name"), [("x", "x.war"), ("x.zip", "x.zip.war"), ("a" * 128, "a" * 128 + ".war")])
def test_publish_adds_the_suffix(store: ArchiveFolder, wanted: str, name: str) -> None:
    """A download of any name is found by the name that its archive gets."""
    assert store.publish(make_part(store), wanted) == name
    assert store.find(name)


@pytest.mark.parametrize("dangling", [False, True])
def test_publish_takes_another_name_when_taken(store: ArchiveFolder, folder: Path, *, dangling: bool) -> None:
    """Nothing that is in the folder is touched, not even a link to nothing."""
    if dangling:
        (folder / "x.war").symlink_to(folder / "nosuch.war")
    else:
        (folder / "x.war").write_bytes(b"old")
    name = store.publish(make_part(store), "x.war")
    assert name.startswith("x-")
    assert name.endswith(".war")
    assert store.find(name).read_bytes() == b"new"
    assert dangling or (folder / "x.war").read_bytes() == b"old"
    assert not (folder / "nosuch.war").exists()


def test_publish_as_takes_that_name_or_none(store: ArchiveFolder, folder: Path) -> None:
    """A file or folder that has the name already stays as it is."""
    (folder / "taken.war").write_bytes(b"old")
    part = make_part(store)
    assert not store.publish_as(part, "taken.war")
    assert (folder / "taken.war").read_bytes() == b"old"
    assert store.publish_as(part, "free.war")
    assert (folder / "free.war").read_bytes() == b"new"


def test_copy_is_a_part_of_its_owner(store: ArchiveFolder, folder: Path, tmp_path: Path) -> None:
    """It has the bytes of the other file, and a sweep takes it for what it is."""
    other = tmp_path / "other.war"
    other.write_bytes(b"x" * 3_000_000)
    part = store.copy(other, "me")
    assert part.read_bytes() == other.read_bytes()
    assert store.sweep(lambda owner: owner != "me", lambda _: True) == [part.name]
    assert names(folder) == []


def test_copy_of_what_is_not_there_leaves_nothing(store: ArchiveFolder, folder: Path, tmp_path: Path) -> None:
    """No part stays behind."""
    with pytest.raises(FileNotFoundError):
        store.copy(tmp_path / "missing.war", "me")
    assert names(folder) == []


def test_publish_refuses_paths(store: ArchiveFolder) -> None:
    """A name with a path in it is a mistake of the caller."""
    with pytest.raises(ValueError, match="not a plain file name"):
        store.publish(make_part(store), "../x.war")


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_publish_leaves_no_name_when_the_disk_is_full(
    store: ArchiveFolder, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk is reported as such, and the archive does not appear; later it works again."""
    part = make_part(store)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails_with(errno.ENOSPC))
        with pytest.raises(InsufficientStorage):
            store.publish(part, "x.war")
    assert names(folder) == [part.name]
    assert store.publish(part, "x.war") == "x.war"


def test_publish_passes_on_other_errors(store: ArchiveFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken disk is not a full one."""
    part = make_part(store)
    monkeypatch.setattr(os, "link", fails_with(errno.EIO))
    with pytest.raises(OSError, match="error") as caught:
        store.publish(part, "x.war")
    assert caught.value.errno == errno.EIO


def test_remove_returns_whether_the_archive_was_there(store: ArchiveFolder, folder: Path) -> None:
    """Removing is final, and removing again is harmless."""
    (folder / "x.war").write_bytes(b"zip")
    assert store.remove("x.war") is True
    assert store.remove("x.war") is False
    assert names(folder) == []


def test_remove_leaves_other_folders_alone(store: ArchiveFolder, tmp_path: Path) -> None:
    """A name that is a path is nothing that could be removed."""
    (tmp_path / "x.war").write_bytes(b"zip")
    assert store.remove("../x.war") is False
    assert (tmp_path / "x.war").exists()


def test_sweep_removes_what_the_dead_left(store: ArchiveFolder, folder: Path) -> None:
    """Parts of the dead go with what they published without recording it; all else stays."""
    unwritten = make_part(store, "dead-1")
    unrecorded = make_part(store, "dead-2")
    store.publish(unrecorded, "unrecorded.war")
    recorded = make_part(store, "dead-2")
    store.publish(recorded, "recorded.war")
    living = make_part(store, "alive")
    store.publish(living, "living.war")
    (folder / "local.war").write_bytes(b"new")
    (folder / ".other.part").write_bytes(b"new")

    removed = store.sweep(lambda owner: owner == "alive", lambda name: name == "recorded.war")

    gone = [unwritten.stem, unrecorded.stem, "unrecorded", recorded.stem]
    assert sorted(Path(name).stem for name in removed) == sorted(gone)
    stay = [".other", living.stem, "living", "local", "recorded"]
    assert sorted(path.stem for path in folder.iterdir()) == sorted(stay)


def test_sweep_does_nothing_when_all_live(store: ArchiveFolder, folder: Path) -> None:
    """Downloads under way are left alone."""
    part = make_part(store)
    assert store.sweep(lambda _: True, lambda _: False) == []
    assert names(folder) == [part.name]


#: Publishes a part where there are no hard links, and dies at one moment of it: arguments are the part and the moment.
_DIE = """
import os, sys
from pathlib import Path
from wfmgmt.archives.stores import ArchiveFolder

part, moment = Path(sys.argv[1]), sys.argv[2]
replace = Path.replace

def no_links(*_):
    raise PermissionError(1, "Operation not permitted")

def replace_and_die(source, target):
    if moment == "renamed":
        replace(source, target)
    os._exit(9)

real_open = os.open

def open_and_die(path, *arguments):
    if moment == "marked" and str(path).endswith("x.war"):
        os._exit(9)
    return real_open(path, *arguments)

os.link, Path.replace, os.open = no_links, replace_and_die, open_and_die
ArchiveFolder(folder=part.parent, suffix=".war").publish(part, "x.war")
"""


@pytest.mark.parametrize("theirs", [None, b"theirs"], ids=["free", "taken"])
@pytest.mark.parametrize("moment", ["marked", "placed", "renamed"])
def test_sweep_finds_what_one_who_died_while_renaming_left(
    store: ArchiveFolder, folder: Path, moment: str, theirs: bytes | None
) -> None:
    """A kill at any moment leaves nothing of ours after the sweep, and all that is another's."""
    part = make_part(store)
    if theirs is not None:
        (folder / "x.war").write_bytes(theirs)
    died = subprocess.run([sys.executable, "-c", _DIE, str(part), moment], cwd=CHECKOUT, check=False, timeout=30)
    assert died.returncode == 9
    assert len(names(folder)) > 1
    store.sweep(lambda _: False, lambda _: False)
    assert names(folder) == ([] if theirs is None else ["x.war"])
    if theirs is not None:
        assert (folder / "x.war").read_bytes() == theirs


def test_publish_does_without_syncing_folders(
    store: ArchiveFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems sync files only."""
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", refuse_folders)
    part = make_part(store)
    assert store.publish(part, "x.war") == "x.war"
    store.discard(part)
    assert names(folder) == ["x.war"]
