"""Registered archives under their digests: their bytes, and the read-only folders that they are unpacked in.

What is registered stays what it was, whatever becomes of the file in the store. Each digest has a folder:

    sha256/<its first two digits>/<digest>/archive      the bytes
                                           tree/        what they unpack to
                                           facts.json   what the tree looked like when it was made
    seen/<what a file looks like>                       the digest that the file had

Either of the first two may be missing; a tree is made from the bytes when it is needed. All of it is made in a part, a
hidden folder whose name says whose it is, and gets its place by renaming. So nothing is ever half there, and what a
process leaves that dies is known by its name.
"""

import contextlib
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wfmgmt.archives.durable import new_durable_file, sync_folder
from wfmgmt.archives.progress import ByteCounter, ignore_bytes
from wfmgmt.archives.seen import SeenFiles, looks_of
from wfmgmt.archives.verified import VerifiedFile, open_verified
from wfmgmt.folders import (
    ASIDE,
    Facts,
    change_between,
    ensure_folder,
    give_back,
    lock_within,
    move_to,
    read_record,
    record,
    remove_folder,
    seal,
    seal_file,
)

#: Owner of what the runtime makes; all others are leases.
RUNTIME = "runtime"

_OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PART = re.compile(rf"\.({_OWNER.pattern})-[0-9a-f]{{32}}\.part")
_BYTES, _TREE, _FACTS = "archive", "tree", "facts.json"
#: How long the lock is waited for, which is held for moments only unless a handler holds it; and how long by work that
#: can be left to a later sweep.
_MAX_LOCK_S, _MAX_TIDY_LOCK_S = 30.0, 1.0

_log = logging.getLogger("wfmgmt.archives")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An archive that is kept.

    Attributes:
        sha256: Its digest.
        is_new: Whether it was not there before.
        stamp: When it was used last: of the moment in which it was kept, unless somebody else kept it since.
        looks: What the file looked like that it was read from, if nobody had seen that one before.
    """

    sha256: str
    is_new: bool
    stamp: int
    looks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """An archive that is unpacked.

    Attributes:
        folder: Where; sealed, and shared by all that use it.
        facts: What it looked like when it was made.
    """

    folder: Path
    facts: Mapping[str, Facts]


class ArchivePart:
    """An archive on its way from a file to its digest; `KeptArchives.part` makes it. One thread at a time may use it.

    Attributes:
        tree: An empty folder to unpack it into once it is open; None when it is not to be unpacked.
        is_known: Whether it turned out to be kept already, so that it need be neither checked nor unpacked again.
    """

    def __init__(self, kept: "KeptArchives", folder: Path, *, is_unpacked: bool, is_copied: bool) -> None:
        self.tree = folder / _TREE if is_unpacked else None
        self.is_known = False
        self._kept = kept
        self._folder = folder
        self._is_copied = is_copied
        self._content: VerifiedFile | None = None
        self._looks: str | None = None
        self._there: Kept | None = None

    def open(self, source: Path, on_bytes: ByteCounter = ignore_bytes) -> VerifiedFile:
        """Open the archive for the one reading by which it is checked, hashed, copied and unpacked.

        Args:
            source: Its file; one that is kept already is not copied.
            on_bytes: Called with what has been read.

        Raises:
            FileNotFoundError: There is no such file.
            InvalidArchive: It cannot be read, or is no regular file.
            OSError: The copy cannot be written.
        """
        is_copied = self._is_copied and not self._kept.has(source)
        self._looks = looks_of(source)
        if (seen := self._kept.seen.digest(self._looks)) is not None:
            size_bytes = source.stat().st_size if is_copied else None
            self._there = self._kept.use(seen, size_bytes=size_bytes, has_tree=self.tree is not None)
        if self._there is not None:
            self._content = open_verified(source, on_bytes=on_bytes)
            if self._content.sha256 == seen:
                self.is_known, self.tree = True, None
                return self._content
            self._content.close()
        self._folder.mkdir(0o700)  # Only now, since most archives are kept already.
        if self.tree is not None:
            self.tree.mkdir(0o700)
        self._content = open_verified(source, self._folder / _BYTES if is_copied else None, on_bytes=on_bytes)
        return self._content

    def keep(self) -> Kept:
        """Keep what was read under its digest, durable; it has to be open still, and unpacked by now.

        Raises:
            InvalidArchive: The file is no longer what it was, or cannot be read.
            OSError: It cannot be written, for one because the disk is full; then it is not kept.
        """
        if self._content is None:
            raise RuntimeError("nothing was opened")
        sha256 = self._content.sha256
        if self.is_known and self._there is not None:
            return self._there
        found = self._put(sha256)
        is_first = self._looks is not None and self._kept.seen.remember(self._looks, sha256)
        return replace(found, looks=self._looks) if is_first else found

    def _put(self, sha256: str) -> Kept:
        copy = self._folder / _BYTES
        size_bytes = copy.stat().st_size if copy.exists() else None
        there = self._kept.use(sha256, size_bytes=size_bytes, has_tree=self.tree is not None)
        if there is not None:
            return there
        if size_bytes is not None:
            seal_file(copy)
        if self.tree is not None:
            seal(self.tree)
            with new_durable_file(self._folder / _FACTS, is_private=True) as file:
                file.write(json.dumps(record(self.tree)).encode())
        sync_folder(self._folder)
        return self._kept.put(self._folder, sha256)


class KeptArchives:
    """The archives that are kept in one folder. Thread-safe, and any number of processes may use the folder at once.

    Attributes:
        seen: What files looked like that they were read from.

    Args:
        folder: Where they are; made when it is needed.
        keeps_bytes: Whether the bytes of archives are kept that are unpacked, too.
        owner: Who makes parts here, in up to 64 letters, digits, dots, underscores and dashes; `sweep` asks for it.
    """

    def __init__(self, folder: Path, *, keeps_bytes: bool = True, owner: str = "nobody") -> None:
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"not an owner of parts: {owner!r}")
        self._folder = folder
        self._root = folder / "sha256"
        self.seen = SeenFiles(folder / "seen")
        self._keeps_bytes = keeps_bytes
        self._owner = owner

    def of(self, owner: str) -> "KeptArchives":
        """Return the same for another owner."""
        return KeptArchives(self._folder, keeps_bytes=self._keeps_bytes, owner=owner)

    @contextlib.contextmanager
    def part(self, *, is_unpacked: bool = True) -> Iterator[ArchivePart]:
        """Give the place in which an archive is made; nothing of it stays unless it is kept in the end.

        Args:
            is_unpacked: Whether it is to be unpacked; if not, its bytes are kept in any case.

        Raises:
            OSError: The folder cannot be written, for one because the disk is full.
        """
        folder = self._root / f".{self._owner}-{uuid.uuid4().hex}.part"
        self._make_root()
        try:
            yield ArchivePart(self, folder, is_unpacked=is_unpacked, is_copied=self._keeps_bytes or not is_unpacked)
        finally:
            remove_folder(folder)

    def has(self, file: Path) -> bool:
        """Return whether a file is one that is kept."""
        return self._root in file.parents

    def use(self, sha256: str, *, size_bytes: int | None, has_tree: bool) -> Kept | None:
        """Return what is kept already, used as of now; None if it is not, or not all that is wanted of it.

        Args:
            sha256: Its digest.
            size_bytes: How many bytes it has; None if these are not wanted.
            has_tree: Whether its tree is wanted.
        """
        entry = self._entry(sha256)
        with self._lock():
            if not entry.exists() or (size_bytes is not None and _size(entry / _BYTES) != size_bytes):
                return None
            if has_tree and self._tree(entry) is None:
                return None
            return Kept(sha256=sha256, is_new=False, stamp=_touch(entry))

    def put(self, part: Path, sha256: str) -> Kept:
        """Give a part, which is complete and durable, the place of its digest.

        Where there is such an archive already, it gets what it lacks: the bytes, or a tree that is as it was made.
        One that is in use is never moved.

        Raises:
            OSError: It cannot be put there.
        """
        entry = self._entry(sha256)
        with self._lock():
            is_new = not entry.exists()
            if is_new:
                ensure_folder(entry.parent)
                sync_folder(self._root)
                part.rename(entry)
                sync_folder(entry.parent)
            else:
                self._complete(entry, part)
            found = Kept(sha256=sha256, is_new=is_new, stamp=_touch(entry))
        for old in entry.glob(f"*{ASIDE}"):
            remove_folder(old)
        return found

    def _complete(self, entry: Path, part: Path) -> None:
        """Move what is better in a part than in an entry there."""
        if (part / _BYTES).exists():
            move_to(part / _BYTES, entry / _BYTES)
        fresh, tree = part / _TREE, entry / _TREE
        if fresh.exists() and self._tree(entry) is None:
            fresh.chmod(0o700)  # A folder that gets another parent has to be writable.
            move_to(fresh, tree)
            tree.chmod(0o500)
            move_to(part / _FACTS, entry / _FACTS)
        sync_folder(entry)

    def tree(self, sha256: str) -> Tree | None:
        """Return the tree of an archive; None when it is not kept, or is not as it was made.

        Raises:
            OSError: That cannot be found out.
        """
        return self._tree(self._entry(sha256))

    def _tree(self, entry: Path) -> Tree | None:
        folder = entry / _TREE
        try:
            found = record(folder)
        except OSError:
            return None
        facts = read_record(entry / _FACTS, found)
        if facts is None:
            return None
        if (change := change_between(facts, found)) is not None:
            _log.warning("the unpacked files of the archive %s were changed: %s", entry.name, change)
            return None
        return Tree(folder=folder, facts=facts)

    def file(self, sha256: str) -> Path | None:
        """Return the file with the bytes of an archive, to be checked when they are read; None without one."""
        path = self._entry(sha256) / _BYTES
        give_back(path, 0o400)
        return path if path.exists() else None

    def forget_tree(self, sha256: str) -> None:
        """Remove the tree of an archive, which is not what it should be; it is made again when it is needed."""
        entry = self._entry(sha256)
        with self._lock(), contextlib.suppress(FileNotFoundError):
            (entry / _FACTS).unlink()

    def touch(self, digests: Collection[str]) -> None:
        """Record that archives were used now, those that are kept, as far as that can be recorded soon."""
        with contextlib.suppress(OSError), self._lock(_MAX_TIDY_LOCK_S):
            for sha256 in digests:
                with contextlib.suppress(FileNotFoundError):
                    _touch(self._entry(sha256))

    def take_back(self, kept: Kept) -> None:
        """Forget the file, and remove what was kept unless it was there before or anybody has used it since."""
        if kept.looks is not None:
            self.seen.forget(kept.looks)
        if kept.is_new:
            self._remove(self._entry(kept.sha256), lambda stamp: stamp == kept.stamp)

    def parts(self) -> list[Path]:
        """Return the parts of this owner, which are left over if it makes none now."""
        return list(self._root.glob(f".{self._owner}-*.part"))

    def sweep(self, is_alive: Callable[[str], bool], used: Collection[str], before: int) -> list[str]:
        """Remove parts of owners that died, and archives that nobody uses.

        Args:
            is_alive: Returns whether an owner of parts still runs.
            used: Digests of all that are used.
            before: Nanoseconds since the epoch; what was used since then stays in any case.

        Returns:
            The digests of the archives that were removed.
        """
        if not self._root.exists():
            return []
        for path in list(self._root.iterdir()):
            part = _PART.fullmatch(path.name)
            if path.name.endswith(ASIDE) or (part and not is_alive(part[1])):
                remove_folder(path)
        entries = [entry for entry in self._root.glob("[0-9a-f][0-9a-f]/*") if entry.name not in used]
        removed = [entry.name for entry in entries if self._remove(entry, lambda stamp: stamp < before)]
        self.seen.sweep(lambda sha256: bool(sha256) and self._entry(sha256).exists(), before)
        return removed

    def _remove(self, entry: Path, is_unused: Callable[[int], bool]) -> bool:
        """Remove an entry if nobody uses it, which its stamp says."""
        old = self._old()
        with self._lock(_MAX_TIDY_LOCK_S):
            try:
                if not is_unused(entry.stat().st_mtime_ns):
                    return False
                entry.rename(old)
            except FileNotFoundError:
                return False
        remove_folder(old)
        return True

    def _entry(self, sha256: str) -> Path:
        """Return the folder of an archive, in which its owner may do all if it is there."""
        shelf = self._root / sha256[:2]
        entry = shelf / sha256
        for folder in (self._folder, self._root, shelf, entry):
            give_back(folder)
        return entry

    def _old(self) -> Path:
        return self._root / f".{uuid.uuid4().hex}{ASIDE}"

    def _make_root(self) -> None:
        ensure_folder(self._folder.resolve())  # It may be a link to a larger disk.
        ensure_folder(self._root)

    @contextlib.contextmanager
    def _lock(self, max_wait_s: float | None = None) -> Iterator[None]:
        """Keep all others, in this process and in others, from moving anything; long work is done without it."""
        self._make_root()
        lock = self._folder / "lock"
        if lock.is_dir():
            remove_folder(lock)
        give_back(lock, 0o600)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock_within(descriptor, _MAX_LOCK_S if max_wait_s is None else max_wait_s)
            yield
        finally:
            os.close(descriptor)


def _size(file: Path) -> int:
    """Return how long a file is, -1 when there is none."""
    try:
        return file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _touch(entry: Path) -> int:
    """Record that an archive was used now; return the moment, which no other use of it has."""
    stamp = max(time.time_ns(), entry.stat().st_mtime_ns + 1)
    os.utime(entry, ns=(stamp, stamp))
    return stamp
