"""Where checkpoints of the audit trail are kept: a file that only grows, or an address that takes them."""

import errno
import logging
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from wfmgmt.archives.durable import sync_folder
from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.urls import parse_url
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH
from wfmgmt.domain.checkpoints import Checkpoint
from wfmgmt.errors import DownloadFailed, WfmgmtError
from wfmgmt.errors.commands import NotAnchored, ResourcesExhausted, SettingsInvalid

_log = logging.getLogger("wfmgmt.anchor")

#: How long an address may take to accept a checkpoint.
POST_TIMEOUT_S = 10.0
#: A line has some 400 bytes, so the last two are in so many.
_TAIL_BYTES = 4096


class Anchor(Protocol):
    """Takes checkpoints, for one thread at a time. A checkpoint that was not taken, or may have been, comes again."""

    def check_usable(self, origin: str | None) -> None:
        """Check at a start that it can be used.

        Args:
            origin: Identity of the installation; None when it has none yet.

        Raises:
            SettingsInvalid: It cannot.
        """

    def last(self) -> Checkpoint | None:
        """Return the last checkpoint that is there; None when there is none, or that cannot be found out."""

    def append(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, durably, unless it is there already.

        Raises:
            NotAnchored: It may not be there.
        """


class FileAnchor:
    """A file that is only appended to. It may be append-only for everybody (`chattr +a`).

    Args:
        file: Its path; the folder has to be there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def check_usable(self, origin: str | None) -> None:
        """Check that the file can be opened, and that no other installation writes it."""
        try:
            last = self.last()
            os.close(self._open())
        except OSError as error:
            if error.errno in ResourcesExhausted.ERRNOS:
                return  # It is tried again while the service runs.
            raise SettingsInvalid(f"WFMGMT_AUDIT_ANCHOR: {self._file}: {error.strerror}") from error
        if last is not None and origin not in (None, last.origin):
            raise SettingsInvalid(
                f"WFMGMT_AUDIT_ANCHOR: {self._file} has checkpoints of the installation {last.origin}, and the "
                f"database is that of {origin}; name a new file"
            )

    def last(self) -> Checkpoint | None:
        """Return the checkpoint in the last line; None when there is none, or another line."""
        with suppress(FileNotFoundError, ValueError):
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return Checkpoint.parse(_tail(descriptor)[0].decode())
            finally:
                os.close(descriptor)
        return None

    def append(self, checkpoint: Checkpoint) -> None:
        """Add a line, or the rest of it when only its beginning was written before the disk was full."""
        try:
            descriptor = self._open()
            try:
                self._append(descriptor, checkpoint)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._file.parent)
        except OSError as error:
            raise NotAnchored(f"the audit anchor {self._file} cannot be written: {error.strerror}") from error

    def _append(self, descriptor: int, checkpoint: Checkpoint) -> None:
        last, begun = _tail(descriptor)
        line = checkpoint.line.encode()
        if last == line and not begun:
            return
        before = _digest_of(last)
        rest = line.removeprefix(begun) if line.startswith(begun) else b"\n" + line
        if before != checkpoint.previous or not line.startswith(begun):
            _log.error(
                "the end of the audit anchor %s is not the checkpoint that was written there last: lines were changed "
                "or removed, or it is another file",
                self._file,
            )
        rest += b"\n"
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def _open(self) -> int:
        """Open the file to append to it, and make it when there is none.

        Raises:
            OSError: That does not work, or it is no file.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a file", str(self._file))
        return descriptor


class UrlAnchor:
    """An address that accepts each checkpoint as the body of a POST, by the rules for downloads.

    Args:
        url: The address.
        allowed_urls: Patterns of the addresses that may be called; none means public ones only.
        timeout_s: Time for one call.
    """

    def __init__(self, url: str, *, allowed_urls: Sequence[re.Pattern[str]], timeout_s: float = POST_TIMEOUT_S) -> None:
        self._text = url
        self._fetcher = Fetcher(allowed_urls=allowed_urls, timeout_s=timeout_s, limit_bytes=0)

    def check_usable(self, origin: str | None) -> None:
        """Check that it is an address that may be called."""
        del origin
        try:
            self._fetcher.check(parse_url(self._text))
        except WfmgmtError as error:
            raise SettingsInvalid(f"WFMGMT_AUDIT_ANCHOR: {error}") from error

    def last(self) -> Checkpoint | None:
        """Return None: addresses are not read."""
        return None

    def append(self, checkpoint: Checkpoint) -> None:
        """Send it. When the answer was lost it is sent once more."""
        url = parse_url(self._text)
        try:
            self._fetcher.post(url, checkpoint.line.encode() + b"\n")
        except WfmgmtError as error:
            reason = error.reason if isinstance(error, DownloadFailed) else error
            raise NotAnchored(f"the audit anchor {url.shown} does not take a checkpoint: {reason}") from error


def make_anchor(setting: str, *, allowed_urls: Sequence[re.Pattern[str]], timeout_s: float = POST_TIMEOUT_S) -> Anchor:
    """Return the anchor that a setting names."""
    if "://" in setting:
        return UrlAnchor(setting, allowed_urls=allowed_urls, timeout_s=timeout_s)
    return FileAnchor(Path(setting))


def _digest_of(line: bytes) -> str | None:
    """Return what the checkpoint behind a line names; None behind a line that is no checkpoint."""
    if not line:
        return FIRST_PREVIOUS_HASH
    try:
        return Checkpoint.parse(line.decode()).digest
    except ValueError:
        return None


def _tail(descriptor: int) -> tuple[bytes, bytes]:
    """Return the last whole line of an open file, and what follows it."""
    size = os.fstat(descriptor).st_size
    whole, newline, begun = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).rpartition(b"\n")
    return (whole.rpartition(b"\n")[2], begun) if newline else (b"", begun)
