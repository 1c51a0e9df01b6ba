"""Workers of this machine and handlers that do what they should not, for real."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.factories import make_mar
from tests.support.model_servers import has_ended, is_running, open_descriptors, open_servers, until
from wfmgmt.errors import WfmgmtError
from wfmgmt.serving.models.base import (
    InputField,
    NodeAnswer,
    NodeRequest,
    PredictionFailed,
    PredictionRefused,
    WorkerStatus,
)
from wfmgmt.serving.models.local.accelerators import Accelerators
from wfmgmt.serving.models.local.batches import MAX_TRACEBACK_CHARS
from wfmgmt.serving.models.local.forkserver_client import WorkerEnvironment
from wfmgmt.serving.models.local.pool import PoolSettings
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load, make_model

#: What handlers below do when the body says so; anything else comes back.
HANDLER = """
import ctypes, os, signal, socket, sys, threading, time

DEVICE = os.environ.get("CUDA_VISIBLE_DEVICES")

class Handler:
    def initialize(self, context):
        self.gpu_id = context.system_properties["gpu_id"]

    def handle(self, data, context):
        return [self.answer(row["body"].decode(), context) for row in data]

    def answer(self, order, context):
        if order == "pid":
            return str(os.getpid())
        if order == "gpu":
            return f"{self.gpu_id} of {DEVICE}"
        if order == "preloaded":
            return "colorsys" in sys.modules
        if order == "wait":
            time.sleep(60)
        if order == "memory":
            bytearray(4 << 30)
        if order == "systemexit":
            sys.exit(7)
        if order == "base":
            raise BaseException("base")
        if order == "close":
            os.closerange(3, 1000)
            time.sleep(60)
        if order == "malformed":
            for fd in range(3, 20):
                try:
                    os.write(fd, b"malformed, not a message" * 10)
                except OSError:
                    pass
        if order == "answer for another":
            frame = b'{"op":"answer","answers":[[200,{},4]],"metrics":[]}'
            for fd in range(3, 20):
                try:
                    os.write(fd, len(frame).to_bytes(4, "big") + (4).to_bytes(4, "big") + frame + b"fake")
                except OSError:
                    pass
        if order == "print":
            for _ in range(100):
                print("x" * 100_000)
        if order == "fork":
            if os.fork() == 0:
                return "child"
        if order == "background":
            if os.fork() == 0:
                time.sleep(60)
        if order == "thread":
            threading.Thread(target=time.sleep, args=(60,)).start()
        if order == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        if order == "huge":
            return "x" * 2_000
        if order == "status":
            context.set_response_status(99)
        if order == "one long header":
            context.set_response_header(0, "X", "x" * 2_000_000)
        if order == "many headers":
            for number in range(1000):
                context.set_response_header(0, f"X-{number}", "x" * 4000)
        if order == "many measurements":
            for number in range(1000):
                context.metrics.add_counter("x" * 4000, 1)
        return order
"""
NOT_A_LIST = "def handle(data, context):\n    return None if data is None else {'answer': 1}\n"


def ordering(order: str) -> NodeRequest:
    """Return a request whose body is an order."""
    return NodeRequest("id", b"{}", [InputField("body", order.encode())])


async def ask(model: LoadedModel, order: str) -> Any:
    """Give an order; return the answer as text."""
    answer = await asyncio.wait_for(model.infer(ordering(order)), 30)
    return bytes(answer.content).decode()


async def reason_of(model: LoadedModel, order: str) -> str:
    """Give an order that fails; return why."""
    with pytest.raises(WfmgmtError) as raised:
        await ask(model, order)
    return str(raised.value)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("systemexit", "SystemExit: 7"),
        ("base", "BaseException: base"),
        ("memory", "MemoryError"),
        ("huge", "its answer has 2000 bytes, the limit is 1000 (WFMGMT_RESPONSE_LIMIT_BYTES)"),
        ("status", "it set the status 99; expected 200 to 599"),
        ("one long header", "its headers have 2000009 bytes, the limit is 65536"),
        ("many headers", "its headers have 40"),
        ("many measurements", "what it measured, or the errors of its batch, cannot be sent: header of 4"),
    ],
)
@in_event_loop
async def test_worker_survives_its_handler(tmp_path: Path, order: str, reason: str) -> None:
    """A handler that raises, or returns a wrong value, fails its request with the reason, and its worker goes on."""
    worker_environment = WorkerEnvironment(memory_bytes=2 << 30)
    async with open_servers(tmp_path / "u", worker_environment=worker_environment, answer_bytes=1000) as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
        pid = await ask(model, "pid")
        assert (await reason_of(model, order)).startswith(reason)
        assert await ask(model, "pid") == pid


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("close", "its worker closed its connection"),
        ("malformed", "its worker sent what is no message"),
        ("terminate", "its worker was killed by SIGTERM"),
        ("wait", "no answer within timeout-ms of 1500 ms; its worker was killed"),
    ],
)
@in_event_loop
async def test_worker_is_replaced_when_it_cannot_go_on(tmp_path: Path, order: str, reason: str) -> None:
    """The request fails with what happened; another worker is there for the next one, at once."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1, timeout_ms=1500)
        pid = await ask(model, "pid")
        waiting = asyncio.create_task(ask(model, "waiting"))
        assert (await reason_of(model, order)).startswith(reason)
        assert await waiting == "waiting"
        assert await ask(model, "pid") != pid
        assert model.status == WorkerStatus(wanted=1, ready=1)


@in_event_loop
async def test_headers_that_are_too_long_fail_their_own_request_only(tmp_path: Path) -> None:
    """The others of the batch are answered, with their headers."""
    source = (
        "def handle(data, context):\n"
        "    for index, row in enumerate(data or ()):\n"
        "        context.set_response_header(index, 'X', 'x' * int(row['body']))\n"
        "    return data and ['ok'] * len(data)\n"
    )
    async with open_servers(tmp_path / "u") as servers:
        archive = make_mar(tmp_path, source=source)
        model = await load(servers.models, archive, batch_size=3, max_batch_delay_ms=60_000)
        asked = [model.infer(ordering(size)) for size in ("10", "2000000", "20")]
        first, second, third = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
    assert isinstance(first, NodeAnswer)
    assert isinstance(third, NodeAnswer)
    assert (first.headers, third.headers) == ({"x": "x" * 10}, {"x": "x" * 20})
    assert isinstance(second, PredictionFailed)
    assert second.reason.startswith("its headers have 2000009 bytes, the limit is 65536")


@pytest.mark.parametrize("order", ["print", "fork", "background", "thread"])
@in_event_loop
async def test_odd_handlers_are_answered_all_the_same(tmp_path: Path, order: str) -> None:
    """Floods of output, children and threads keep nobody from the answer."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
        assert await ask(model, order) == order
        assert await ask(model, "next") == "next"


@in_event_loop
async def test_answer_without_a_request_is_given_to_no_other_request(tmp_path: Path) -> None:
    """A handler that sends an answer of its own making cannot have it taken for the next request's."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
        assert await reason_of(model, "answer for another") == "its worker sent an answer that makes no sense"
        assert [await ask(model, f"mine {number}") for number in range(5)] == [f"mine {n}" for n in range(5)]


@in_event_loop
async def test_handler_has_to_return_a_list(tmp_path: Path) -> None:
    """Anything else fails the batch with its type."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=NOT_A_LIST))
        assert await reason_of(model, "a") == "it returned dict, and not a list with one answer per request"


@in_event_loop
async def test_error_of_a_handler_comes_with_its_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It goes with the error to where the record is made, and not to the client; nor is it printed."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER))
        with pytest.raises(PredictionFailed) as raised:
            await model.infer(ordering("base"))
        error, pid = raised.value, int(await ask(model, "pid"))
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert error.traceback.endswith("\nBaseException: base\n")
    assert "Traceback" not in str(error)
    assert error.pid == pid
    assert "Traceback" not in caplog.text


@in_event_loop
async def test_traceback_of_a_handler_is_bounded(tmp_path: Path) -> None:
    """Its end says what was wrong, however long the texts are that the handler raises."""
    source = "def handle(data, context):\n    if data:\n        raise ValueError('x' * 10_000_000 + ' end')\n"
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        with pytest.raises(PredictionFailed) as raised:
            await model.infer(ordering("x"))
    assert len(raised.value.traceback) == MAX_TRACEBACK_CHARS
    assert raised.value.traceback.endswith("x end\n")


@pytest.mark.parametrize(("status", "has_traceback"), [(404, False), (503, True)])
@in_event_loop
async def test_refusal_of_a_handler_has_a_traceback_when_it_is_a_failure(
    tmp_path: Path, *, status: int, has_traceback: bool
) -> None:
    """A status below 500 is the client's fault, and says all that there is to say."""
    source = (
        "class PredictionException(Exception):\n    message, error_code = 'no', STATUS\n"
        "def handle(data, context):\n    if data:\n        raise PredictionException\n"
    ).replace("STATUS", str(status))
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        with pytest.raises(PredictionRefused) as raised:
            await model.infer(ordering("x"))
    assert ("Traceback" in raised.value.traceback) == has_traceback


@in_event_loop
async def test_pool_shrinks_when_it_is_idle(tmp_path: Path) -> None:
    """Workers that came because of a rush go when they have been idle for long enough; the minimum stays."""
    settings = PoolSettings(idle_timeout_s=0.3)
    async with open_servers(tmp_path / "u", pool_settings=settings) as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=3, timeout_ms=60_000)
        held_up = [model.infer(ordering("wait")) for _ in range(2)]
        assert await ask(model, "other") == "other"
        assert model.status == WorkerStatus(wanted=1, ready=3)
        pid = int(await ask(model, "pid"))
        await until(lambda: model.status.ready == 2)
        await until(lambda: not is_running(pid))
        assert not any(answer.done() for answer in held_up)


@in_event_loop
async def test_pool_without_minimum_lets_go_and_comes_back(tmp_path: Path) -> None:
    """With min-workers 0 a process is there only while there are requests."""
    settings = PoolSettings(idle_timeout_s=0.2)
    async with open_servers(tmp_path / "u", pool_settings=settings) as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), min_workers=0)
        for _ in range(2):
            pid = int(await ask(model, "pid"))
            assert model.status.ready == 1
            await until(lambda: model.status == WorkerStatus(wanted=0, ready=0))
            await until(partial(has_ended, pid))


@in_event_loop
async def test_waiting_request_gets_a_new_worker_when_the_last_one_dies(tmp_path: Path) -> None:
    """A request queued behind one that kills its worker does not wait until a third one comes."""
    async with open_servers(tmp_path / "u") as servers:
        archive = make_mar(tmp_path, source=HANDLER)
        model = await load(servers.models, archive, min_workers=0, max_workers=1, timeout_ms=300)
        asked = [asyncio.create_task(reason_of(model, "wait")), asyncio.create_task(ask(model, "behind"))]
        assert (await asked[0]).startswith("no answer within timeout-ms")
        assert await asked[1] == "behind"


@in_event_loop
async def test_request_is_refused_when_no_worker_comes_up(tmp_path: Path) -> None:
    """A model without a minimum that does not load tells each request why, and does not let it wait."""
    source = "raise RuntimeError('no weights')\n"
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source), min_workers=0)
        for _ in range(3):
            assert await reason_of(model, "a") == "m has no worker: RuntimeError: no weights"


@in_event_loop
async def test_pool_grows_one_at_a_time_up_to_its_maximum(tmp_path: Path) -> None:
    """There are never more workers than allowed, however many requests wait."""
    most: list[int] = []
    loaded: list[LoadedModel] = []
    async with open_servers(tmp_path / "u") as servers:
        archive = make_model(make_mar(tmp_path, source=HANDLER), max_workers=2, timeout_ms=60_000)
        model = await servers.models.load(archive, on_change=lambda: most.extend(each.status.ready for each in loaded))
        loaded.append(model)
        held_up = [model.infer(ordering("wait")) for _ in range(5)]
        await until(lambda: model.status.ready == 2)
        answer = model.infer(ordering("a"))
        await asyncio.wait([answer], timeout=0.3)
        assert not answer.done()
        assert max(most) == 2
        for each in (*held_up, answer):
            each.cancel()


@in_event_loop
async def test_workers_get_the_accelerator_that_fewest_have(tmp_path: Path) -> None:
    """It sees no other one, as the first, before its handler is imported; without any it gets no device."""
    archive = make_mar(tmp_path, source=HANDLER)
    async with open_servers(tmp_path / "u", accelerators=Accelerators(("3", "5"))) as servers:

        async def load_more(*uids: str) -> tuple[list[LoadedModel], list[str]]:
            models = [await load(servers.models, archive, uid=uid) for uid in uids]
            return models, [await ask(model, "gpu") for model in models]

        (first, _, third), accelerators = await load_more("a", "b", "c")
        assert accelerators == ["0 of 3", "0 of 5", "0 of 3"]
        await first.unload()
        await third.unload()
        _, accelerators = await load_more("d", "e")
        assert accelerators == ["0 of 3", "0 of 3"]
    async with open_servers(tmp_path / "v") as servers:
        model = await load(servers.models, archive)
        assert await ask(model, "gpu") == "None of None"


@in_event_loop
async def test_preloaded_modules_are_there_before_the_handler(tmp_path: Path) -> None:
    """Workers are forked from a process that has imported them."""
    archive = make_mar(tmp_path, source=HANDLER)
    for preload, expected in (((), "false"), (("colorsys",), "true")):
        async with open_servers(tmp_path / "u", worker_environment=WorkerEnvironment(preload=preload)) as servers:
            model = await load(servers.models, archive)
            assert await ask(model, "preloaded") == expected


@in_event_loop
async def test_load_names_the_module_that_cannot_be_preloaded(tmp_path: Path) -> None:
    """The reason names the setting and the module."""
    async with open_servers(tmp_path / "u", worker_environment=WorkerEnvironment(preload=("nosuch",))) as servers:
        with pytest.raises(WfmgmtError, match="WFMGMT_PRELOAD: nosuch cannot be imported: ModuleNotFoundError"):
            await load(servers.models, make_mar(tmp_path, source=HANDLER))


@in_event_loop
async def test_handler_metrics_are_reported(tmp_path: Path) -> None:
    """Counters and times are reported with workflow and node."""
    source = (
        "def handle(data, context):\n"
        "    if data is None:\n"
        "        return None\n"
        "    context.metrics.add_counter('seen', 2)\n"
        "    context.metrics.add_time('spent', 250)\n"
        "    context.metrics.add_metric_to_cache('level', 'dB', metric_type='gauge').add_or_update(3)\n"
        "    return ['ok'] * len(data)\n"
    )
    told: list[Any] = []

    def note(workflow: str, node: str, measured: Any) -> None:
        told.append((workflow, node, measured))

    async with open_servers(tmp_path / "u", pool_settings=PoolSettings(on_measurements=note)) as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        await ask(model, "a")
    measured = [["counter", "seen", "count", 2.0], ["time", "spent", "s", 0.25], ["gauge", "level", "dB", 3.0]]
    assert told == [("w", "m", measured)]


@in_event_loop
async def test_handler_reads_the_configuration_file_of_its_archive(tmp_path: Path) -> None:
    """The YAML file that the manifest names is in the context."""
    source = "def handle(data, context):\n    return data and [context.model_yaml_config['threshold']]\n"
    manifest = {"model": {"modelName": "m", "handler": "handler.py", "configFile": "model.yaml"}}
    archive = make_mar(tmp_path, source=source, manifest=manifest, extra_files={"model.yaml": "threshold: 0.5\n"})
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, archive)
        assert await ask(model, "a") == "0.5"


@in_event_loop
async def test_many_deaths_leave_nothing(tmp_path: Path) -> None:
    """Descriptors and processes are back where they were after workers died again and again."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
        await ask(model, "a")
        before = open_descriptors()
        for _ in range(10):
            with pytest.raises(PredictionFailed):
                await ask(model, "terminate")
        await ask(model, "a")
        await until(lambda: open_descriptors() <= before)


@in_event_loop
async def test_large_bodies_go_both_ways(tmp_path: Path) -> None:
    """Megabytes arrive whole, several at a time."""
    async with open_servers(tmp_path / "u") as servers:
        archive = make_mar(tmp_path, source=HANDLER)
        model = await load(servers.models, archive, batch_size=4, max_batch_delay_ms=50)
        bodies = [chr(ord("a") + number) * (1_000_000 + number) for number in range(6)]
        assert await asyncio.gather(*(ask(model, body) for body in bodies)) == bodies


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("order", ["terminate", "malformed", "close"])
def test_requests_around_a_fatal_one_are_answered(
    tmp_path: Path, order: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """What a quick worker prefetched is not lost with it, nor what it had answered: only its last request is."""

    async def ask_for_all() -> None:
        async with open_servers(tmp_path / "u") as servers:
            model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
            for _ in range(20):
                await ask(model, "warm")
            bodies = ["before", order, *(f"after {number}" for number in range(10))]
            asked = [model.infer(ordering(body)) for body in bodies]
            answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
            assert isinstance(answers.pop(1), PredictionFailed)
            bodies.remove(order)
            assert [bytes(answer.content).decode() for answer in answers if isinstance(answer, NodeAnswer)] == bodies

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(ask_for_all())
