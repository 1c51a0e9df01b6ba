"""Recovery of unfinished work over a real database, with a runtime that fails for one workflow."""

from pathlib import Path

import pytest

from tests.records import make_store, make_workflow
from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.services import removal as module
from wfmgmt.services.archives import StoreFolders
from wfmgmt.services.leases import Leases
from wfmgmt.services.removal import Removal
from wfmgmt.serving.client import RuntimeClient
from wfmgmt.store.store import Store


class HalfBroken(RuntimeClient):
    """A runtime client that fails for some workflows in a way that nobody foresaw."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "socket")
        self.broken: dict[str, Exception] = {}
        self.unloaded: list[str] = []

    def unload(self, uid: str) -> None:
        """Fail or not."""
        self.unloaded.append(uid)
        if uid in self.broken:
            raise self.broken[uid]


def make_removal(folder: Path, store: Store, runtime: RuntimeClient) -> Removal:
    """Return the use cases over stores in a folder."""
    for name in ("leases", "workflow", "model"):
        (folder / name).mkdir()
    folders = StoreFolders(
        workflow=ArchiveFolder(folder=folder / "workflow", suffix=".war"),
        model=ArchiveFolder(folder=folder / "model", suffix=".mar"),
    )
    return Removal(store=store, folders=folders, runtime=runtime, leases=Leases(folder / "leases"))


@pytest.mark.parametrize("error", [KeyError("unforeseen"), PermissionError("not allowed")], ids=repr)
def test_recovery_of_one_workflow_does_not_wait_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The one that fails is told, left alone for a while, and finished once that is possible."""
    store, runtime = make_store(tmp_path), HalfBroken(tmp_path)
    removal = make_removal(tmp_path, store, runtime)
    stuck, good = make_workflow("stuck", lease="dead1"), make_workflow("good", lease="dead2")
    with store.write() as writer:
        writer.claim_name(stuck)
        writer.claim_name(good)
    runtime.broken[stuck.uid] = error
    recovery = removal.recover()
    assert recovery.done == ["undo the unfinished registration of good"]
    assert recovery.failed == [f"undo the unfinished registration of stuck: {error}"]
    runtime.unloaded.clear()
    assert removal.recover() == module.Recovery()
    assert runtime.unloaded == []
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.MAX_RETRY_S + 1)
    runtime.broken.clear()
    assert removal.recover().done == ["undo the unfinished registration of stuck"]
    assert removal.abandoned() == []
    store.close()
