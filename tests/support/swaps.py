"""Archives that are swapped under their readers: two contents of one file take turns all the time."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def rename(path: Path, content: bytes) -> None:
    """Put another file in the place of this one, as careful tools do."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.rename(path)


def rewrite(path: Path, content: bytes) -> None:
    """Write over the file, piece by piece, as `cp` and `rsync --inplace` do."""
    with path.open("r+b") as file:
        for start in range(0, len(content), 64 * 1024):
            file.write(content[start : start + 64 * 1024])
            file.flush()
        file.truncate()


WAYS: dict[str, Callable[[Path, bytes], None]] = {"renamed": rename, "rewritten": rewrite}


@contextmanager
def swapped(path: Path, contents: tuple[bytes, bytes], way: str) -> Iterator[Callable[[], int]]:
    """Swap the content of a file again and again; gives a function that returns how often that was done."""
    done, over = 0, threading.Event()

    def swap() -> None:
        nonlocal done
        # The pauses are of many lengths, so that swaps meet every step of the readers.
        while not over.wait((os.urandom(1)[0] % 40) / 1000):
            WAYS[way](path, contents[done % 2])
            done += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield lambda: done
    finally:
        over.set()
        thread.join()
