"""Moving the oldest rows of the audit trail into files, while the service runs and writes.

It can be killed anywhere: a file is durable before its segment is recorded, and rows are removed once that is
committed. The next archiving does the rest: it removes what a segment has, and writes a file without a segment again,
to the same bytes.
"""

import gzip
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from wfmgmt.archives.durable import new_durable_file, sync_folder
from wfmgmt.archives.reading import sha256_of
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, ChainBroken, Origin
from wfmgmt.errors.commands import ArchivingRefused
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.segments import Rows, Segment, hashes_of_lines

#: Rows of one file at most, and rows that are removed in one transaction, for which others wait.
MAX_ROWS, _REMOVED_AT_ONCE = 1_000_000, 5000
_ROWS_BETWEEN_REPORTS = 20_000


class AuditArchiver:
    """Archives rows of the audit trail; one at a time may work for a registry.

    Args:
        registry: Has the audit trail.
        folder: Where the service looks for the files.
        target: Where they are written, if not there.
        origin: Who archives.
        max_rows: Rows of one file at most.
        on_rows: Gets how many rows were written so far, and how many there are, now and then.
    """

    def __init__(
        self,
        registry: Registry,
        folder: Path,
        *,
        origin: Origin,
        target: Path | None = None,
        max_rows: int = MAX_ROWS,
        on_rows: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._registry = registry
        self._target = target or folder
        self._prefix = "" if target is None else f"{target.resolve()}/"
        self._origin = origin
        self._max_rows = max_rows
        self._on_rows = on_rows

    def archivable(self, before: str) -> Rows | None:
        """Return the rows from before a time that can be archived, None when there are none."""
        with self._registry.read() as reader:
            return reader.events.archivable(before)

    def archive(self, before: str) -> Iterator[Segment]:
        """Archive rows from before a time, and yield each segment when its rows are gone.

        Raises:
            ArchivingRefused: Another file is in the place of one, or somebody else archives, too.
            ChainBroken: A row does not fit; no segment has it.
            OSError: A file cannot be written.
        """
        for part in self._target.glob(".audit-*.part"):  # Of one that was killed.
            part.unlink()
        self._remove_rows()
        wanted = self.archivable(before)
        if wanted is None:
            return
        first, previous_hash = wanted.first_id, wanted.previous_hash
        # Each segment has an event of its own, so the newest row is not looked for again.
        while first <= wanted.last_id:
            rows = Rows(first, min(first + self._max_rows - 1, wanted.last_id), previous_hash)
            segment = self._archive(rows, wanted)
            first, previous_hash = segment.last_id + 1, segment.hash
            yield segment

    def _archive(self, rows: Rows, wanted: Rows) -> Segment:
        name = f"audit-{rows.first_id:010}-{rows.last_id:010}.ndjson.gz"
        part = self._target / f".{name}.part"
        try:
            self._write(part, rows, wanted)
            last_hash, sha256 = _read_back(part, rows)
            self._publish(part, self._target / name, sha256)
        finally:
            part.unlink(missing_ok=True)
        with self._registry.write() as writer:
            if writer.segments.last_id() != rows.first_id - 1:
                raise ArchivingRefused("somebody else archived rows of the audit trail meanwhile; try again")
            segment = writer.segments.add(
                rows, last_hash=last_hash, file=f"{self._prefix}{name}", sha256=sha256, actor=self._origin.actor
            )
            writer.record(
                AuditEvent(
                    origin=self._origin,
                    action=AuditAction.ARCHIVE,
                    workflow="",
                    outcome=AuditOutcome.SUCCEEDED,
                    detail={"segment": {"file": name, "first": rows.first_id, "last": rows.last_id, "sha256": sha256}},
                )
            )
        self._remove_rows()
        return segment

    def _write(self, part: Path, rows: Rows, wanted: Rows) -> None:
        with (
            new_durable_file(part, is_private=True) as file,
            # Without name and time in it the same rows always give the same bytes.
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as lines,
            self._registry.read() as reader,
        ):
            for number, _, line in reader.events.lines(rows):
                lines.write(line + b"\n")
                if number % _ROWS_BETWEEN_REPORTS == 0:
                    self._on_rows(number - wanted.first_id + 1, wanted.last_id - wanted.first_id + 1)

    def _publish(self, part: Path, path: Path, sha256: str) -> None:
        if not path.exists():
            part.rename(path)
        elif sha256_of(path) != sha256:
            raise ArchivingRefused(f"{path} is there already, and has other rows; move it elsewhere")
        sync_folder(path.parent)

    def _remove_rows(self) -> None:
        """Remove what segments have from the table, with the lock in others' hands at least half of the time."""
        removed = _REMOVED_AT_ONCE
        while removed == _REMOVED_AT_ONCE:
            began = time.monotonic()
            with self._registry.write(is_durable=False) as writer:
                removed = writer.segments.remove_rows(_REMOVED_AT_ONCE)
            time.sleep(time.monotonic() - began)  # So that those who wait for the lock get it.


def _read_back(part: Path, rows: Rows) -> tuple[str, str]:
    """Return the hash of the last row of a file that was written, and the digest of the file."""
    with part.open("rb") as file:
        before = (rows.first_id - 1, rows.previous_hash)
        ((last_id, last_hash),) = deque(chain([before], hashes_of_lines(file, *before)), maxlen=1)
    if last_id != rows.last_id:
        raise ChainBroken(last_id + 1, "it is missing")
    return last_hash, sha256_of(part)
