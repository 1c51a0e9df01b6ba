"""The folder that a worker works in: the files of its archive, without a second copy of the large ones.

It is a part of the worker, so it imports little.
"""

import os

#: Files up to this length are copied as long as all copies are not longer than that: a handler may write to them, as
#: with TorchServe, and no other worker sees it. The others are links to the read-only tree.
_MAX_COPY_BYTES, _MAX_COPIES_BYTES = 64 * 1024, 16 * 1024 * 1024


def make_working_folder(tree: str, folder: str) -> None:
    """Make a folder in which each path leads to what it leads to in the unpacked archive.

    Args:
        tree: Folder of the unpacked archive.
        folder: Where the new folder is to be; those around it are made, too.

    Raises:
        OSError: The tree is gone or there is no room.
    """
    os.makedirs(folder, 0o700)  # noqa: PTH103 - here and below: pathlib would cost each worker memory and time
    left = _MAX_COPIES_BYTES
    pending = [""]
    while pending:
        parent = pending.pop()
        with os.scandir(f"{tree}/{parent}") as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{folder}/{parent}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(path, 0o700)  # noqa: PTH102
                pending.append(f"{parent}{entry.name}/")
                continue
            size_bytes = entry.stat(follow_symlinks=False).st_size
            if size_bytes <= min(_MAX_COPY_BYTES, left):
                left -= size_bytes
                _copy(entry.path, path)
            else:
                os.symlink(entry.path, path)  # noqa: PTH211


def _copy(source: str, target: str) -> None:
    """Copy a small file."""
    with open(source, "rb", buffering=0) as original:  # noqa: PTH123
        content = original.read()
    with open(target, "xb", buffering=0, opener=_open_private) as copy:
        copy.write(content)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
