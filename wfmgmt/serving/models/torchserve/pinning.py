"""The archives that TorchServe loads: names in the model store that only one registration has."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import Model, ModelNotLoaded

#: How file systems say that they have no such links: EPERM is FAT's word, and the kernel's for files of other users.
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class PinnedArchives:
    """Gives each registered model a hidden name for its archive, made of the installation's and the registration's.

    TorchServe says of a model's archive the name it was registered with. So that name says whose the model is, after
    any restart of ours, and models of others are never touched. It also keeps the very file that was registered, when
    another one is put in its place.

    Args:
        identity: Distinguishes this installation from all others.
        digest: Returns the SHA-256 of a file in lower-case hexadecimal; it blocks. Raises OSError.
    """

    def __init__(self, identity: str, digest: Callable[[Path], str]) -> None:
        self._start = f".wfmgmt-{identity}-"
        self._digest = digest

    def file_of(self, model: Model) -> str:
        """Return the hidden name."""
        uid, node = model.key
        digest = hashlib.sha256(f"{uid}/{node}".encode()).hexdigest()[:12]
        return f"{self._start}{uid}-{digest}.mar"

    def is_ours(self, url: str) -> bool:
        """Return whether a model that was registered with this name is of this installation."""
        return url.startswith(self._start)

    def registration(self, url: str) -> str:
        """Return to which registration a name of ours belongs."""
        return url.removeprefix(self._start).rpartition("-")[0]

    def pin(self, model: Model) -> None:
        """Make the name; what it stands for is to be checked around each use. This blocks.

        Raises:
            ModelNotLoaded: There is no such archive, or it cannot be named.
        """
        archive, pinned = model.archive, model.archive.parent / self.file_of(model)
        with _errors_reported(model, "pinned"):
            pinned.unlink(missing_ok=True)
            _name(archive.resolve(strict=True), pinned)

    def check(self, model: Model) -> None:
        """Check that the file behind the name still is the one that was registered; this blocks.

        A hard link keeps another file from taking its place, but does not keep others from writing over it.

        Raises:
            ModelNotLoaded: It is not, or cannot be read.
        """
        archive = model.archive
        with _errors_reported(model, "read"):
            digest = self._digest(archive.parent / self.file_of(model))
        if digest != model.archive_sha256:
            raise ModelNotLoaded(
                model.node,
                f"{archive.name} is not the file that was registered (sha256 {model.archive_sha256}, now {digest}); "
                "register the workflow again",
                Fault.FILE,
            )

    def unpin(self, model: Model) -> None:
        """Remove the name; this blocks."""
        (model.archive.parent / self.file_of(model)).unlink(missing_ok=True)

    def sweep(self, folder: Path, known: Collection[str]) -> None:
        """Remove the names of all registrations but those that are known; this blocks."""
        for file in folder.iterdir():
            if self.is_ours(file.name) and self.registration(file.name) not in known:
                file.unlink(missing_ok=True)


def _name(archive: Path, pinned: Path) -> None:
    """Give a file another name; a symbolic link or a copy where the file system has no hard links for it."""
    for link in (os.link, os.symlink):
        try:
            link(archive, pinned)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    try:
        shutil.copyfile(archive, pinned)
    except BaseException:
        pinned.unlink(missing_ok=True)
        raise


@contextmanager
def _errors_reported(model: Model, verb: str) -> Iterator[None]:
    """Raise ModelNotLoaded for errors of the file system."""
    try:
        yield
    except FileNotFoundError as error:
        raise ModelNotLoaded(model.node, f"Model not found at: {model.archive.name}", Fault.FILE) from error
    except OSError as error:
        raise ModelNotLoaded(model.node, f"{model.archive.name} cannot be {verb}: {error.strerror}") from error
