"""What became of the files in the stores that workflows were registered from."""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path

from wfmgmt.archives.kept import KeptArchives, Source, source_of
from wfmgmt.archives.reading import sha256_of
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.errors import WfmgmtError
from wfmgmt.registry.records import RegisteredArchive

#: Files whose comparison is remembered.
_MAX_REMEMBERED = 10_000


class StoreFileState(StrEnum):
    """How a file in a store compares with what was registered from it. What runs is what was registered in any case."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


class StoreFiles:
    """Compares files in the stores with the digests that they had when they were registered. Thread-safe.

    A file is read only when it does not look like one that is known, and once as long as it looks the same.

    Args:
        folders: The stores.
        kept: Knows what files looked like that had a digest.
    """

    def __init__(self, folders: StoreFolders, kept: KeptArchives) -> None:
        self._folders = folders
        self._kept = kept
        self._compared: dict[tuple[Source, str], bool] = {}

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
        source = source_of(path)
        if source is None:
            return StoreFileState.GONE
        is_same = self._compared.get((source, archive.sha256))
        if is_same is None:
            is_same = self._compare(path, source, archive.sha256)
            if len(self._compared) >= _MAX_REMEMBERED:
                self._compared.clear()
            if source_of(path) == source:  # Else it was written to meanwhile, and the next look decides.
                self._compared[source, archive.sha256] = is_same
        return StoreFileState.SAME if is_same else StoreFileState.CHANGED

    def _compare(self, path: Path, source: Source, sha256: str) -> bool:
        known = self._kept.sources(sha256)
        if source in known:
            return True
        if known and source.size_bytes not in {each.size_bytes for each in known}:
            return False
        try:
            is_same = sha256_of(path) == sha256
        except OSError:
            return False
        if is_same:
            with contextlib.suppress(OSError):  # Then others have to read it, too.
                self._kept.add_source(sha256, source)
        return is_same
