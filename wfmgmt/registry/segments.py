"""Segments of the audit trail: its oldest rows, moved from the table into files that stay under the chain of hashes.

A line of a file, which is compressed, is exactly what is under the hash of its row, so the chain is recomputed from the
lines as they are. Rows count as archived from the moment a segment names them, also while they are still in the table.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, func, insert, select

from wfmgmt.domain.audit import ChainBroken, event_hash
from wfmgmt.registry.tables import audit_event
from wfmgmt.registry.tables import audit_segment as table

_ALL = select(table).order_by(table.c.first_id)


class Rows(NamedTuple):
    """Rows of the audit trail, with the hash of the one before them."""

    first_id: int
    last_id: int
    previous_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Rows of the audit trail that were archived.

    Attributes:
        first_id: Number of the first one.
        last_id: Of the last one.
        previous_hash: Hash of the row before them.
        hash: That of the last one.
        file: Name of their file, or its path when it is not in the folder of the instance.
        sha256: Digest of the file.
        at: When they were archived.
        actor: Who did it.
    """

    first_id: int
    last_id: int
    previous_hash: str
    hash: str
    file: str
    sha256: str
    at: str
    actor: str

    @property
    def file_name(self) -> str:
        """Name of the file, wherever it is."""
        return Path(self.file).name

    def path(self, folder: Path) -> Path:
        """Return where the file is: in the folder of the instance, else where it was written."""
        moved = folder / self.file_name
        return moved if moved.exists() else folder / self.file


class SegmentReader:
    """The segments as one transaction sees them; made by `Reader.segments` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Segment]:
        """Return all segments in their order."""
        return [_segment(row) for row in self._connection.execute(_ALL).mappings()]

    def last_id(self) -> int:
        """Return the number of the last row that was archived; 0 when none was."""
        return self._connection.execute(select(func.max(table.c.last_id))).scalar() or 0

    def of(self, number: int) -> Segment | None:
        """Return the segment that has a row, None when the row was not archived."""
        if number > self.last_id():
            return None
        statement = select(table).where(table.c.first_id <= number, table.c.last_id >= number)
        row = self._connection.execute(statement).mappings().one()
        return _segment(row)


class SegmentWriter(SegmentReader):
    """The same in a transaction that writes; made by `Writer.segments`.

    Args:
        connection: In a transaction that holds the write lock.
        now: Its time.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self._now = now

    def add(self, rows: Rows, *, last_hash: str, file: str, sha256: str, actor: str) -> Segment:
        """Count rows as archived; the database refuses a segment that does not continue the one before."""
        segment = Segment(**rows._asdict(), hash=last_hash, file=file, sha256=sha256, at=self._now, actor=actor)
        self._connection.execute(insert(table).values(asdict(segment)))
        return segment

    def remove_rows(self, limit: int) -> int:
        """Remove rows that were archived from the table, so many at most; return how many there were."""
        first = self._connection.execute(select(func.min(audit_event.c.id))).scalar() or 0
        last = min(first + limit - 1, self.last_id())
        return self._connection.execute(delete(audit_event).where(audit_event.c.id <= last)).rowcount


def segment_hashes(segment: Segment, folder: Path) -> Iterator[tuple[int, str]]:
    """Yield number and hash of each row of a segment.

    Raises:
        ChainBroken: Its file is missing, or is not what was archived.
    """
    what = f"the file {segment.file_name}, which has the rows {segment.first_id} to {segment.last_id},"
    try:
        with segment.path(folder).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != segment.sha256:
                raise ChainBroken(segment.first_id, f"{what} is not what was archived")
            file.seek(0)
            last = before = (segment.first_id - 1, segment.previous_hash)
            for last in hashes_of_lines(file, *before):
                yield last
    except FileNotFoundError as error:
        raise ChainBroken(segment.first_id, f"{what} is missing") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ChainBroken(segment.first_id, f"{what} cannot be read: {error}") from error
    if last != (segment.last_id, segment.hash):
        raise ChainBroken(segment.first_id, f"{what} does not end with the hash of row {segment.last_id}")


def hashes_of_lines(file: BinaryIO, last_id: int, last_hash: str) -> Iterator[tuple[int, str]]:
    """Yield number and hash of the row of each line in a file, given those of the row before.

    Raises:
        ChainBroken: A line is of another row.
    """
    with gzip.open(file) as lines:
        for number, line in enumerate(lines, start=last_id + 1):
            # Quotation marks inside of a text have a backslash before them, so this can only be the number.
            if b',"id":"%d",' % number not in line:
                raise ChainBroken(number, "another row is in its place in its file")
            last_hash = event_hash(last_hash, line.rstrip(b"\n"))
            yield number, last_hash


def _segment(row: RowMapping) -> Segment:
    return Segment(**{each.name: row[each.name] for each in fields(Segment)})
