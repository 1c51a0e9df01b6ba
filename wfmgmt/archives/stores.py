"""The store folders: archives by name, and downloads that appear whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wfmgmt.archives.durable import full_disk_reported, new_durable_file, sync_folder
from wfmgmt.archives.other_formats import folder_hint, tar_hint
from wfmgmt.archives.urls import is_remote
from wfmgmt.domain.names import quoted, shortened
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.errors import (
    ArchiveNotFound,
    BadRequest,
    FolderUnavailable,
    InsufficientStorage,
    InvalidArchive,
    RelativePathRefused,
    UrlNotAllowed,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: What names of uploads do not have, beside the control characters: what stands for bytes that are not UTF-8.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PART = re.compile(r"\.([A-Za-z0-9._-]{1,64})-[0-9a-f]{32}\.(part|moved)")
#: What follows the name of an archive in that of its signature.
SIGNATURE_SUFFIX = ".sig"
_SLASH = re.compile(r"[/\\]")
_STEM_LIMIT = 128
_CHUNK_BYTES = 1024 * 1024
#: How file systems without hard links refuse them; EPERM is the word of FAT.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EINVAL})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_MAX_NAME_BYTES = 255


class ArchiveFolder:
    """One folder of archives, which operators fill by hand and downloads fill by themselves.

    A download is written to a part, a hidden file whose name says whose it is. Once whole, it gets its visible name
    as a second link and stays a part until its owner discards that, after the registration has been recorded. So after
    a crash a part that is left over says which archive is in no registration.

    On a file system without hard links the part is renamed instead, after a second hidden file was made that gives the
    name. Several threads and processes may use the folder at once.

    Args:
        folder: An existing folder.
        suffix: What names of archives end in, with the dot.
    """

    def __init__(self, *, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._planned: Mapping[str, Path] = {}

    def with_staged(self, planned: Mapping[str, Path]) -> "ArchiveFolder":
        """Return the folder as it will be with files from elsewhere, by their names, for finding them."""
        folder = ArchiveFolder(folder=self._folder, suffix=self._suffix)
        folder._planned = planned
        return folder

    def check_room(self, size_bytes: int) -> None:
        """Check that copies of so many bytes can be made.

        Raises:
            InsufficientStorage: The disk has less room.
            OSError: The folder cannot be written.
        """
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if size_bytes > shutil.disk_usage(self._folder).free:
            raise InsufficientStorage("No space is left for the archive.")

    def find(self, name: str) -> Path:
        """Return the path of the archive of that name lying directly in the folder.

        A symbolic link is followed if a regular file is at its end, also outside of the store: only those who may
        write to the store can make one, and it is how stores share large files. Hidden files are not archives.

        Args:
            name: As it stands in a request or a spec; nothing in it is decoded.

        Raises:
            RelativePathRefused: The name has `..` in it.
            UrlNotAllowed: It is a `file:` address.
            ArchiveNotFound: The folder has no regular file of that name, or it is no plain name.
            BadRequest: The name is not text, longer than file names can be, or does not end in the suffix. In the model
                store, folders do not either, since torch-model-archiver writes such.
            InvalidArchive: It cannot be found out what is there.
        """
        _check_text(name)
        shown = redacted_address(name)
        if ".." in name:
            raise RelativePathRefused(shown)
        if name.lower().startswith("file:"):
            raise UrlNotAllowed(shown, f"file: addresses are never read, put the {self._suffix} file into the store")
        if name in self._planned:
            return self._planned[name]
        mode = self._mode(name) if _is_plain(name) else 0
        if stat.S_ISDIR(mode) and self._suffix == ".mar" and not name.endswith(self._suffix):
            raise BadRequest(f"The url {name} names a folder{folder_hint(name, self._suffix)}.")
        if not stat.S_ISREG(mode):
            raise ArchiveNotFound(shown)
        if not name.endswith(self._suffix):
            raise BadRequest(f"The url {name} has to end in {self._suffix}{tar_hint(name, self._suffix)}.")
        return self._folder / name

    def names(self) -> list[str]:
        """Return the names that archives can have in the folder, sorted; what they stand for is not looked at."""
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(self._suffix)]
        except OSError as exc:
            raise FolderUnavailable("store", exc) from exc
        return sorted(name for name in names if _is_plain(name) and name.isprintable())

    def check_free_name(self, name: str) -> None:
        """Check that an archive in the folder, or the signature of one, may have this name.

        Raises:
            BadRequest: It may not.
        """
        is_fit = _is_plain(name) and ".." not in name and _UNFIT.search(name) is None
        has_suffix = name.removesuffix(SIGNATURE_SUFFIX).endswith(self._suffix)
        if not (is_fit and has_suffix and len(name.encode()) <= _MAX_NAME_BYTES):
            raise BadRequest(
                f"File name {quoted(name)}: expected one that ends in {self._suffix}, or in "
                f"{self._suffix}{SIGNATURE_SUFFIX} for a signature, of {_MAX_NAME_BYTES} bytes at most, without "
                "slashes, control characters and .., and that does not begin with a dot."
            )

    def path(self, name: str) -> Path:
        """Return where an archive lies that has, or is to have, a name which was checked."""
        return self._planned.get(name, self._folder / name)

    def is_staged(self, name: str) -> bool:
        """Return whether an archive lies elsewhere, and is to come into the folder."""
        return name in self._planned

    def sizes(self) -> dict[tuple[int, int], int]:
        """Return the sizes of all files, parts too, each once however many names it has."""
        return {(info.st_dev, info.st_ino): info.st_size for _, info in self._entries()}

    def reserve(self, owner: str) -> Path:
        """Return the path of a new part, at which nothing exists yet.

        Args:
            owner: Who will write it, in up to 64 letters, digits, dots, underscores and dashes; `sweep` asks for it.
        """
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"not an owner of parts: {owner!r}")
        return self._folder / f".{owner}-{uuid.uuid4().hex}.part"

    def copy(self, source: Path, owner: str) -> Path:
        """Copy a file into a new part, and return that.

        Args:
            source: A file from elsewhere.
            owner: As for `reserve`.

        Raises:
            InsufficientStorage: The disk is full; there is no part.
            OSError: The file cannot be read; there is no part.
        """
        part = self.reserve(owner)
        with full_disk_reported(), source.open("rb") as file, new_durable_file(part) as copied:
            shutil.copyfileobj(file, copied, _CHUNK_BYTES)
        return part

    def publish(self, part: Path, name: str) -> str:
        """Give a finished part a visible name and return that name; the part stays until it is discarded.

        What is in the folder already is never touched: when the name is taken, a similar one is used.

        Args:
            part: From `reserve`, written and durable.
            name: The wanted name; the suffix is added if it is missing.

        Raises:
            InsufficientStorage: The disk is full; the archive has no visible name.
        """
        if not _is_plain(name):
            raise ValueError(f"not a plain file name: {name!r}")
        stem = name.removesuffix(self._suffix)[:_STEM_LIMIT]
        published = f"{stem}{self._suffix}"
        while not self.publish_as(part, published):
            published = f"{stem}-{uuid.uuid4().hex[:8]}{self._suffix}"
        return published

    def publish_as(self, part: Path, name: str) -> bool:
        """Give a finished part exactly this name, or return False when something has it already.

        Args:
            part: From `reserve`, written and durable.
            name: One that `find` takes.

        Raises:
            InsufficientStorage: The disk is full; the archive has no visible name.
        """
        with full_disk_reported():
            if not self._named(part, name):
                return False
            try:
                sync_folder(self._folder)
            except OSError:
                (self._folder / name).unlink(missing_ok=True)
                raise
        return True

    def replace(self, part: Path, name: str, owner: str) -> Path:
        """Give a finished part the name of another file, and return the part that this one is then.

        Raises:
            InsufficientStorage: The disk is full; nothing was replaced.
        """
        target, aside = self._folder / name, self.reserve(owner)
        with full_disk_reported():
            try:
                os.link(target, aside, follow_symlinks=False)
            except OSError as exc:
                if exc.errno not in _NO_LINKS:
                    raise
                shutil.copy2(target, aside)
            try:
                part.replace(target)
                sync_folder(self._folder)
            except BaseException:
                aside.replace(target)
                raise
        return aside

    def discard(self, part: Path) -> None:
        """Remove a part if it is there."""
        with full_disk_reported():
            _marker(part).unlink(missing_ok=True)
            part.unlink(missing_ok=True)

    def remove(self, name: str) -> bool:
        """Remove an archive for good, with the signature beside it, and return whether it was there.

        Raises:
            InsufficientStorage: The disk is full; the archive may be gone already.
        """
        if not _is_plain(name):
            return False
        with full_disk_reported():
            try:
                (self._folder / name).unlink()
            except FileNotFoundError:
                return False
            (self._folder / (name + SIGNATURE_SUFFIX)).unlink(missing_ok=True)
            sync_folder(self._folder)
        return True

    def sweep(self, is_alive: Callable[[str], bool], is_used: Callable[[str], bool]) -> list[str]:
        """Remove what owners that died left behind and return the names of the files removed.

        That is their parts, and archives that they published but that were never recorded.

        Args:
            is_alive: Returns whether an owner still runs.
            is_used: Returns whether an archive of that name is recorded.
        """
        with full_disk_reported():
            files = self._files()
            left = [name for name in files if (match := _PART.fullmatch(name)) and not is_alive(match[1])]
            published = [name for part in left for name in self._names_of(part, files) if not is_used(name)]
            # Parts go last, after the files that give their names, so that an interrupted sweep can be repeated.
            removed = [*dict.fromkeys(published), *sorted(left, key=lambda name: name.endswith(".part"))]
            for name in removed:
                (self._folder / name).unlink(missing_ok=True)
            if removed:
                sync_folder(self._folder)
        return removed

    def _named(self, part: Path, name: str) -> bool:
        """Give a part a visible name that nothing has yet; return False if something has."""
        target = self._folder / name
        try:
            os.link(part, target)
        except FileExistsError:
            return False
        except FileNotFoundError as exc:
            raise FolderUnavailable("store") from exc
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            return self._moved(part, target)
        return True

    def _moved(self, part: Path, target: Path) -> bool:
        """Do the same by renaming, which would replace what is there: so an empty file takes the name first.

        Once the part is gone while its marker is there, the file of that name is the part.
        """
        marker = _marker(part)
        with new_durable_file(marker) as file:
            file.write(target.name.encode())
        sync_folder(self._folder)
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except OSError as exc:
            marker.unlink()
            if isinstance(exc, FileExistsError):
                return False
            raise
        try:
            part.replace(target)
        except BaseException:
            target.unlink()
            marker.unlink()
            raise
        return True

    def _names_of(self, part: str, files: dict[str, tuple[int, int]]) -> list[str]:
        """Return the visible names that a part, or a marker of one, has been given."""
        if part.endswith(".part"):
            return [name for name, file in files.items() if file == files[part] and not _PART.fullmatch(name)]
        try:
            name = (self._folder / part).read_text(encoding="utf-8")
            is_ours = _is_plain(name) and name in files
            is_taken_only = part.removesuffix(".moved") + ".part" in files
            if is_ours and is_taken_only:
                is_ours = (self._folder / name).stat().st_size == 0
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        return [name] if is_ours else []

    def _mode(self, name: str) -> int:
        """Return kind and permissions of what has a name, 0 when nothing has it."""
        try:
            return (self._folder / name).stat().st_mode
        except OSError as exc:
            if exc.errno in _ABSENT:
                return 0
            raise InvalidArchive(f"it cannot be read: {exc.strerror}") from exc

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return the names of the regular files, each with the identity of the file behind it."""
        return {name: (info.st_dev, info.st_ino) for name, info in self._entries()}

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the regular files with what is known of each."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # A file can go between the listing and the look at it; inode numbers of listings are not unique
                # on layered file systems.
                with contextlib.suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(info.st_mode):
                        yield entry.name, info


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFolders:
    """The two folders that archives lie in."""

    workflow: ArchiveFolder
    model: ArchiveFolder

    @classmethod
    def at(cls, *, workflow: Path, model: Path) -> "StoreFolders":
        """Return the stores that lie at two paths."""
        return cls(
            workflow=ArchiveFolder(folder=workflow, suffix=".war"), model=ArchiveFolder(folder=model, suffix=".mar")
        )

    def named(self, store: str) -> ArchiveFolder:
        """Return the folder of the `workflow` or the `model` store."""
        return self.workflow if store == "workflow" else self.model


def model_file_name(url: str) -> str:
    """Return the name in the model store that TorchServe takes the address of a model for, if it does not download it.

    That is what follows the last slash, whether the rest is a folder, an absolute path or a file: address; what was
    written for the folders of one host works on others that way.

    Raises:
        RelativePathRefused: The address has `..` in it.

    Source:
        TorchServe 0.12.0, ModelArchive.downloadModel.
    """
    if ".." in url:
        raise RelativePathRefused(redacted_address(url))
    return _SLASH.split(url)[-1]


def folder_warnings(urls: Mapping[str, str]) -> list[str]:
    """Return a sentence for each model node whose url says more than the name of a file in the model store.

    Args:
        urls: Node name to what the spec names; the archives have been found.
    """
    return [
        f"models.{node}.url: {shortened(redacted_address(url))} is taken for {model_file_name(url)} in the model store"
        for node, url in urls.items()
        if not is_remote(url) and model_file_name(url) != url
    ]


def _check_text(name: str) -> None:
    if control := _CONTROL.search(name):
        raise BadRequest(f"The url contains the control character U+{ord(control[0]):04X}.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as exc:
        raise BadRequest("The url contains half of a surrogate pair, which is not a character.") from exc
    if size > _MAX_NAME_BYTES:
        raise BadRequest(f"The url has {size} bytes, and names of archives have {_MAX_NAME_BYTES} at most.")


def _is_plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name and "\\" not in name


def _marker(part: Path) -> Path:
    """Return where it is written down which name a part is given by renaming it."""
    return part.with_suffix(".moved")
