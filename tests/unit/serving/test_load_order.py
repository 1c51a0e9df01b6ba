"""Which loads may begin when, and what is kept about them."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from wfmgmt.serving.load_order import MAX_HOLD_S, Lane, LoadHistory
from wfmgmt.testing import in_event_loop


@in_event_loop
async def test_lane_lets_as_many_loads_begin_as_it_has_slots() -> None:
    """The next one begins when one ends, in the order in which they came."""
    lane, begun, ends = Lane(2, 9), list[int](), [asyncio.Event() for _ in range(4)]

    async def load(number: int) -> None:
        async with lane.turn(60, lambda: None):
            begun.append(number)
            await ends[number].wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as loads:
        for number in range(4):
            loads.create_task(load(number))
        await asyncio.sleep(0)
        for number in range(4):
            assert begun == list(range(min(number + 2, 4)))
            ends[number].set()
            await asyncio.sleep(0.01)
        await lane.wait_until_idle()


@in_event_loop
async def test_load_that_takes_too_long_gives_its_slot_to_the_next() -> None:
    """It goes on meanwhile; the lane is idle without it, and lets no more go on than it may."""
    lane, late = Lane(1, 2), list[str]()
    async with asyncio.timeout(10), AsyncExitStack() as loads:
        for name in ("a", "b"):
            await loads.enter_async_context(lane.turn(0.01, partial(late.append, name)))
            await lane.wait_until_idle()
        assert late == ["a", "b"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await loads.enter_async_context(lane.turn(60, lambda: None))
    async with asyncio.timeout(10), lane.turn(60, lambda: None):
        assert late == ["a", "b"]


@in_event_loop
async def test_slot_is_free_again_when_a_load_fails_or_is_cancelled() -> None:
    """However a load ends, it leaves nothing behind."""
    lane = Lane(1, 1)
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error):
            async with lane.turn(60, lambda: None):
                raise error
    async with asyncio.timeout(10):
        await lane.wait_until_idle()
        async with lane.turn(60, lambda: None):
            pass


@in_event_loop
async def test_history_is_there_for_the_next_runtime(tmp_path: Path) -> None:
    """It tells what failed, and how long a load may keep its slot; what is gone from the registry is forgotten."""
    path = tmp_path / "loads.json"
    history = LoadHistory(path)
    for uid, took_s in (("quick", 0.5), ("slow", 90.0), ("failed", None), ("gone", 1.0)):
        history.record(uid, took_s)
    history.forget("gone")
    assert set(history.uids()) == {"quick", "slow", "failed"}
    await history.save()
    history = LoadHistory(path)
    assert [history.has_failed(uid) for uid in ("quick", "slow", "failed", "unknown")] == [False, False, True, False]
    assert [history.hold_s(uid) for uid in ("quick", "slow", "unknown")] == [2, MAX_HOLD_S, 5]
    assert "gone" not in path.read_text(encoding="ascii")


@pytest.mark.parametrize("text", ["", "[]", '{"a": "b"}', '{"a": []}', "{", "[" * 100_000, "\xff"], ids=repr)
@in_event_loop
async def test_damaged_history_is_none(tmp_path: Path, text: str) -> None:
    """It changes the order of loading, no more, and the next one can be saved."""
    path = tmp_path / "loads.json"
    path.write_text(text, encoding="latin-1")
    history = LoadHistory(path)
    assert not history.has_failed("a")
    history.record("a", None)
    await history.save()
    assert LoadHistory(path).has_failed("a")


@in_event_loop
async def test_pipe_in_the_place_of_the_history_is_none(tmp_path: Path) -> None:
    """Nobody writes to it, so nobody waits for that."""
    path = tmp_path / "loads.json"
    os.mkfifo(path)
    history = LoadHistory(path)
    history.record("a", None)
    await history.save()
    assert LoadHistory(path).has_failed("a")


@in_event_loop
async def test_history_that_cannot_be_saved_holds_up_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk or a folder that is gone is logged."""
    history = LoadHistory(tmp_path / "gone" / "loads.json")
    history.record("a", 1.0)
    await history.save()
    assert "the order of loading cannot be saved: No such file or directory" in caplog.text
