"""The queue of a pool: batches, limits, time-outs and what happens to requests whose worker goes, without processes."""

import asyncio
import signal

import pytest

from tests.support.dispatching import SINGLE, FakeProcess, Line, text_of
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import InputField, NodeRequest, NoWorker, PredictionFailed, PredictionRefused
from wfmgmt.serving.models.local.frames import MAX_HEADER_BYTES, Frame, InvalidFrame
from wfmgmt.serving.models.local.worker_process import WorkerExited
from wfmgmt.testing import in_event_loop

BATCHES = NodeSettings(batch_size=3, max_batch_delay_ms=10_000, timeout_ms=10_000)
PROMPT = NodeSettings(batch_size=3, max_batch_delay_ms=30, timeout_ms=10_000)


@in_event_loop
async def test_requests_are_answered_one_after_the_other() -> None:
    """Without batches a worker has one request at a time, in the order in which they came."""
    line = Line()
    answers = [line.ask(body) for body in "abc"]
    for body, answer in zip("abc", answers, strict=True):
        assert line.processes[0].batches[-1] == [body]
        line.processes[0].answer()
        assert await text_of(answer) == body
    assert line.processes[0].batches == [["a"], ["b"], ["c"]]


@in_event_loop
async def test_batch_is_handed_over_when_it_is_full() -> None:
    """Requests wait for each other until there are as many as a batch may have; each gets its own answer."""
    line = Line(BATCHES)
    answers = [line.ask(body) for body in "ab"]
    assert line.processes[0].batches == []
    answers.append(line.ask("c"))
    assert line.processes[0].batches == [["a", "b", "c"]]
    line.processes[0].answer()
    assert [await text_of(answer) for answer in answers] == ["a", "b", "c"]
    assert [answer.result().batch_size for answer in answers] == [3, 3, 3]


@in_event_loop
async def test_batch_is_handed_over_when_its_first_request_has_waited() -> None:
    """A batch that does not fill goes when the delay is over, counted from its first request."""
    line = Line(PROMPT)
    answer = line.ask("a")
    async with asyncio.timeout(5):
        while not line.processes[0].batches:  # noqa: ASYNC110 - the fake has no event
            await asyncio.sleep(0)
    line.processes[0].run_us = 100
    line.processes[0].answer()
    assert await text_of(answer) == "a"
    assert answer.result().queued_s == pytest.approx(0.03, abs=0.5)
    assert answer.result().queued_s >= 0.025


@in_event_loop
async def test_request_is_refused_when_the_queue_is_full() -> None:
    """More may not wait for one node than the queue has places; other nodes have their own."""
    line = Line(queue_size=2)
    for body in "abc":  # One is with the worker, two wait.
        line.ask(body)
    assert line.dispatcher.queued == 2
    with pytest.raises(NoWorker, match=r"2 requests wait for n already \(WFMGMT_QUEUE_SIZE\)"):
        await line.ask("d")


@in_event_loop
async def test_cancelled_request_leaves_the_queue() -> None:
    """A client that went away costs the worker nothing and takes no place."""
    line = Line(queue_size=1)
    line.ask("a")
    line.ask("gone").cancel()
    assert line.dispatcher.queued == 0
    answer = line.ask("b")
    line.processes[0].answer()
    assert line.processes[0].batches == [["a"], ["b"]]
    line.processes[0].answer()
    assert await text_of(answer) == "b"


@in_event_loop
async def test_need_is_told_when_nobody_is_idle() -> None:
    """The callback for scaling up is called for a request that has to wait, and for no other."""
    line = Line()
    line.ask("a")
    assert (line.starved, line.dispatcher.saturated_s) == (0, None)
    line.ask("b")
    assert line.starved == 1
    assert line.dispatcher.saturated_s is not None
    line.add(FakeProcess())
    assert line.dispatcher.saturated_s is None


@in_event_loop
async def test_time_without_an_idle_worker_goes_on_while_requests_wait() -> None:
    """An answer whose worker gets the next request at once does not interrupt it; one that is idle then ends it."""
    now = 0.0
    line = Line(workers=2, clock=lambda: now)

    def busy_s() -> float | None:
        return line.dispatcher.busy_s

    assert busy_s() is None
    line.ask("a")
    assert busy_s() is None
    line.ask("b")
    line.ask("c")
    now = 40.0
    assert busy_s() == 40.0
    line.processes[1].answer()  # It gets what waits.
    assert busy_s() == 40.0
    line.processes[0].answer()
    assert busy_s() is None
    line.ask("d")
    now = 41.0
    assert busy_s() == 1.0
    line.add(FakeProcess())
    assert busy_s() is None
    for worker in line.workers:
        line.dispatcher.remove(worker)
    assert busy_s() is None


@in_event_loop
async def test_retry_goes_to_another_worker() -> None:
    """A request avoids the worker that failed it, as long as there is another one, idle or not."""
    line = Line(workers=2)
    line.ask("busy")
    failed, other = line.processes[1], line.processes[0]
    assert failed.batches == [["busy"]]
    answers = [line.ask(body, avoid=line.workers[1].number) for body in ("first", "second")]
    failed.answer()
    assert (failed.batches, other.batches) == ([["busy"]], [["first"]])
    other.answer()
    other.answer()
    assert [await text_of(answer) for answer in answers] == ["first", "second"]


@in_event_loop
async def test_retry_goes_to_the_same_worker_when_there_is_no_other() -> None:
    """The only worker gets the request again."""
    line = Line()
    line.ask("retry", avoid=line.workers[0].number)
    assert line.processes[0].batches == [["retry"]]


@in_event_loop
async def test_retry_shares_no_batch() -> None:
    """What failed once runs alone, so that it can do no other request any harm."""
    line = Line(PROMPT)
    answers = [line.ask("retry", avoid=0), line.ask("b"), line.ask("c"), line.ask("d")]
    assert line.processes[0].batches == [["retry"]]
    line.processes[0].answer()
    assert line.processes[0].batches[1] == ["b", "c", "d"]
    line.processes[0].answer()
    assert [await text_of(answer) for answer in answers] == ["retry", "b", "c", "d"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (WorkerExited("was killed by SIGSEGV"), "its worker was killed by SIGSEGV"),
        (InvalidFrame("the header is not JSON"), "its worker sent what is no message: the header is not JSON"),
        (Frame({"op": "hello"}, b""), "its worker sent an answer that makes no sense"),
        (Frame({"op": "answer", "answers": [], "metrics": []}, b""), "its worker sent an answer that makes no sense"),
        (Frame({"op": "answer", "answers": [[200, {}, 9]], "metrics": []}, b"x"), "an answer that makes no sense"),
        (Frame({"op": "answer", "answers": [[200, {}, 0]], "metrics": []}, b"x"), "an answer that makes no sense"),
        (Frame({"op": "answer", "answers": [[None, {}, 1]], "metrics": []}, b"x"), "an answer that makes no sense"),
    ],
    ids=["died", "no message", "unknown", "too few", "too short", "too long", "wrong types"],
)
@in_event_loop
async def test_request_fails_when_its_worker_cannot_be_trusted(item: object, reason: str) -> None:
    """The reason names what the worker did; it is killed and gets nothing more, and the queue goes to another."""
    line = Line()
    answer, waiting = line.ask("a"), line.ask("b")
    line.processes[0].answer(item)
    with pytest.raises(PredictionFailed, match=reason) as raised:
        await answer
    assert raised.value.worker == line.workers[0].number
    assert line.processes[0].signals == [signal.SIGKILL]
    assert line.workers[0].died_working
    line.add(other := FakeProcess())
    other.answer()
    assert await text_of(waiting) == "b"


@in_event_loop
async def test_requests_of_a_lost_batch_run_again_alone() -> None:
    """When a batch was a worker's end, only the request that is the end of its next worker, too, fails."""
    line = Line(BATCHES)
    answers = [line.ask(body) for body in "abc"]
    line.processes[0].answer(WorkerExited("exited with code 3"))
    line.add(second := FakeProcess())
    second.answer()
    second.answer(WorkerExited("exited with code 3"))
    line.add(third := FakeProcess())
    third.answer()
    assert (second.batches, third.batches) == ([["a"], ["b"]], [["c"]])
    assert await text_of(answers[0]) == "a"
    assert await text_of(answers[2]) == "c"
    with pytest.raises(PredictionFailed, match="its worker exited with code 3") as raised:
        await answers[1]
    assert raised.value.is_worker_gone


@in_event_loop
async def test_worker_is_killed_when_it_takes_too_long() -> None:
    """After timeout-ms the request fails, and an answer that comes all the same is nobody's."""
    line = Line(NodeSettings(timeout_ms=20))
    answer = line.ask("a")
    with pytest.raises(PredictionFailed, match="no answer within timeout-ms of 20 ms") as raised:
        await asyncio.wait_for(answer, 5)
    assert raised.value.is_worker_gone
    assert line.processes[0].signals == [signal.SIGKILL]
    line.processes[0].answer()
    assert line.dispatcher.idle == []


@in_event_loop
async def test_handler_error_fails_the_batch_and_keeps_the_worker() -> None:
    """An error of the handler is no fault of the worker."""
    line = Line(BATCHES)
    answers = [line.ask(body) for body in "abc"]
    line.processes[0].answer(Frame({"op": "failed", "error": "ValueError: bad"}, b""))
    for answer in answers:
        with pytest.raises(PredictionFailed, match="ValueError: bad") as raised:
            await answer
        assert not raised.value.is_worker_gone
    assert line.dispatcher.idle == [line.workers[0]]


@in_event_loop
async def test_failed_import_is_explained() -> None:
    """What is found out is kept, since that reads files, until another worker comes: libraries may be there then."""
    line = Line()

    async def reason(error: str, **fields: bool) -> str:
        answer = line.ask("a")
        line.processes[0].answer(Frame({"op": "failed", "error": error, **fields}, b""))
        with pytest.raises(PredictionFailed) as raised:
            await answer
        return raised.value.reason

    assert await reason("no library", lacks_module=True) == "no library; explained 1: True"
    assert await reason("no library", lacks_module=True) == "no library; explained 1: True"
    assert await reason("no name in it", lacks_module=False) == "no name in it; explained 2: False"
    line.dispatcher.remove(line.add(FakeProcess()))
    assert await reason("no library", lacks_module=True) == "no library; explained 3: True"
    assert await reason("ValueError: bad") == "ValueError: bad"


@in_event_loop
async def test_handler_can_refuse_with_a_status() -> None:
    """A status that came with the error goes on with it."""
    line = Line()
    answer = line.ask("a")
    line.processes[0].answer(Frame({"op": "failed", "error": "no such city", "status": 404}, b""))
    with pytest.raises(PredictionRefused, match="no such city") as raised:
        await answer
    assert raised.value.status == 404


@in_event_loop
async def test_refusal_of_a_batch_is_the_one_requests_that_was_meant() -> None:
    """Which request of a batch a handler refused is found out by asking each again, alone."""
    line = Line(BATCHES)
    answers = [line.ask(body) for body in "abc"]
    refusal = {"op": "failed", "error": "no such city", "status": 404}
    line.processes[0].answer(Frame({**refusal}, b""))
    for body in "abc":
        assert line.processes[0].batches[-1] == [body]
        line.processes[0].answer(Frame({**refusal}, b"") if body == "b" else None)
    assert [await text_of(answers[0]), await text_of(answers[2])] == ["a", "c"]
    with pytest.raises(PredictionRefused, match="no such city"):
        await answers[1]


@in_event_loop
async def test_request_that_fits_no_message_holds_up_no_other() -> None:
    """It is refused, and the worker goes on with the next one."""
    line = Line()
    line.ask("busy")
    fields = [InputField("x" * MAX_HEADER_BYTES, b"")]
    bad = line.dispatcher.submit(NodeRequest("id", b"{}", fields))
    good = line.ask("good")
    line.processes[0].answer()
    with pytest.raises(PredictionRefused, match="cannot be handed to a worker: header of"):
        await bad
    await asyncio.sleep(0)
    line.processes[0].answer()
    assert await text_of(good) == "good"


@in_event_loop
async def test_one_answer_of_a_batch_can_fail() -> None:
    """What cannot be sent fails its own request only."""
    line = Line(BATCHES)
    answers = [line.ask(body) for body in "abc"]
    entries = [[200, {}, 1], {"error": "its answer cannot be sent"}, [201, {"X-A": "b"}, 1]]
    measured = [["counter", "seen", "count", 3]]
    line.processes[0].answer(Frame({"op": "answer", "answers": entries, "metrics": measured}, b"ac"))
    assert await text_of(answers[0]) == "a"
    with pytest.raises(PredictionFailed, match="its answer cannot be sent"):
        await answers[1]
    third = await answers[2]
    assert (third.content, third.status, third.headers) == (b"c", 201, {"x-a": "b"})
    assert line.measured == [measured]


@in_event_loop
async def test_worker_that_spoke_unasked_gets_nothing() -> None:
    """A worker that is found unusable while it is idle is killed, and the request waits for another."""
    line = Line()
    line.processes[0].is_usable = False
    answer = line.ask("a")
    assert line.processes[0].batches == []
    assert line.processes[0].signals == [signal.SIGKILL]
    line.add(other := FakeProcess())
    other.answer()
    assert await text_of(answer) == "a"


@in_event_loop
async def test_released_worker_answers_what_it_has() -> None:
    """A worker that is to go finishes its request first, and gets no other."""
    line = Line()
    answer, waiting = line.ask("a"), line.ask("b")
    releasing = asyncio.create_task(line.dispatcher.release(line.workers[0]))
    await asyncio.sleep(0)
    assert not releasing.done()
    line.processes[0].answer()
    await asyncio.wait_for(releasing, 5)
    assert await text_of(answer) == "a"
    assert line.processes[0].batches == [["a"]]
    assert not waiting.done()


@in_event_loop
async def test_close_fails_everything() -> None:
    """What waits, what runs and what comes later hears the reason."""
    line = Line()
    answers = [line.ask("running"), line.ask("waiting")]
    line.dispatcher.close("n of w is being unloaded")
    answers.append(line.ask("later"))
    for answer in answers:
        with pytest.raises(NoWorker, match="n of w is being unloaded"):
            await answer


@in_event_loop
async def test_changed_batch_size_holds_from_the_next_batch_on() -> None:
    """What a worker has is not touched; what waits is handed over by the new ones, in a queue of a batch at least."""
    line = Line(queue_size=1)
    first = line.ask("a")
    waiting = line.ask("b")
    with pytest.raises(NoWorker, match="1 requests wait"):
        await line.ask("refused")
    line.dispatcher.change(BATCHES)
    answers = [first, waiting, line.ask("c"), line.ask("d")]
    line.processes[0].answer()
    assert line.processes[0].batches == [["a"], ["b", "c", "d"]]
    line.processes[0].answer()
    assert [await text_of(answer) for answer in answers] == ["a", "b", "c", "d"]


@in_event_loop
async def test_changed_delay_holds_for_requests_that_wait_already() -> None:
    """A batch that waits for company is handed over at once when it need not wait any more."""
    line = Line(BATCHES)
    line.ask("a")
    assert line.processes[0].batches == []
    line.dispatcher.change(SINGLE)
    assert line.processes[0].batches == [["a"]]


@in_event_loop
async def test_changed_timeout_leaves_a_batch_under_way_its_own() -> None:
    """The batch that runs is not killed by a shorter time-out; the next one is."""
    line = Line(NodeSettings(timeout_ms=10_000))
    first = line.ask("a")
    line.dispatcher.change(NodeSettings(timeout_ms=20))
    await asyncio.sleep(0.2)  # Ten times the new time-out.
    assert line.processes[0].signals == []
    line.processes[0].answer()
    assert await text_of(first) == "a"
    with pytest.raises(PredictionFailed, match="timeout-ms of 20 ms"):
        await asyncio.wait_for(line.ask("b"), 5)
