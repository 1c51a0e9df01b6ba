"""The archives that TorchServe loads: names in the model store that only one registration has."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from wfmgmt.domain.faults import Fault
from wfmgmt.errors import InvalidArchive
from wfmgmt.serving.models.base import Model, ModelNotLoaded
from wfmgmt.serving.models.kept import KeptArchives

#: How file systems say that they have no such links; EPERM is FAT's word.
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class PinnedArchives:
    """Gives each registered model a hidden name for its archive, made of the installation's and the registration's.

    TorchServe says of a model's archive the name it was registered with. So that name says whose the model is, after
    any restart of ours, and models of others are never touched. It stands for the bytes that are kept, so what is done
    to the file in the model store, which only names them, does not matter.

    Args:
        identity: Distinguishes this installation from all others.
        kept: Where the bytes are.
        digest: Returns the SHA-256 of a file in lower-case hexadecimal; it blocks. Raises OSError.
    """

    def __init__(self, identity: str, kept: KeptArchives, digest: Callable[[Path], str]) -> None:
        self._start = f".wfmgmt-{identity}-"
        self._kept = kept
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
        pinned = model.archive.parent / self.file_of(model)
        with _errors_reported(model, "pinned"):
            kept = self._kept.file(model.archive_sha256) or self._keep(model)
            pinned.unlink(missing_ok=True)
            _name(kept, pinned)

    def _keep(self, model: Model) -> Path:
        """Keep the bytes of an archive that was registered when none were kept, or where only its tree is."""
        with self._kept.part(is_unpacked=False) as part:
            archive = part.open(model.archive)
            with archive:
                if archive.sha256 != model.archive_sha256:
                    raise _changed(model, archive.sha256)
                part.keep()
        kept = self._kept.file(model.archive_sha256)
        if kept is None:
            raise FileNotFoundError(model.archive_sha256)
        return kept

    def check(self, model: Model) -> None:
        """Check that the file behind the name still is the one that was registered; this blocks.

        Nobody but this service should write to it, and the disk should not lose any of it.

        Raises:
            ModelNotLoaded: It is not, or cannot be read.
        """
        with _errors_reported(model, "read"):
            digest = self._digest(model.archive.parent / self.file_of(model))
        if digest != model.archive_sha256:
            raise _changed(model, digest)

    def unpin(self, model: Model) -> None:
        """Remove the name; this blocks."""
        (model.archive.parent / self.file_of(model)).unlink(missing_ok=True)

    def sweep(self, folder: Path, known: Collection[str]) -> None:
        """Remove the names of all registrations but those that are known; this blocks."""
        for file in folder.iterdir():
            if self.is_ours(file.name) and self.registration(file.name) not in known:
                file.unlink(missing_ok=True)


def _changed(model: Model, digest: str) -> ModelNotLoaded:
    return ModelNotLoaded(
        model.node,
        f"{model.archive.name} is not the file that was registered (sha256 {model.archive_sha256}, now {digest}); "
        "register the workflow again",
        Fault.FILE,
    )


def _name(kept: Path, pinned: Path) -> None:
    """Give a file another name, under which those may read it who may read the folder; a copy on another file system.

    A symbolic link would not do: TorchServe may not enter our folders.
    """
    try:
        os.link(kept, pinned)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(kept, pinned)
    folder = pinned.parent.stat()
    with contextlib.suppress(PermissionError):  # Only members of a group can give it a file.
        os.chown(pinned, -1, folder.st_gid)
    pinned.chmod(0o400 | folder.st_mode & 0o044)


@contextmanager
def _errors_reported(model: Model, verb: str) -> Iterator[None]:
    """Raise ModelNotLoaded for errors of the file system."""
    try:
        yield
    except InvalidArchive as error:
        raise ModelNotLoaded(model.node, f"{model.archive.name}: {error}", Fault.FILE) from error
    except FileNotFoundError as error:
        raise ModelNotLoaded(model.node, f"Model not found at: {model.archive.name}", Fault.FILE) from error
    except OSError as error:
        raise ModelNotLoaded(model.node, f"{model.archive.name} cannot be {verb}: {error.strerror}") from error
