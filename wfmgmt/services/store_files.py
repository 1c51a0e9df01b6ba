"""What became of the files in the stores that workflows were registered from."""

from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path

from wfmgmt.archives.kept import KeptArchives
from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.seen import looks_of
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.errors import WfmgmtError
from wfmgmt.registry.records import RegisteredArchive

#: Files whose digests are in memory.
_MAX_REMEMBERED = 10_000


class StoreFileState(StrEnum):
    """How a file in a store compares with what was registered from it. What runs is what was registered in any case."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class StoreFiles:
    """Compares files in the stores with the digests that they had when they were registered. Thread-safe.

    A file is read only when it does not look like one that was seen and has the size of what is kept, and once as long
    as it looks the same.

    Args:
        folders: The stores.
        kept: Knows what files looked like that had a digest.
    """

    def __init__(self, folders: StoreFolders, kept: KeptArchives) -> None:
        self._folders = folders
        self._kept = kept
        self._digests: dict[str, str] = {}

    def states(self, archives: Collection[RegisteredArchive]) -> Mapping[RegisteredArchive, StoreFileState]:
        """Return how each of these files is; this looks at all of them, and may read some."""
        return {archive: self._state(archive) for archive in archives}

    def counts(self, archives: Collection[RegisteredArchive]) -> Mapping[tuple[str, StoreFileState], int]:
        """Return how many of these files are in which state, by store and state."""
        found = Counter((archive.store, state) for archive, state in self.states(archives).items())
        return {(store, state): found[store, state] for store in ("workflow", "model") for state in StoreFileState}

    def _state(self, archive: RegisteredArchive) -> StoreFileState:
        try:
            path = self._folders.named(archive.store).find(archive.file)
        except WfmgmtError:
            return StoreFileState.GONE
        looks = looks_of(path)
        if looks is None:
            return StoreFileState.GONE
        try:
            is_same = self._is_same(path, looks, archive.sha256)
        except OSError:
            is_same = False
        return StoreFileState.SAME if is_same else StoreFileState.CHANGED

    def _is_same(self, path: Path, looks: str, sha256: str) -> bool:
        digest = self._digests.get(looks) or self._kept.seen.digest(looks)
        if digest is None:
            kept = self._kept.file(sha256)
            if kept is not None and kept.stat().st_size != path.stat().st_size:
                return False
            digest = sha256_of(path)
            if looks_of(path) != looks:  # It was written to meanwhile, and the next look decides.
                return digest == sha256
            self._kept.seen.remember(looks, digest)
        if len(self._digests) >= _MAX_REMEMBERED:
            self._digests.clear()
        self._digests[looks] = digest
        return digest == sha256
