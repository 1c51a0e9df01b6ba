"""Folders that untrusted code has written to: what they hold, and how they are removed."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

#: What a file or folder looked like: mode, inode and times, and of files the size too.
Facts = tuple[int, ...]

_OWNER = 0o700
#: What a record has at most for each file or folder, and for each character of its name; and how much longer it may be
#: than what is there now needs, so that what was removed can be named.
_MAX_FACT_BYTES, _MAX_CHAR_BYTES, _MAX_SPARE_BYTES = 128, 12, 64 * 1024
#: How often a lock is looked at that somebody has.
_LOCK_POLL_S = 0.005
#: Ends the names of what was moved aside and can be removed.
ASIDE = ".old"
#: How it shows that somebody put something else in the place of a file, or took the right to read it.
_TAMPERED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.EISDIR})

_logger = logging.getLogger(__name__)
#: Held while a folder is made, so that no thread moves aside what another one has just made.
_making = threading.Lock()


def seal(folder: Path) -> None:
    """Make a folder and all that is in it read-only and durable.

    All has been written before the first of it is waited for, so most of it is on the disk by then.

    Raises:
        OSError: The system does not allow it.
    """
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            seal_file(f"{parent}/{name}")
        seal_file(parent, 0o500)


def seal_file(path: str | Path, mode: int = 0o400) -> None:
    """Make one file, or one folder without what is in it, read-only and durable.

    Raises:
        OSError: The system does not allow it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def record(folder: Path) -> dict[str, Facts]:
    """Return what a folder holds, by paths relative to it; links are not followed.

    Raises:
        OSError: It cannot be read.
    """
    found: dict[str, Facts] = {"": _facts(folder.lstat())}
    pending = [""]
    while pending:
        parent = pending.pop()
        with os.scandir(f"{folder}/{parent}") as entries:
            for entry in entries:
                found[parent + entry.name] = _facts(entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{parent}{entry.name}/")
    return found


def read_record(path: Path, found: Mapping[str, Facts]) -> dict[str, Facts] | None:
    """Return what was recorded of a folder, which was written to a file as JSON; None when that is no such record.

    A handler can write there, and a long text would take all threads of the process a long time: one that is much
    longer than that of what the folder holds now is not read.

    Args:
        path: The file.
        found: What the folder holds now.

    Raises:
        OSError: It cannot be read.
    """
    max_bytes = len(found) * _MAX_FACT_BYTES + sum(map(len, found)) * _MAX_CHAR_BYTES + _MAX_SPARE_BYTES
    try:
        return {name: tuple(each) for name, each in json.loads(read_file(path, max_bytes) or b"").items()}
    except (ValueError, RecursionError, AttributeError, TypeError):
        return None


def _facts(status: os.stat_result) -> Facts:
    facts = (status.st_mode, status.st_ino, status.st_mtime_ns)
    # A folder gets a new ctime when it is renamed, and its mtime shows what was added or removed.
    return facts if stat.S_ISDIR(status.st_mode) else (*facts, status.st_ctime_ns, status.st_size)


def difference(folder: Path, recorded: Mapping[str, Facts]) -> str | None:
    """Say in what a folder differs from what was recorded of it, None when it does not.

    Contents are not read: one that was changed and got its times back still has another ctime.
    """
    try:
        return change_between(recorded, record(folder))
    except OSError as exc:
        return f"they cannot be read: {exc.strerror}"


def change_between(recorded: Mapping[str, Facts], found: Mapping[str, Facts]) -> str | None:
    """Say in what one record of a folder differs from an earlier one, None when it does not."""
    if found == recorded:
        return None
    for name in sorted(found.keys() | recorded.keys()):
        if name not in found:
            return f"{name} was removed"
        if name not in recorded:
            return f"{name} was added"
        if found[name] != recorded[name] and not stat.S_ISDIR(found[name][0]):
            return f"{name} was changed"
    return "a folder was changed"


def ensure_folder(folder: Path) -> None:
    """Make a private folder, unless it is there, and give its owner back what a handler took away.

    Anything else that has its name is moved aside.

    Raises:
        OSError: That cannot be done.
    """
    with _making:
        if os.path.lexists(folder) and not stat.S_ISDIR(folder.lstat().st_mode):
            _logger.warning("%s is no folder any more; it is made again", folder.name)
            replace_folder(folder)
        folder.mkdir(mode=_OWNER, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != _OWNER:
            folder.chmod(_OWNER)


def give_back(path: Path, permissions: int = _OWNER) -> None:
    """Give the owner of a folder or file, if it is there, back permissions that a handler took away.

    Raises:
        OSError: That cannot be done.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and mode & permissions != permissions:
            path.chmod(mode | permissions)


def replace_folder(folder: Path) -> None:
    """Make a new, empty folder, after moving aside what has its name, to a name with `.old-` in it.

    Moving needs no permission on the folder itself, so nothing that was done to it gets in the way.

    Raises:
        OSError: The folder around it cannot be written to.
    """
    if os.path.lexists(folder):
        folder.rename(folder.with_name(f"{folder.name}.old-{uuid.uuid4().hex}"))
    folder.mkdir(mode=_OWNER, parents=True)


def read_file(path: Path, max_bytes: int) -> bytes | None:
    """Return what is in a file, None when there is no such file any more, or it is too long.

    Raises:
        OSError: That cannot be found out.
    """
    try:
        # A FIFO in its place would block an opening that waits for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
            status = os.fstat(file.fileno())
            is_whole = stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes
            return file.read(max_bytes) if is_whole else None
    except OSError as exc:
        if exc.errno in _TAMPERED:
            return None
        raise


def lock_within(descriptor: int, seconds: float) -> None:
    """Lock an open file. A handler that holds the lock for ever cannot have others wait for as long.

    Raises:
        TimeoutError: It stays locked.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"it was locked for {seconds:g} s") from None
        time.sleep(_LOCK_POLL_S)  # The system has no such lock with a time limit.


def move_to(source: Path, place: Path) -> None:
    """Rename a file or folder within a file system; a folder that is in its place is moved aside, as `….old`.

    Raises:
        OSError: That cannot be done.
    """
    if os.path.lexists(place) and (source.is_dir() or stat.S_ISDIR(place.lstat().st_mode)):
        place.rename(place.with_name(f"{uuid.uuid4().hex}{ASIDE}"))
    source.rename(place)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done; log what is left.

    Links are not followed, permissions do not matter where they can be corrected, and neither does depth: folders are
    moved to the top, so there is no recursion and no path that is too long. It blocks.
    """
    if not os.path.lexists(folder):
        return
    try:
        if folder.is_symlink() or not folder.is_dir():
            folder.unlink()
            return
        top = _open_folder(str(folder))
        try:
            pending = _empty(top, top)
            while pending:
                name = pending.pop()
                inner = _open_folder(name, top)
                try:
                    pending += _empty(inner, top)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        folder.rmdir()
    except OSError as exc:
        _logger.error("%s could not be removed: %s", folder, exc.strerror)  # noqa: TRY400 - where it happened says nothing


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove several folders, one after the other."""
    for folder in folders:
        remove_folder(folder)


def _open_folder(name: str, dir_fd: int | None = None) -> int:
    """Open a folder, and give its owner all permissions on it."""
    # O_PATH opens also what may not be read.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        if os.fstat(handle).st_mode & _OWNER != _OWNER:
            os.chmod(f"/proc/self/fd/{handle}", _OWNER)  # noqa: PTH101 - by its handle, since a name could be swapped
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=handle)
    finally:
        os.close(handle)


def _empty(folder: int, top: int) -> list[str]:
    """Remove the files of an open folder and move its folders to the top; return the names that these have there."""
    moved: list[str] = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
            elif folder == top:
                moved.append(entry.name)
            else:
                os.close(_open_folder(entry.name, folder))  # A folder that is moved has to be writable.
                moved.append(uuid.uuid4().hex)
                os.rename(entry.name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
    return moved
