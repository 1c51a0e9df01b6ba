"""Requests that are prefetched to a quick worker, without processes."""

import asyncio
import time

import pytest

from tests.support.dispatching import SINGLE, FakeProcess, Line, text_of
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import NoWorker, PredictionFailed
from wfmgmt.serving.models.local.frames import Frame
from wfmgmt.serving.models.local.worker_process import WorkerExited
from wfmgmt.testing import in_event_loop


async def quick_line(settings: NodeSettings = SINGLE, *, workers: int = 1) -> Line:
    """Return a line whose workers have answered a request in 0.1 ms each."""
    line = Line(settings, workers=workers)
    for process in line.processes:
        process.run_us = 100
    for answer in [line.ask("first", avoid=0) for _ in line.processes]:
        for process in line.processes:
            if process.batches == [["first"]]:
                process.answer()
                process.batches.clear()
        await answer
    return line


@in_event_loop
async def test_quick_worker_gets_prefetched_requests() -> None:
    """A worker that takes no time has its next requests before it has answered, and answers them in order."""
    line = await quick_line()
    answers = [line.ask(body) for body in "abc"]
    assert line.processes[0].batches == [["a"], ["b"], ["c"]]
    assert (line.starved, line.dispatcher.queued) == (0, 2)
    for _ in answers:
        line.processes[0].answer()
    assert [await text_of(answer) for answer in answers] == ["a", "b", "c"]
    assert line.dispatcher.idle == [line.workers[0]]


@in_event_loop
async def test_quick_worker_gets_few_prefetched_requests() -> None:
    """What it would not reach soon waits for the first worker that is free."""
    line = await quick_line()
    line.processes[0].run_us = 900
    for _ in range(100):
        await_me = line.ask("slower")
        line.processes[0].answer()
        await await_me
    line.processes[0].batches.clear()
    for body in "abcdef":
        line.ask(body)
    assert line.processes[0].batches == [["a"], ["b"]]
    assert line.starved > 0


@in_event_loop
async def test_prefetched_requests_go_to_the_worker_that_is_done_first() -> None:
    """Idle workers come first, then the one with least to do."""
    line = await quick_line(workers=2)
    for body in "abcd":
        line.ask(body)
    assert sorted(len(process.batches) for process in line.processes) == [2, 2]


@in_event_loop
async def test_worker_that_was_slow_now_and_then_gets_nothing_prefetched() -> None:
    """One slow run counts in full, since prefetched requests would have to wait for the next one."""
    line = await quick_line()
    slow = line.ask("slow")
    line.processes[0].run_us = 60_000
    line.processes[0].answer()
    await slow
    line.processes[0].batches.clear()
    for body in "ab":
        line.ask(body)
    assert line.processes[0].batches == [["a"]]


@in_event_loop
async def test_nothing_is_prefetched_before_or_behind_a_retry() -> None:
    """What has failed before may do so again, so it is with its worker alone."""
    line = await quick_line()
    line.ask("a")
    line.ask("retry", avoid=0)
    assert line.processes[0].batches == [["a"]]
    line.processes[0].answer()
    line.ask("b")
    assert line.processes[0].batches == [["a"], ["retry"]]


@in_event_loop
async def test_long_payload_is_not_prefetched() -> None:
    """It would fill the socket's buffer and block its sender."""
    line = await quick_line()
    line.ask("a")
    line.ask("b" * 100_000)
    assert line.processes[0].batches == [["a"]]


@pytest.mark.parametrize("item", [WorkerExited("was killed by SIGSEGV"), Frame({"op": "hello"}, b"")])
@in_event_loop
async def test_prefetched_requests_are_not_lost_with_their_worker(item: object) -> None:
    """Only the request that the worker had begun fails; the others go to the next worker in their order."""
    line = await quick_line()
    answers = [line.ask(body) for body in "abc"]
    line.processes[0].answer(item)
    with pytest.raises(PredictionFailed):
        await answers[0]
    line.add(other := FakeProcess())
    other.answer()
    other.answer()
    assert other.batches == [["b"], ["c"]]
    assert [await text_of(answer) for answer in answers[1:]] == ["b", "c"]


@in_event_loop
async def test_time_of_a_prefetched_request_begins_when_it_is_its_turn() -> None:
    """The time-out of a prefetched request does not run while the worker is busy with what is before it."""
    line = Line(NodeSettings(timeout_ms=500))
    line.processes[0].run_us = 100
    first = line.ask("first")
    line.processes[0].answer()
    await first
    answers = [line.ask(body) for body in "ab"]
    await asyncio.sleep(0.1)  # The worker is busy.
    line.processes[0].answer()
    began = time.monotonic()
    with pytest.raises(PredictionFailed, match="no answer within timeout-ms of 500 ms"):
        await asyncio.wait_for(answers[1], 5)
    assert time.monotonic() - began >= 0.49
    assert await text_of(answers[0]) == "a"


@in_event_loop
async def test_released_worker_answers_what_was_prefetched() -> None:
    """A worker that is to go finishes all that it has been given."""
    line = await quick_line()
    answers = [line.ask(body) for body in "ab"]
    releasing = asyncio.create_task(line.dispatcher.release(line.workers[0]))
    await asyncio.sleep(0)
    line.processes[0].answer()
    await asyncio.sleep(0)
    assert not releasing.done()
    line.processes[0].answer()
    await asyncio.wait_for(releasing, 5)
    assert [await text_of(answer) for answer in answers] == ["a", "b"]


@in_event_loop
async def test_close_fails_what_was_prefetched() -> None:
    """Nobody waits for what a worker will not answer."""
    line = await quick_line()
    answers = [line.ask(body) for body in "ab"]
    line.dispatcher.close("n of w is being unloaded")
    for answer in answers:
        with pytest.raises(NoWorker, match="n of w is being unloaded"):
            await answer
