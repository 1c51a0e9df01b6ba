"""`wfmgmt audit archive`: the oldest events moved into files."""

import sys
from collections.abc import Callable
from pathlib import Path

from wfmgmt.archives.durable import sync_folder
from wfmgmt.cli.actor import command_origin
from wfmgmt.cli.remote.progress import ProgressLine, Step
from wfmgmt.deployment.locks import LockFile
from wfmgmt.domain.audit import ChainBroken
from wfmgmt.errors.commands import AlreadyInUse, ArchivingRefused
from wfmgmt.registry.registry import Registry
from wfmgmt.services.audit_archiving import AuditArchiver


def rows_shown(line: ProgressLine, phase: str) -> Callable[[int, int], None]:
    """Return what shows of rows how many of them are done."""
    return lambda done, total: line.show(Step(phase=phase, ready=done, wanted=total, unit="rows"))


def archive(registry: Registry, folder: Path, before: str, target: Path | None, *, is_dry_run: bool) -> int:
    """Archive events, and print the files.

    Args:
        registry: Has the audit trail.
        folder: Where the service looks for the files.
        before: The time.
        target: Where to write them, if not there.
        is_dry_run: Whether to say only which events that would be.

    Returns:
        0 when that is done, 1 when a row does not fit.

    Raises:
        AlreadyInUse: Another command archives.
        ArchivingRefused: There is no folder, or another file is in the way.
    """
    with ProgressLine("archiving") as line:
        archiver = AuditArchiver(
            registry, folder, origin=command_origin(), target=target, on_rows=rows_shown(line, "archiving")
        )
        if is_dry_run:
            rows = archiver.archivable(before)
            print("no events would be archived" if rows is None else f"would archive events {rows[0]} to {rows[1]}")
            return 0
        if target is not None and not target.is_dir():
            raise ArchivingRefused(f"{target} is no folder")
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        lock = LockFile(folder / ".lock")
        if not lock.acquire():
            raise AlreadyInUse(f"another command archives into {folder}")
        count = 0
        try:
            for segment in archiver.archive(before):
                count += 1
                line.clear()
                path = segment.path(folder)
                print(f"archived events {segment.first_id} to {segment.last_id} in {path}, SHA-256 {segment.sha256}")
        except ChainBroken as broken:
            print(f"wfmgmt: {broken}; it was not archived", file=sys.stderr)
            return 1
        finally:
            lock.release()
    if not count:
        print("no events were archived: none is from before, but for the newest one, which stays")
    return 0
