"""Staging of archives that lie in another server's stores: finding them, and copies of those that ours lack."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.stores import ArchiveFolder, StoreFolders
from wfmgmt.domain.names import quoted
from wfmgmt.errors import ArchiveNotFound, RelativePathRefused
from wfmgmt.errors.commands import NotImported


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundArchive:
    """An archive that is in one of our stores or could be copied there.

    Attributes:
        store: `workflow` or `model`.
        name: Its file name.
        path: Where it is now.
        sha256: Digest of its bytes.
        is_here: Whether our store has it.
    """

    store: str
    name: str
    path: Path
    sha256: str
    is_here: bool


def find_archive(store: str, name: str, *, ours: StoreFolders, theirs: Mapping[str, ArchiveFolder]) -> FoundArchive:
    """Return the archive of that name, ours if both stores have it.

    Args:
        store: `workflow` or `model`.
        name: As the other server or a spec names it.
        ours: The stores of this server.
        theirs: Those of the other one that are at hand, by `workflow` and `model`.

    Raises:
        NotImported: No store has it, the two have different files of that name, or one cannot be read.
        BadRequest, UrlNotAllowed, RelativePathRefused: As `ArchiveFolder.find` says.
    """
    with _unreadable_reported(name):
        here, there = _path_in(ours.named(store), name), _path_in(theirs.get(store), name)
        path = here or there
        if path is None:
            raise NotImported(f"{quoted(name)} is not in the {store} store{_hint(store, theirs)}")
        digest = sha256_of(path)
        if here is not None and there is not None and sha256_of(there) != digest:
            raise _conflict(store, name)
    return FoundArchive(store=store, name=name, path=path, sha256=digest, is_here=here is not None)


def find_there(store: str, name: str, theirs: Mapping[str, ArchiveFolder]) -> Path | None:
    """Return the archive that the other server has under that name, None when it has none or its store is not at hand.

    Raises:
        BadRequest, UrlNotAllowed, RelativePathRefused: As `ArchiveFolder.find` says.
    """
    return _path_in(theirs.get(store), name)


@contextmanager
def staged(
    archives: Sequence[FoundArchive], *, folders: StoreFolders, lease: str, is_used: Callable[[str, str], bool]
) -> Iterator[None]:
    """Have copies of these archives in our stores, for good if the block succeeds; else they go again.

    Copies count as unfinished downloads until then, so those of a process that dies are swept away.

    Args:
        archives: Those that are not here.
        folders: Where the copies go.
        lease: Whose they are meanwhile.
        is_used: Returns whether a workflow runs from a file, by store and name.

    Raises:
        NotImported: A file of that name appeared meanwhile, or one cannot be read.
        InsufficientStorage: The disk is full.
    """
    made: list[tuple[FoundArchive, Path]] = []
    try:
        for each in archives:
            part = _copy(each, folders.named(each.store), lease)
            made.append((each, part))
        yield
    except BaseException:
        for each, part in made:
            # What an interrupted registration still claims is left to the sweep, which comes after that is undone.
            if not is_used(each.store, each.name):
                folders.named(each.store).remove(each.name)
                folders.named(each.store).discard(part)
        raise
    for each, part in made:
        folders.named(each.store).discard(part)


def planned(archives: Sequence[FoundArchive], folders: StoreFolders) -> StoreFolders:
    """Return our stores as they will be with copies of these archives, after checking that copies can be made.

    Raises:
        NotImported: A store cannot be written.
        InsufficientStorage: The disk has too little room.
    """
    stores: dict[str, ArchiveFolder] = {}
    for store in ("workflow", "model"):
        wanted = {each.name: each.path for each in archives if each.store == store}
        stores[store] = folders.named(store).with_staged(wanted)
        if wanted:
            with _unreadable_reported(next(iter(wanted)), verb="copied"):
                stores[store].check_room(sum(path.stat().st_size for path in wanted.values()))
    return StoreFolders(**stores)


def _copy(archive: FoundArchive, folder: ArchiveFolder, lease: str) -> Path:
    """Copy an archive into a folder under its name, and return the part that the copy still is."""
    with _unreadable_reported(archive.name, verb="copied"):
        part = folder.copy(archive.path, lease)
        try:
            _publish(archive, folder, part)
        except BaseException:
            folder.discard(part)
            raise
    return part


def _publish(archive: FoundArchive, folder: ArchiveFolder, part: Path) -> None:
    if sha256_of(part) != archive.sha256:
        raise NotImported(f"{quoted(archive.name)} changes while it is copied")
    if not folder.publish_as(part, archive.name):
        raise _conflict(archive.store, archive.name)


def _path_in(folder: ArchiveFolder | None, name: str) -> Path | None:
    try:
        return None if folder is None else folder.find(name)
    except RelativePathRefused:
        raise
    except ArchiveNotFound:
        return None


def _hint(store: str, theirs: Mapping[str, ArchiveFolder]) -> str:
    if theirs.get(store) is not None:
        return ", nor in that of TorchServe"
    return f"; put it there, or name TorchServe's own with --{store}-store"


def _conflict(store: str, name: str) -> NotImported:
    return NotImported(f"the {store} store has another file {quoted(name)}, which stays as it is")


@contextmanager
def _unreadable_reported(name: str, *, verb: str = "read") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotImported(f"{quoted(name)} cannot be {verb}: {error.strerror}") from error
