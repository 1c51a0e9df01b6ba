"""Predictions by TorchServes that misbehave, over real sockets and with real workers."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support.fake_torchserve import Misbehaviour
from tests.support.model_servers import until
from tests.support.torchserve_models import asking, known, load_a_model, names_in, text_of
from tests.support.torchserve_servers import open_both
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import DriftKind, NoWorker, PredictionFailed
from wfmgmt.testing import in_event_loop


@in_event_loop
async def test_predictions_go_round(tmp_path: Path) -> None:
    """Every server gets its share, and each answer is the model's."""
    async with open_both(tmp_path, fakes=2) as (server, fakes):
        model = await load_a_model(server, tmp_path)
        for number in range(10):
            assert await text_of(model, f"echo {number}") == f"echo {number}"
        assert [len(fake.requests_of("POST /predictions")) for fake in fakes] == [5, 5]


@in_event_loop
async def test_predictions_leave_out_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """No request fails because of it, and it gets its share again once it is back."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        model = await load_a_model(server, tmp_path)
        await down.refuse()
        for _ in range(10):
            await text_of(model)
        assert len(up.requests_of("POST /predictions")) == 10
        await down.open()

        async def reach_both() -> bool:
            await text_of(model)
            return bool(down.requests_of("POST /predictions"))

        async with asyncio.timeout(20):
            while not await reach_both():
                pass


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        (Misbehaviour.RESET, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.RESET_AFTER_HEAD, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.TRUNCATED, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.NO_HTTP, Fault.FAILED, "answered what is not valid HTTP"),
        (Misbehaviour.NEVER, Fault.TIMED_OUT, "no answer within timeout-ms of 500 ms"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Misbehaviour) else "",
)
@in_event_loop
async def test_prediction_names_the_server_that_failed(
    tmp_path: Path, kind: Misbehaviour, fault: Fault, reason: str
) -> None:
    """The failure says what the server did; the next request is answered."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path, timeout_ms=500)
        fake.misbehave("POST /predictions", kind)
        with pytest.raises(PredictionFailed, match=reason) as raised:
            await text_of(model)
        assert (raised.value.fault, raised.value.worker) == (fault, None)
        assert fake.inference_url in raised.value.reason
        assert await text_of(model) == "echo"


@in_event_loop
async def test_retry_goes_to_another_server(tmp_path: Path) -> None:
    """The server that failed a request does not get it again while there is another one."""
    async with open_both(tmp_path, fakes=2) as (server, fakes):
        model = await load_a_model(server, tmp_path)
        for _ in range(4):
            await asyncio.wait_for(model.infer(asking(), avoid=1), 30)
        assert [len(fake.requests_of("POST /predictions")) for fake in fakes] == [0, 4]


@in_event_loop
async def test_request_goes_to_another_server_when_one_has_forgotten_the_model(tmp_path: Path) -> None:
    """A server that was restarted empty costs no request when another one has the model, and the check is wanted."""
    async with open_both(tmp_path, fakes=2) as (server, (kept, restarted)):
        model = await load_a_model(server, tmp_path)
        await restarted.restart()
        for _ in range(4):
            await text_of(model)
        assert server.check_wanted.is_set()
        await kept.restart()
        with pytest.raises(NoWorker, match="does not hold the model"):
            await text_of(model)
        drifts = await server.check(known("uid1"), dry_run=False)
        assert [(drift.kind, drift.is_repaired) for drift in drifts] == [(DriftKind.MISSING, True)] * 2
        assert await text_of(model) == "echo"


@in_event_loop
async def test_server_that_times_out_is_left_out_until_it_answers(tmp_path: Path) -> None:
    """One that accepts connections and says nothing costs no request once that is known, nor a registration."""
    async with open_both(tmp_path, fakes=2, timeout_s=0.5) as (server, (up, hanging)):
        model = await load_a_model(server, tmp_path)
        for endpoint in ("GET /models", "POST /models", "POST /predictions"):
            hanging.misbehave(endpoint, Misbehaviour.NEVER, times=None)
        (drift,) = await server.check(known("uid1"), dry_run=False)
        assert (drift.server, drift.kind) == (hanging.management_url, DriftKind.UNKNOWN)
        for _ in range(4):
            assert await text_of(model) == "echo"
        await load_a_model(server, tmp_path, uid="uid2", workflow="late")
        assert len(names_in(up)) == 2
        hanging.behave()
        (drift,) = await server.check(known("uid1", "uid2"), dry_run=False)
        assert (drift.kind, drift.is_repaired) == (DriftKind.MISSING, True)
        before = len(hanging.requests_of("POST /predictions"))
        for _ in range(4):
            await text_of(model)
        assert len(hanging.requests_of("POST /predictions")) == before + 2


@in_event_loop
async def test_handler_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    """Also when TorchServe is quicker than we are to give it up, and says only that its worker died."""
    async with open_both(tmp_path) as (server, (_,)):
        model = await load_a_model(server, tmp_path, timeout_ms=1000, max_batch_delay_ms=200)
        with pytest.raises(PredictionFailed, match="no answer within timeout-ms of 1000 ms") as raised:
            await text_of(model, "sleep 20")
        assert raised.value.fault is Fault.TIMED_OUT


@in_event_loop
async def test_worker_that_dies_fails_one_request(tmp_path: Path) -> None:
    """The server replaces it, and the next request is answered."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path)
        pid = int(await text_of(model, "pid"))
        asked = model.infer(asking("sleep 20"))
        await until(lambda: bool(fake.requests_of("POST /predictions")[1:]))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PredictionFailed, match="Worker died"):
            await asyncio.wait_for(asked, 10)
        assert int(await text_of(model, "pid")) != pid


@in_event_loop
async def test_workers_come_with_need_and_go_without(tmp_path: Path) -> None:
    """More requests than workers bring one more at a time, up to the maximum; afterwards the minimum is left."""
    async with open_both(tmp_path, idle_timeout_s=0.2) as (server, (fake,)):
        model = await load_a_model(server, tmp_path, max_workers=2, timeout_ms=10_000)
        asked = [model.infer(asking("sleep 0.7")) for _ in range(6)]
        await asyncio.wait_for(asyncio.gather(*asked), 30)
        scaled = [request.query["min_worker"] for request in fake.requests_of("PUT /models")]
        assert scaled == ["1", "2"]
        await until(lambda: model.status.ready == 1)
        assert fake.registry.describe("w__m", None)[0]["minWorkers"] == 1
        assert await text_of(model) == "echo"


@in_event_loop
async def test_queue_is_bounded(tmp_path: Path) -> None:
    """What waits is counted here, since TorchServe would let it wait for ever."""
    async with open_both(tmp_path, queue_size=2) as (server, (_,)):
        model = await load_a_model(server, tmp_path, max_workers=1)
        asked = [model.infer(asking("sleep 0.5")) for _ in range(3)]
        with pytest.raises(NoWorker, match=r"2 requests wait for m already \(WFMGMT_QUEUE_SIZE\)"):
            await model.infer(asking())
        await asyncio.gather(*asked)
