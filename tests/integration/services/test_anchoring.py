"""When checkpoints are made, and how their chain goes on, over a real database and in a real file."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.checkpoints import Trail
from tests.support.records import make_event, make_registry
from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH
from wfmgmt.domain.checkpoints import Checkpoint, check_chain
from wfmgmt.errors.commands import NotAnchored
from wfmgmt.services.anchors import FileAnchor


class Unreachable(FileAnchor):
    """An anchor that cannot be written."""

    def append(self, checkpoint: Checkpoint) -> None:
        """Fail."""
        del checkpoint
        raise NotAnchored("down")


@pytest.fixture(name="trail")
def _trail(tmp_path: Path) -> Iterator[Trail]:
    with closing(make_registry(tmp_path)) as registry:
        yield Trail(registry, tmp_path)


def test_checkpoint_is_made_after_100_rows_or_an_hour_or_at_the_end(trail: Trail) -> None:
    """Whichever is first, and none without a new row; each names the one before."""
    anchoring = trail.anchoring()
    anchoring.run()
    assert not trail.file.exists()
    for rows, minutes, at_end, ids in (
        (1, 0, False, [1]),
        (99, 59, False, [1]),
        (1, 0, False, [1, 101]),
        (0, 120, True, [1, 101]),
        (1, 0, False, [1, 101, 102]),
        (1, 0, False, [1, 101, 102]),
        (0, 0, True, [1, 101, 102, 103]),
        (250, 0, False, [1, 101, 102, 103, 353]),
    ):
        trail.record(rows)
        trail.now += timedelta(minutes=minutes)
        anchoring.run(at_end=at_end)
        assert trail.ids() == ids
    first, second = trail.checkpoints()[:2]
    assert (first.origin, first.previous, first.at) == (trail.origin, "0" * 64, "2026-11-27T12:00:00.000000Z")
    assert second.previous == first.digest
    assert set(trail.outcomes) == {"written"}


def test_checkpoint_is_made_when_the_clock_was_set_back(trail: Trail) -> None:
    """Nothing waits until it is as late again."""
    trail.record(1)
    trail.run_anew()
    trail.record(1)
    trail.now -= timedelta(days=365)
    trail.run_anew()
    assert trail.ids() == [1, 2]


def test_chain_goes_on_in_another_process(trail: Trail) -> None:
    """Also in a new instance over the same database, which learns from the file where it ends."""
    for number in range(3):
        trail.record(100)
        trail.run_anew()
        if number == 1:
            (trail.folder / "kept").unlink()
    assert trail.ids() == [100, 200, 300]
    check_chain(enumerate(trail.checkpoints(), 1), origin=trail.origin)


@pytest.mark.parametrize("written_bytes", [0, 100, 10_000])
def test_chain_goes_on_after_a_crash_while_a_checkpoint_was_written(trail: Trail, written_bytes: int) -> None:
    """Before, within and after its line: the checkpoint that was kept is the next one in any case."""
    trail.record(100)
    trail.run_anew()
    before = trail.file.stat().st_size
    trail.record(100)
    trail.run_anew()
    with trail.file.open("r+b") as file:
        file.truncate(min(trail.file.stat().st_size, before + written_bytes))
    trail.record(100)
    trail.run_anew()
    assert trail.ids() == [100, 200, 300]
    check_chain(enumerate(trail.checkpoints(), 1), origin=trail.origin)


def test_one_checkpoint_waits_for_an_anchor_that_is_away(trail: Trail) -> None:
    """It is written first once the anchor is back, and the next one names all rows since."""
    anchoring = trail.anchoring(Unreachable(trail.file))
    for _ in range(3):
        trail.record(100)
        with pytest.raises(NotAnchored, match="down"):
            anchoring.run()
    assert trail.outcomes == ["failed"] * 3
    trail.run_anew()
    assert trail.ids() == [100, 300]
    check_chain(enumerate(trail.checkpoints(), 1), origin=trail.origin)


def test_key_that_went_bad_is_named(trail: Trail) -> None:
    """And no checkpoint without a signature is made."""
    trail.record(1)
    trail.private.write_text("x")
    with pytest.raises(NotAnchored, match=r"the key of the audit anchor cannot be used: .* has no private key"):
        trail.run_anew()
    assert not trail.file.exists()


def test_other_database_begins_a_new_chain(trail: Trail, tmp_path: Path) -> None:
    """The instance was given it on purpose; the file of the first one would not have let the service start."""
    trail.record(1)
    trail.run_anew()
    (tmp_path / "other").mkdir()
    with closing(make_registry(tmp_path / "other")) as registry:
        trail.registry = registry
        with registry.write() as writer:
            identity = writer.identity()
            writer.record(make_event())
        trail.run_anew()
    assert [(each.origin, each.id, each.previous) for each in trail.checkpoints()[1:]] == [
        (identity, 1, FIRST_PREVIOUS_HASH)
    ]
