"""The lock on kept archives, which nobody waits for without end."""

import fcntl
import threading
from pathlib import Path

import pytest

from wfmgmt.archives import kept as module
from wfmgmt.archives.kept import KeptArchives


def test_lock_that_stays_taken_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may hold it; once it is free, all goes on."""
    monkeypatch.setattr(module, "_MAX_LOCK_S", 0.1)
    kept = KeptArchives(tmp_path)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError) as raised:
            kept.forget_tree("0" * 64)
    assert raised.value.strerror == "it was locked for 0.1 s"
    kept.forget_tree("0" * 64)


def test_lock_is_waited_for(tmp_path: Path) -> None:
    """As long as it is held by one who works."""
    kept = KeptArchives(tmp_path)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=kept.forget_tree, args=("0" * 64,))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
