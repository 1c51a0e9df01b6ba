"""The requests about the archives in the stores; they belong to those of `calls`."""

import dataclasses
from pathlib import Path
from typing import Unpack

from wfmgmt.client.answers import Status
from wfmgmt.client.archives import STORES, ArchiveReport, Archives, Kind, Uploaded
from wfmgmt.client.call import Call, WriteOptions, given, path_of, reader, reading, writing

#: What the service waits for the body of an upload, unless it is set otherwise.
_UPLOAD_S = 600


def archives(*, kind: Kind | None = None, after: str | None = None, limit: int | None = None) -> Call[Archives]:
    """List the archives in the stores, with who uses them.

    Args:
        kind: Of those wanted: `workflow` or `model`.
        after: The `next_after` of the page before.
        limit: Archives at most, 1 to 1000; 100 unless given.
    """
    path = "/archives" if kind is None else f"/archives/{kind}s"
    return reading(path, reader(Archives), after=after, limit=limit)


def archive(kind: Kind, file: str) -> Call[ArchiveReport]:
    """Say what is in an archive, and whether it can be registered."""
    return reading(path_of(file, root=f"/archives/{kind}s"), reader(ArchiveReport))


def remove_archive(kind: Kind, file: str, **options: Unpack[WriteOptions]) -> Call[Status]:
    """Remove an archive that no version uses from its store."""
    return writing("DELETE", path_of(file, root=f"/archives/{kind}s"), reader(Status), **options)


def upload(
    file: Path,
    *,
    kind: Kind | None = None,
    name: str | None = None,
    replace: bool | None = None,
    sha256: str | None = None,
    dry_run: bool | None = None,
    reason: str | None = None,
) -> Call[Uploaded]:
    """Put an archive, or the signature of one, into a store.

    Args:
        file: The archive here; it is read while it is sent.
        kind: Of what it is the archive: `workflow` or `model`; what its name says unless given.
        name: Its name there; the same unless given.
        replace: Whether it may take the place of another file of that name that no version uses.
        sha256: The digest that it has to have when it arrives, in hexadecimal digits.
        dry_run: Whether it is only to be checked.
        reason: Why, for the audit trail.

    Raises:
        ValueError: Its name does not say what it is.
    """
    there = name or file.name
    found = kind or STORES.get(Path(there.removesuffix(".sig")).suffix)
    if found is None:
        raise ValueError(f"expected a file whose name ends in .war or .mar, or that and .sig, got {there!r}")
    query = given(replace=replace, sha256=sha256, dry_run=dry_run)
    path = path_of(there, root=f"/archives/{found}s")
    call = writing("PUT", path, reader(Uploaded), query=query, takes_s=_UPLOAD_S, reason=reason)
    return dataclasses.replace(call, file=file)
