"""What a service keeps of the archives that were registered."""

from pathlib import Path


def kept_digests(archives: Path) -> set[str]:
    """Return the digests of all archives that are kept in a folder."""
    return {path.name for path in archives.glob("sha256/[0-9a-f][0-9a-f]/*")}


def kept_parts(archives: Path) -> set[str]:
    """Return what is there of archives that are not wholly kept, or being removed."""
    return {path.name for path in archives.glob("sha256/.*")}


def kept_entry(archives: Path, sha256: str) -> Path:
    """Return the folder of one archive."""
    return archives / "sha256" / sha256[:2] / sha256
