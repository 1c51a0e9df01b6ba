"""What one handler cannot take from the others: the forkserver's life, processes, and the sight of what is wrong."""

import asyncio
import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import LocalServers, forkserver_of, is_running, open_servers, until
from wfmgmt.domain.faults import Fault
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.serving.models.base import InputField, ModelNotLoaded, NodeRequest, NoWorker, PredictionFailed
from wfmgmt.serving.models.local.budget import WorkerBudget
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.local.hardening import RESERVED_PROCESSES, cgroup_limits
from wfmgmt.serving.models.local.pool import PoolSettings
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load

#: Its answer is its process id, unless the request says what it is to do.
HANDLER = """
import os, signal, time
def handle(data, context):
    if data is None:
        return
    exec(bytes(data[0]["body"]).decode(), globals())
    return [str(os.getpid())]
"""


#: Ends what a worker sends, a moment later, while the worker itself lives on.
SHUT = """
import socket, threading
def shut():
    for name in os.listdir("/dev/fd"):
        try:
            socket.socket(fileno=os.dup(int(name))).shutdown(socket.SHUT_WR)
        except OSError:
            pass
threading.Timer(0.2, shut).start()
"""


async def ask(model: LoadedModel, order: str = "") -> int:
    """Have a worker do something; return its process id."""
    answer = await model.infer(NodeRequest("r", b"{}", [InputField("body", order.encode())]))
    return int(answer.content)


async def load_obedient(servers: LocalServers, folder: Path, **overrides: object) -> tuple[LoadedModel, int]:
    """Load a model; return it with the process id of a worker."""
    model = await load(servers.models, make_mar(folder, source=HANDLER), **overrides)
    return model, await ask(model)


@in_event_loop
async def test_stopped_forkserver_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that gives no sign of life is killed, and its workers come back with another one, without any request."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, worker = await load_obedient(servers, tmp_path)
        forkserver = forkserver_of(worker)
        os.kill(forkserver, signal.SIGSTOP)
        await until(lambda: not is_running(forkserver))
        await until(lambda: model.status.ready == 1 and not is_running(worker))
        assert forkserver_of(await ask(model)) != forkserver
    assert "the forkserver did not answer for 5 s; it was killed" in caplog.messages


@in_event_loop
async def test_worker_that_dies_is_missing_at_once_while_the_forkserver_is_stopped(tmp_path: Path) -> None:
    """The end of its socket is enough to know that it is not ready."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, worker = await load_obedient(servers, tmp_path)
        forkserver = forkserver_of(worker)
        os.kill(forkserver, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        await until(lambda: model.status.ready == 0)
        assert is_running(forkserver)
        await until(lambda: model.status.ready == 1)


@in_event_loop
async def test_worker_that_closes_its_socket_is_replaced_before_a_request_finds_out(tmp_path: Path) -> None:
    """A handler's thread can close what is not its own; the worker is not ready then, however alive it is."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER))
        worker = await ask(model, SHUT)
        await until(lambda: not is_running(worker))
        await until(lambda: model.status.ready == 1)


@in_event_loop
async def test_start_up_time_covers_the_wait_for_a_process(tmp_path: Path) -> None:
    """A load says after its own time that it got no process, however long a forkserver hangs."""
    async with open_servers(tmp_path / "unpacked") as servers:
        _, worker = await load_obedient(servers, tmp_path)
        forkserver = forkserver_of(worker)
        os.kill(forkserver, signal.SIGSTOP)
        with pytest.raises(ModelNotLoaded, match=r"no process was forked within startup_timeout of 0\.5 s"):
            await load_obedient(servers, tmp_path, uid="late", startup_timeout_s=0.5)
        assert is_running(forkserver), "it was found dead, and the time was not what ended the load"
        await load_obedient(servers, tmp_path, uid="late")


@in_event_loop
async def test_stopped_worker_is_replaced(tmp_path: Path) -> None:
    """An idle worker that is stopped would fail the next request, so it goes before one comes."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, worker = await load_obedient(servers, tmp_path)
        os.kill(worker, signal.SIGSTOP)
        await until(lambda: worker not in {each.pid for each in model.workers})
        assert await ask(model) != worker
        with pytest.raises(PredictionFailed, match="was stopped, and killed because it was not continued"):
            await ask(model, "os.kill(os.getpid(), signal.SIGSTOP)")


@in_event_loop
async def test_worker_that_is_continued_stays(tmp_path: Path) -> None:
    """A pause of the whole machine, or of a debugger, ends nothing."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, worker = await load_obedient(servers, tmp_path)
        for pid in (forkserver_of(worker), worker):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1)  # The pause.
        for pid in (forkserver_of(worker), worker):
            os.kill(pid, signal.SIGCONT)
        later = time.monotonic() + 4
        await until(lambda: time.monotonic() > later)
        assert await ask(model) == worker


@in_event_loop
async def test_log_names_who_was_at_work_when_the_forkserver_died(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing keeps a handler from killing it, but it can be found out which one that may have been."""
    async with open_servers(tmp_path / "unpacked") as servers:
        idle, _ = await load_obedient(servers, tmp_path, node="idle")
        model, _ = await load_obedient(servers, tmp_path, node="guilty")
        with pytest.raises(PredictionFailed, match="its worker was lost with the forkserver"):
            await ask(model, "os.kill(os.getppid(), 9); time.sleep(30)")
        await until(lambda: any("handlers at work then: guilty of w" in each for each in caplog.messages))
        await until(lambda: idle.status.ready == 1)


def with_budget(workers: int) -> PoolSettings:
    """Return settings with so many workers at most, that go as soon as they are idle."""
    return PoolSettings(budget=WorkerBudget(workers), idle_timeout_s=0.2)


@in_event_loop
async def test_workers_are_bounded_all_together(tmp_path: Path) -> None:
    """A load over the bound fails in words, starts nothing, and works when others are gone."""
    async with open_servers(tmp_path / "unpacked", pool_settings=with_budget(3)) as servers:
        model, _ = await load_obedient(servers, tmp_path, min_workers=2)
        refusal = "m: 2 more are needed, 2 run, WFMGMT_MAX_WORKERS allows 3"
        with pytest.raises(ModelNotLoaded, match=f"^{refusal}$") as raised:
            await load_obedient(servers, tmp_path, uid="uid2", workflow="v", min_workers=2)
        assert raised.value.fault is Fault.NO_ROOM
        with pytest.raises(ModelNotLoaded, match=f"^{refusal}$"):
            await model.scale(4, 4)
        assert model.status.ready == 2
        await model.scale(3, 3)
        await model.scale(1, 1)
        second, _ = await load_obedient(servers, tmp_path, uid="second", min_workers=2)
        await second.unload()
        await load_obedient(servers, tmp_path, uid="third", min_workers=2)


@in_event_loop
async def test_workers_of_a_workflow_that_is_being_loaded_are_needed_and_do_not_run(tmp_path: Path) -> None:
    """What its first node got is part of what the second one lacks room for."""
    async with open_servers(tmp_path / "unpacked", pool_settings=with_budget(4)) as servers:
        await load_obedient(servers, tmp_path)
        await load_obedient(servers, tmp_path, uid="uid2", workflow="v", node="a", min_workers=2)
        refusal = "b: 4 more are needed, 1 runs, WFMGMT_MAX_WORKERS allows 4"
        with pytest.raises(ModelNotLoaded, match=f"^{refusal}$"):
            await load_obedient(servers, tmp_path, uid="uid2", workflow="v", node="b", min_workers=2)


@in_event_loop
async def test_growth_stops_at_the_bound(tmp_path: Path) -> None:
    """Requests wait for the workers that there are, and what died is replaced within the bound."""
    async with open_servers(tmp_path / "unpacked", pool_settings=with_budget(2)) as servers:
        model, _ = await load_obedient(servers, tmp_path, max_workers=4)
        await ask(model, "time.sleep(0.1)")  # A worker that is not quick prefetches nothing.
        workers: set[int] = set()
        while len(workers) < 2:  # A busy machine may have the first one answer all before the second one is there.
            slow = [ask(model, "time.sleep(0.3)") for _ in range(6)]  # The handler's: it lets others wait for a worker.
            workers |= set(await asyncio.gather(*slow))
        assert len(workers) == 2
        killed = workers.pop()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: killed not in {each.pid for each in model.workers} and model.status.ready >= 1)
        await ask(model)


@in_event_loop
async def test_error_names_the_bound_when_there_is_no_worker_for_a_request(tmp_path: Path) -> None:
    """A model without workers gets none while there is no room, and one when there is."""
    async with open_servers(tmp_path / "unpacked", pool_settings=with_budget(1)) as servers:
        first, _ = await load_obedient(servers, tmp_path)
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), uid="none", min_workers=0)
        with pytest.raises(NoWorker, match="m has no worker: 1 more is needed, 1 runs, WFMGMT_MAX_WORKERS allows 1"):
            await ask(model)
        await first.unload()
        await ask(model)


FACTS = """
import ctypes, json, os, resource
def handle(data, context):
    if data is None:
        return
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [{
        "processes": resource.getrlimit(resource.RLIMIT_NPROC),
        "no_new_privs": int(status["NoNewPrivs"]),
        "oom_score_adj": int(open("/proc/self/oom_score_adj").read()),
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
        "descriptors": len(os.listdir("/proc/self/fd")) > 3,
    }]
"""


@in_event_loop
async def test_workers_are_hardened(tmp_path: Path) -> None:
    """Each leaves processes to the service, gains no privileges, goes first without memory, and hides its own."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=FACTS))
        answer = await model.infer(NodeRequest("r", b"{}", [InputField("body", b"x")]))
    facts = json.loads(bytes(answer.content))
    soft, hard = facts.pop("processes")
    assert soft == hard
    own, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    assert 0 < soft <= own - min(RESERVED_PROCESSES, own // 4)
    assert facts == {"no_new_privs": 1, "oom_score_adj": 500, "dumpable": 0, "descriptors": True}


def test_limits_of_control_groups_count_too(tmp_path: Path) -> None:
    """A service of systemd has a limit of tasks that is lower than that of its user as a rule."""
    listing = tmp_path / "cgroup"
    listing.write_text("1:name=systemd:/old\n0::/system.slice/wfmgmt.service\n")
    groups = "", "system.slice/", "system.slice/wfmgmt.service/"
    assert cgroup_limits(str(listing), "/c") == [f"/c/{group}pids.max" for group in groups]
    listing.write_text("0::/\n")
    assert cgroup_limits(str(listing), "/c") == ["/c/pids.max"]
    assert cgroup_limits(str(tmp_path / "none")) == []


@in_event_loop
async def test_too_little_memory_for_workers_is_a_wrong_setting() -> None:
    """What could run no handler at all is refused, and the least that can is named."""
    forkserver = ForkserverClient(WorkerEnvironment(memory_bytes=20 * 1024 * 1024))
    try:
        with pytest.raises(
            SettingsInvalid, match=r"WFMGMT_WORKER_MEMORY_MB: 20 is too little .* at least ([0-9]+)"
        ) as e:
            await forkserver.preload()
    finally:
        await forkserver.close()
    least = int(str(e.value).split("at least ")[1].split()[0])
    forkserver = ForkserverClient(WorkerEnvironment(memory_bytes=least * 1024 * 1024))
    try:
        await forkserver.preload()
        worker = await forkserver.fork(workflow="w", node="n")
        await worker.stop(grace_s=1)
    finally:
        await forkserver.close()
