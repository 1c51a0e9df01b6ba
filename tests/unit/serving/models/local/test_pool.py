"""Restarts and back-off of a pool, with workers and a clock that are not real."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.autoscaling import AutoscaleMode, Autoscaling
from wfmgmt.serving.models.base import InputField, ModelNotLoaded, NodeRequest, NoWorker, WorkerStatus
from wfmgmt.serving.models.local.forkserver_client import ForkFailed
from wfmgmt.serving.models.local.frames import Frame
from wfmgmt.serving.models.local.growth import GROW_AFTER_S
from wfmgmt.serving.models.local.pool import PoolSettings, WorkerPool
from wfmgmt.serving.models.local.worker_process import WorkerExited
from wfmgmt.serving.models.local.worker_start import Job


def equip() -> AbstractAsyncContextManager[Mapping[str, Any]]:
    """Give a worker nothing but its message."""
    return nullcontext({"op": "load"})


JOB = Job(workflow="w", node="n", equip=equip, startup_timeout_s=5)
READY = Frame({"op": "ready"}, b"")


class FakeWorker:
    """A worker that says one thing and lives until the test ends it."""

    is_connected = is_usable = True
    pid = 0

    def __init__(self, answer: Frame | Exception) -> None:
        self.answer = answer
        self.pid = 1
        self.output = SimpleNamespace(fields={"pid": self.pid})
        self.exit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.stopped = False

    def send(self, _header: object, _payload: object = ()) -> None:
        """Take a message."""

    def expect(self, _callback: object) -> None:
        """Never answer a batch."""

    def own(self, equipment: AsyncExitStack) -> None:
        """Take over what belongs to the worker."""

    async def receive(self) -> Frame:
        """Return the answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def wait(self) -> str:
        """Wait for the end that the test brings."""
        return await asyncio.shield(self.exit)

    async def stop(self, *, grace_s: float) -> None:  # noqa: ARG002
        """Note that the worker was taken down."""
        self.stopped = True


class FakeForkserver:
    """Hands out workers with the answers of a script; the last answer is given for ever."""

    def __init__(self, *script: Frame | Exception) -> None:
        self._script = list(script) or [READY]
        self.workers: list[FakeWorker] = []

    async def fork(self, *, workflow: str, node: str) -> Any:
        """Return the next worker."""
        assert (workflow, node) == ("w", "n")
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(answer, ForkFailed):
            raise answer
        self.workers.append(FakeWorker(answer))
        return self.workers[-1]


class Time:
    """A clock that goes forward by what is slept, and notes how long that was."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def run_with_pool(
    forkserver: FakeForkserver,
    scenario: Callable[[WorkerPool, Time], Coroutine[Any, Any, None]],
    settings: PoolSettings | None = None,
) -> list[WorkerStatus]:
    """Run a scenario with a pool and return all that the pool's status was, without repetitions."""
    seen: list[WorkerStatus] = []
    time = Time()

    async def run() -> None:
        pool = WorkerPool(
            forkserver=forkserver,
            job=JOB,
            node_settings=NodeSettings(),
            on_change=lambda: seen.append(pool.status),
            settings=settings,
            clock=time.clock,
            sleep=time.sleep,
        )
        try:
            await scenario(pool, time)
        finally:
            await pool.stop()

    asyncio.run(run())
    return [status for index, status in enumerate(seen) if index == 0 or seen[index - 1] != status]


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is not one event's
            await asyncio.sleep(0)


def test_pool_restarts_a_worker_that_died() -> None:
    """A dead worker is replaced after the first delay, and the status tells each step."""
    forkserver = FakeForkserver()

    async def scenario(pool: WorkerPool, time: Time) -> None:
        await pool.scale(1, 1)
        time.now = 10
        forkserver.workers[0].exit.set_result("was killed by SIGSEGV")
        await until(lambda: len(forkserver.workers) == 2 and pool.status.ready == 1)
        assert time.slept == [0.1]

    assert run_with_pool(forkserver, scenario) == [
        WorkerStatus(wanted=1, ready=0),
        WorkerStatus(wanted=1, ready=1),
        WorkerStatus(wanted=1, ready=0, error="worker was killed by SIGSEGV"),
        WorkerStatus(wanted=1, ready=1),
        WorkerStatus(wanted=0, ready=0),
    ]


def test_pool_waits_longer_after_each_failed_restart() -> None:
    """While restarts fail, the delays double and the status tells the last reason."""
    gone = WorkerExited("exited with code 3")
    forkserver = FakeForkserver(READY, gone, gone, ForkFailed("too many processes"), READY)

    async def scenario(pool: WorkerPool, time: Time) -> None:
        await pool.scale(1, 1)
        forkserver.workers[0].exit.set_result("exited with code 1")
        await until(lambda: pool.status.ready == 1 and len(forkserver.workers) == 4)
        assert time.slept == pytest.approx([0.1, 0.2, 0.4, 0.8])

    errors = [status.error for status in run_with_pool(forkserver, scenario) if status.error]
    assert errors == [
        "worker exited with code 1",
        "worker exited with code 3 while loading",
        "no worker could be started: too many processes",
    ]


def test_pool_tries_again_after_what_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    """With pauses, and those who wait hear of it: the slot of the worker is not lost."""
    forkserver = FakeForkserver(READY, PermissionError(13, "no"), PermissionError(13, "no"), READY)

    async def scenario(pool: WorkerPool, time: Time) -> None:
        await pool.scale(1, 1)
        forkserver.workers[0].exit.set_result("exited with code 1")
        await until(lambda: pool.status.ready == 1 and len(forkserver.workers) == 4)
        assert time.slept == pytest.approx([0.1, 0.2, 0.4])

    errors = [status.error for status in run_with_pool(forkserver, scenario) if status.error]
    assert errors == ["worker exited with code 1", "PermissionError"]
    assert caplog.text.count("a worker was not started") == 2


def test_pool_fails_to_start_when_one_worker_fails() -> None:
    """When one of the first workers fails, the others are taken down and nothing is tried again."""
    forkserver = FakeForkserver(READY, WorkerExited("exited with code 3"), READY)

    async def scenario(pool: WorkerPool, time: Time) -> None:
        with pytest.raises(ModelNotLoaded, match="worker exited with code 3 while loading") as raised:
            await pool.scale(3, 3)
        assert raised.value.node == "n"
        assert pool.status == WorkerStatus(wanted=0, ready=0)
        assert all(worker.stopped for worker in forkserver.workers)
        assert time.slept == []

    run_with_pool(forkserver, scenario)


def test_pool_keeps_its_workers_when_more_cannot_be_had() -> None:
    """A failed step up leaves the workers that were there before."""
    forkserver = FakeForkserver(READY, WorkerExited("exited with code 3"))

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        await pool.scale(1, 1)
        with pytest.raises(ModelNotLoaded):
            await pool.scale(2, 2)
        assert pool.status == WorkerStatus(wanted=1, ready=1)
        assert not forkserver.workers[0].stopped

    run_with_pool(forkserver, scenario)


def test_pool_gives_up_workers_that_are_down_first() -> None:
    """Scaling down takes the place whose worker just died, not one that works."""
    forkserver = FakeForkserver(READY, READY, WorkerExited("exited with code 3"))

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        await pool.scale(2, 2)
        forkserver.workers[0].exit.set_result("exited with code 1")
        await until(lambda: pool.status.error is not None)
        await pool.scale(1, 1)
        assert pool.status == WorkerStatus(wanted=1, ready=1)
        assert not forkserver.workers[1].stopped

    run_with_pool(forkserver, scenario)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"op": "hello"}, id="unknown"),
        pytest.param({"op": "failed", "error": "no"}, id="incomplete"),
    ],
)
def test_pool_fails_a_load_when_the_worker_sends_an_unknown_message(header: dict[str, object]) -> None:
    """A message that no loading worker sends fails the load with a reason."""
    forkserver = FakeForkserver(Frame(dict(header), b""))

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        with pytest.raises(ModelNotLoaded, match="broken connection to the worker: unknown message"):
            await pool.scale(1, 1)

    run_with_pool(forkserver, scenario)


def test_pool_is_stopped_when_no_worker_lives() -> None:
    """Also one that is being taken down already, for want of work or because fewer were asked for, is waited for."""
    forkserver = FakeForkserver()

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        await pool.scale(2, 2)
        going = asyncio.Event()

        async def slow_stop(*, grace_s: float) -> None:
            await going.wait()
            await asyncio.sleep(0.01)
            forkserver.workers[1].stopped = True

        forkserver.workers[1].stop = slow_stop  # type: ignore[method-assign]
        scaling = asyncio.create_task(pool.scale(1, 1))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(pool.stop())
        await asyncio.wait([stopping], timeout=0.05)
        assert not stopping.done()
        scaling.cancel()
        going.set()
        await stopping
        assert all(worker.stopped for worker in forkserver.workers)

    run_with_pool(forkserver, scenario)


def test_pool_keeps_workers_between_minimum_and_maximum() -> None:
    """Scaling touches only what is too few or too many."""
    forkserver = FakeForkserver()

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        await pool.scale(3, 3)
        await pool.scale(1, 3)
        assert pool.status == WorkerStatus(wanted=1, ready=3)
        assert pool.is_above_minimum
        await pool.scale(1, 2)
        assert pool.status == WorkerStatus(wanted=1, ready=2)
        await pool.scale(0, 0)
        assert pool.status == WorkerStatus(wanted=0, ready=0)
        assert len(forkserver.workers) == 3

    run_with_pool(forkserver, scenario)


def test_pool_keeps_minimum_and_maximum_when_more_cannot_be_had() -> None:
    """Both numbers are those from before, so that nothing grows beyond the old maximum later."""
    forkserver = FakeForkserver(READY, WorkerExited("exited with code 3"))

    async def scenario(pool: WorkerPool, time: Time) -> None:
        await pool.scale(1, 1)
        with pytest.raises(ModelNotLoaded):
            await pool.scale(2, 5)
        pool.dispatcher.submit(NodeRequest("id", b"{}", [InputField("body", b"a")]))
        waiting = pool.dispatcher.submit(NodeRequest("id", b"{}", [InputField("body", b"b")]))
        time.now += 1
        await asyncio.sleep(2 * GROW_AFTER_S)  # For the timer after which a pool grows.
        assert not waiting.done()
        assert len(forkserver.workers) == 2

    run_with_pool(forkserver, scenario)


def test_pool_that_is_scaled_to_none_refuses_requests() -> None:
    """No worker may come for them."""
    forkserver = FakeForkserver()

    async def scenario(pool: WorkerPool, _time: Time) -> None:
        await pool.scale(0, 0)
        with pytest.raises(NoWorker, match="n has no worker: it was scaled to none"):
            await pool.dispatcher.submit(NodeRequest("id", b"{}", [InputField("body", b"a")]))

    run_with_pool(forkserver, scenario)


def test_pool_records_how_it_grows_and_shrinks(caplog: pytest.LogCaptureFixture) -> None:
    """Each step is a line of the log and a count, with its reason; steps that were asked for are not."""
    forkserver, counted = FakeForkserver(), []
    autoscaling = Autoscaling(mode=AutoscaleMode.ALWAYS, on_scaled=lambda *labels: counted.append(labels))

    async def scenario(pool: WorkerPool, time: Time) -> None:
        await pool.scale(0, 2)
        requests = [pool.dispatcher.submit(NodeRequest("id", b"{}", [InputField("body", b"a")]))]
        await until(lambda: pool.status.ready == 1)
        requests.append(pool.dispatcher.submit(NodeRequest("id", b"{}", [InputField("body", b"b")])))
        time.now += 1
        await until(lambda: pool.status.ready == 2)
        await pool.scale(2, 2)
        await pool.scale(1, 2)
        for request in requests:
            request.cancel()

    with caplog.at_level("INFO"):
        run_with_pool(forkserver, scenario, PoolSettings(autoscaling=autoscaling))
    assert counted == [("w", "n", "up", "no_worker"), ("w", "n", "up", "always")]
    assert [record.message for record in caplog.records if record.name == "wfmgmt.autoscaling"] == [
        "autoscaled from 0 to 1 workers: a request waits and there was no worker",
        "autoscaled from 1 to 2 workers: requests have waited for 1.00 s",
    ]
