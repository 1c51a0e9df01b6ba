"""Checkpoints of the audit trail, made now and then and written where who changes the database cannot change them."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from wfmgmt.archives.durable import new_durable_file, sync_folder
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH
from wfmgmt.domain.checkpoints import Checkpoint, encoded
from wfmgmt.errors.commands import NotAnchored, TrailContradicted
from wfmgmt.registry.audit_reading import RecordedEvent
from wfmgmt.registry.registry import Registry, timestamp, utc_now
from wfmgmt.services.anchor_keys import SigningKey
from wfmgmt.services.anchors import Anchor

_log = logging.getLogger("wfmgmt.anchor")

#: Rows, and time, after which there is another checkpoint.
MAX_ROWS, MAX_AGE = 100, timedelta(hours=1)

#: Counts attempts by their outcome: `written`, `failed`, or `contradicted`.
CheckpointCounter = Callable[[str], None]


class Anchoring:
    """Makes checkpoints. For one thread of one process of the service.

    A checkpoint is kept in a file of the instance before it is written to the anchor, and none is made after it before
    it is there. So the next one names it, also after a crash in between, and after a restart.

    Args:
        registry: Has the audit trail.
        anchor: Where checkpoints go.
        key: Signs them; None for checkpoints without signatures.
        kept: The file of the last checkpoint.
        on_attempt: Counts attempts.
        clock: Gives the time that checkpoints carry.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        anchor: Anchor,
        key: SigningKey | None,
        kept: Path,
        on_attempt: CheckpointCounter = lambda _: None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._registry = registry
        self._anchor = anchor
        self._key = key
        self._kept = kept
        self._on_attempt = on_attempt
        self._clock = clock
        self._last: Checkpoint | None = None
        self._is_written = False
        self._has_failed = False

    def run(self, *, at_end: bool = False) -> None:
        """Write the last checkpoint if that may not be written yet; otherwise make one when it is time for it.

        Both in one call only at the end: writing can take long, and another process may have taken over meanwhile.

        Args:
            at_end: Whether the service stops, so that any new row is reason enough.

        Raises:
            NotAnchored: It cannot be made, or cannot be written.
            RegistryUnavailable: The database cannot be read.
        """
        try:
            if self._last is None:
                self._last = self._read()
            if self._last is not None and not self._is_written:
                self._write(self._last)
                if not at_end:
                    return
            if (checkpoint := self._due(at_end=at_end)) is not None:
                self._keep(checkpoint)
                self._write(checkpoint)
        except NotAnchored as error:
            self._has_failed = True
            self._on_attempt(error.outcome)
            raise

    def _due(self, *, at_end: bool) -> Checkpoint | None:
        """Return the next checkpoint; None when it is not time for one."""
        last = self._last
        with self._registry.read() as reader:
            head, origin = reader.events.head(), reader.known_identity()
            same = None if last is None else reader.events.get(last.id)
        if last is not None and last.origin != origin:
            last = None  # The instance got another database.
        if last is not None:
            self._require_continued(last, head, same)
        if head is None or origin is None or not self._is_time(last, head.id, at_end=at_end):
            return None
        checkpoint = Checkpoint(
            origin=origin,
            id=head.id,
            hash=head.hash,
            previous=FIRST_PREVIOUS_HASH if last is None else last.digest,
            at=timestamp(self._clock()),
        )
        return checkpoint if self._key is None else self._signed(checkpoint, self._key)

    def _is_time(self, last: Checkpoint | None, newest: int, *, at_end: bool) -> bool:
        if last is None:
            return True
        rows, age = newest - last.id, self._clock() - datetime.fromisoformat(last.at)
        return rows >= MAX_ROWS or (rows > 0 and (at_end or not timedelta() <= age < MAX_AGE))

    def _require_continued(self, last: Checkpoint, head: RecordedEvent | None, same: RecordedEvent | None) -> None:
        """Check that the trail still has the row of the last checkpoint, or had it until it was archived.

        Raises:
            TrailContradicted: It does not, so what it has now is no continuation of that.
        """
        if head is not None and head.id >= last.id and (same is None or same.hash == last.hash):
            return
        raise TrailContradicted(
            f"the audit trail no longer has row {last.id} as the checkpoint at {last.at} has it: rows were cut off or "
            "changed, or an older backup was restored; `wfmgmt audit verify --against` says more, and a new "
            "WFMGMT_AUDIT_ANCHOR begins anew"
        )

    def _signed(self, checkpoint: Checkpoint, key: SigningKey) -> Checkpoint:
        try:
            return replace(checkpoint, signature=encoded(key.sign(checkpoint.message)))
        except (OSError, ValueError) as error:
            raise NotAnchored(f"the key of the audit anchor cannot be used: {error}") from error

    def _read(self) -> Checkpoint | None:
        """Return the last checkpoint: the one that was kept, or, when the instance is a new one, the anchor's own."""
        try:
            return Checkpoint.parse(self._kept.read_text(encoding="ascii"))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise NotAnchored(f"the last checkpoint in {self._kept} cannot be read: {error}") from error
        try:
            return self._anchor.last()
        except OSError as error:
            raise NotAnchored(f"the audit anchor {error.filename} cannot be read: {error.strerror}") from error

    def _keep(self, checkpoint: Checkpoint) -> None:
        unfinished = self._kept.with_suffix(".unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            with new_durable_file(unfinished, is_private=True) as file:
                file.write(checkpoint.line.encode())
            unfinished.replace(self._kept)
            sync_folder(self._kept.parent)
        except OSError as error:
            raise NotAnchored(f"the next checkpoint cannot be kept in {self._kept}: {error.strerror}") from error
        self._last, self._is_written = checkpoint, False

    def _write(self, checkpoint: Checkpoint) -> None:
        self._anchor.append(checkpoint)
        self._is_written = True
        self._on_attempt("written")
        level = logging.INFO if self._has_failed else logging.DEBUG
        _log.log(level, "checkpoint of the audit trail written: row %d", checkpoint.id)
        self._has_failed = False
