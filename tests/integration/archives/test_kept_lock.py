"""The lock on kept archives, which nobody waits for without end."""

import contextlib
import fcntl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from wfmgmt.archives import kept as module
from wfmgmt.archives.kept import Kept, KeptArchives


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


@pytest.mark.parametrize(
    "tidy",
    [
        lambda kept, _: kept.touch({"0" * 64, "1" * 64}),
        lambda kept, found: kept.take_back(found),
        lambda kept, _: kept.sweep(lambda _: False, (), before=2**63),
    ],
    ids=["touch", "take back", "sweep"],
)
def test_what_can_be_done_later_hardly_waits_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tidy: Callable[[KeptArchives, Kept], object]
) -> None:
    """A client waits for a removal, whatever a handler holds; the next sweep does the rest."""
    monkeypatch.setattr(module, "_MAX_LOCK_S", 600.0)
    monkeypatch.setattr(module, "_MAX_TIDY_LOCK_S", 0.1)
    kept = KeptArchives(tmp_path)
    with kept.part(is_unpacked=False) as part, part.open(make_mar(tmp_path)):
        found = part.keep()
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(TimeoutError):
            tidy(kept, found)
    assert kept.sweep(lambda _: False, (), before=2**63) == [found.sha256]


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
