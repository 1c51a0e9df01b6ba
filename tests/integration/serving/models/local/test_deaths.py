"""Who dies when, and who comes back."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import LocalServers, forkserver_of, is_running, open_servers, until
from tests.support.service import CHECKOUT, command_line, wait_until
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.threads import THREAD_VARIABLES
from wfmgmt.serving.models.base import ModelNotLoaded, WorkerStatus
from wfmgmt.serving.models.local.forkserver import MAX_REAPED
from wfmgmt.serving.models.local.forkserver_client import ForkFailed, ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load, make_model


def record_pids(path: Path) -> str:
    """Return a handler that notes its worker, the forkserver, and a child that ignores SIGTERM, in this order."""
    return (
        "import os, signal, time\n"
        "def handle(data, context):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        time.sleep(60)\n"
        f"    with open({str(path)!r}, 'a') as notes:\n"
        "        print(os.getpid(), os.getppid(), child, file=notes)\n"
    )


def read_pids(path: Path) -> list[list[int]]:
    """Return what the workers noted, oldest first."""
    return [[int(pid) for pid in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]


async def load_and_note(servers: LocalServers, folder: Path, workers: int) -> tuple[LoadedModel, list[list[int]]]:
    """Load a model whose workers note their processes; return both."""
    archive = make_mar(folder, source=record_pids(folder / "pids"))
    model = await load(servers.models, archive, min_workers=workers)
    return model, read_pids(folder / "pids")


@in_event_loop
async def test_worker_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    """A new process takes the place of a dead one, whose children go with it, and the reason shows meanwhile."""
    seen: list[WorkerStatus] = []
    loaded: list[LoadedModel] = []
    async with open_servers(tmp_path / "unpacked") as servers:
        archive = make_model(make_mar(tmp_path, source=record_pids(tmp_path / "pids")), min_workers=2)
        model = await servers.models.load(archive, on_change=lambda: seen.extend(each.status for each in loaded))
        loaded.append(model)
        (victim, _, child), (survivor, _, _) = read_pids(tmp_path / "pids")
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(read_pids(tmp_path / "pids")) == 3 and model.status.ready == 2)
        assert is_running(survivor)
        await until(lambda: not is_running(child))
    assert WorkerStatus(wanted=2, ready=1, error="worker was killed by SIGKILL") in seen


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
@in_event_loop
async def test_everything_comes_back_when_the_forkserver_dies(tmp_path: Path, signal_number: signal.Signals) -> None:
    """All workers and their children die with the forkserver; a new one starts as many again."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, old = await load_and_note(servers, tmp_path, 3)
        forkserver = old[0][1]
        os.kill(forkserver, signal_number)
        await until(lambda: not any(is_running(pid) for pids in old for pid in pids))
        await until(lambda: len(read_pids(tmp_path / "pids")) == 6 and model.status.ready == 3)
        assert all(pids[1] != forkserver for pids in read_pids(tmp_path / "pids")[3:])


@in_event_loop
async def test_load_fails_cleanly_when_the_forkserver_dies(tmp_path: Path) -> None:
    """A load under way ends with a reason that does not blame the handler, and the next one works."""
    async with open_servers(tmp_path / "unpacked") as servers:
        _, [(_, forkserver, _)] = await load_and_note(servers, tmp_path, 1)
        # A load that is under way when the forkserver dies.
        source = record_pids(tmp_path / "hanging pids") + "    time.sleep(60)\n"
        hanging = make_mar(tmp_path, name="hanging", source=source)
        loading = asyncio.create_task(load(servers.models, hanging, uid="hanging"))
        await until((tmp_path / "hanging pids").exists)
        os.kill(forkserver, signal.SIGKILL)
        with pytest.raises(ModelNotLoaded, match="worker was lost with the forkserver while loading") as raised:
            await loading
        assert raised.value.fault is Fault.UNREACHABLE
        await load(servers.models, make_mar(tmp_path, name="good"), uid="good")


@in_event_loop
async def test_forkserver_ignores_sigint(tmp_path: Path) -> None:
    """Ctrl-C is the runtime's business: neither forkserver nor workers react to it."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model, [(worker, forkserver, _)] = await load_and_note(servers, tmp_path, 1)
        for pid in (worker, forkserver):
            os.kill(pid, signal.SIGINT)
        await model.scale(2, 2)
        assert is_running(worker)
        assert is_running(forkserver)


@contextmanager
def running_owner(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that owns a server with three workers, and kill it in the end."""
    archive = make_mar(folder, source=record_pids(folder / "pids"))
    command = [sys.executable, "-m", "tests.support.owner", str(archive), str(folder / "unpacked")]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "loaded\n"
            yield owner
        finally:
            owner.kill()


def wait_until_gone(pids: set[int]) -> None:
    """Wait until none of these processes runs."""
    wait_until(lambda: not any(map(is_running, pids)), what="the end of what outlived its owner")


def test_workers_die_with_their_owner(tmp_path: Path) -> None:
    """When the process that owns the server is killed, nothing that it started is left."""
    with running_owner(tmp_path) as owner:
        pids = {pid for noted in read_pids(tmp_path / "pids") for pid in noted}
        assert len(pids) == 3 + 1 + 3
        assert all(is_running(pid) for pid in pids)
        owner.kill()
        wait_until_gone(pids)


def test_workers_die_with_the_forkserver_when_their_owner_cannot_act(tmp_path: Path) -> None:
    """The kernel ends the workers of a killed forkserver, even while its owner is stopped."""
    with running_owner(tmp_path) as owner:
        noted = read_pids(tmp_path / "pids")
        try:
            owner.send_signal(signal.SIGSTOP)
            os.kill(noted[0][1], signal.SIGKILL)
            wait_until_gone({worker for worker, _, _ in noted})
        finally:
            for _, _, child in noted:
                os.kill(child, signal.SIGKILL)


@in_event_loop
async def test_fork_leaves_no_worker_when_it_is_cancelled() -> None:
    """A fork that its caller cancels leaves no worker, and the forkserver goes on."""
    forkserver = ForkserverClient()
    try:
        first = await forkserver.fork(workflow="w", node="n")
        forking = asyncio.create_task(forkserver.fork(workflow="w", node="n"))
        await asyncio.sleep(0)
        forking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forking
        second = await forkserver.fork(workflow="w", node="n")
        await until(lambda: children_of(forkserver_of(first.pid)) == {first.pid, second.pid})
        await asyncio.gather(first.stop(grace_s=1), second.stop(grace_s=1))
    finally:
        await forkserver.close()


@in_event_loop
async def test_fork_gets_a_new_forkserver_when_the_old_one_does_not_answer() -> None:
    """A forkserver that hangs fails the fork in time and makes room for one that works."""
    forkserver = ForkserverClient(answer_timeout_s=0.5)
    try:
        first = await forkserver.fork(workflow="w", node="n")
        os.kill(forkserver_of(first.pid), signal.SIGSTOP)
        with pytest.raises(ForkFailed, match="does not answer"):
            await forkserver.fork(workflow="w", node="n")
        assert await first.wait() == "was lost with the forkserver"
        second = await forkserver.fork(workflow="w", node="n")
        await asyncio.gather(first.stop(grace_s=1), second.stop(grace_s=1))
    finally:
        await forkserver.close()


@in_event_loop
async def test_requests_wait_when_the_forkserver_is_slow() -> None:
    """More requests than the socket holds are kept in their order, and block nobody meanwhile."""
    forkserver = ForkserverClient()
    try:
        worker = await forkserver.fork(workflow="w", node="n")
        pid = forkserver_of(worker.pid)
        os.kill(pid, signal.SIGSTOP)
        for _ in range(5_000):
            worker.kill(signal.SIGCONT)
        worker.kill(signal.SIGKILL)
        os.kill(pid, signal.SIGCONT)
        assert await asyncio.wait_for(worker.wait(), 5) == "was killed by SIGKILL"
        await worker.stop(grace_s=0)
    finally:
        await forkserver.close()


@in_event_loop
async def test_fork_fails_when_the_forkserver_is_closed() -> None:
    """A closed forkserver is not started again."""
    forkserver = ForkserverClient()
    await forkserver.close()
    with pytest.raises(ForkFailed, match="stopping"):
        await forkserver.fork(workflow="w", node="n")


@in_event_loop
async def test_close_ends_workers_that_were_not_stopped() -> None:
    """Closing the forkserver takes its workers along and tells those who wait for them."""
    forkserver = ForkserverClient()
    worker = await forkserver.fork(workflow="w", node="n")
    await forkserver.close()
    assert await worker.wait()
    assert not is_running(worker.pid)
    await worker.stop(grace_s=0)


@in_event_loop
async def test_workers_get_the_environment_they_are_given_and_titles(tmp_path: Path) -> None:
    """The owner decides what of its environment handlers see; titles say what each process does, and whose it is."""
    environment = {"PATH": os.defpath, "GREETING": "hello"}
    source = (
        "import json, os\n"
        "def handle(data, context):\n"
        f"    with open({str(tmp_path / 'seen')!r}, 'w') as seen:\n"
        "        json.dump([os.getpid(), dict(os.environ)], seen)\n"
    )
    worker_environment = WorkerEnvironment(environment=environment, instance="/srv/one")
    async with open_servers(tmp_path / "unpacked", worker_environment=worker_environment) as servers:
        await load(servers.models, make_mar(tmp_path, source=source))
        worker, seen = json.loads((tmp_path / "seen").read_text(encoding="utf-8"))
        assert environment.items() <= seen.items()
        assert seen.keys() - environment.keys() <= {"LC_CTYPE", *THREAD_VARIABLES}  # Python sets the first one.
        assert command_line(worker) == "wfmgmt worker w/1.0/m [/srv/one]"
        assert command_line(forkserver_of(worker)) == "wfmgmt forkserver [/srv/one]"


def children_of(pid: int) -> set[int]:
    """Return the children of a process."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()}


@pytest.mark.parametrize("count", [5 * MAX_REAPED, pytest.param(2000, marks=pytest.mark.slow)])
@in_event_loop
async def test_forkserver_stays_quick_with_thousands_of_processes_that_a_worker_left_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """They become its children when the worker ends, all at once; another node's worker lives on."""
    source = (
        "import os, time\n"
        f"for _ in range(0 if os.path.exists({str(tmp_path / 'crowded pids')!r}) else {count}):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(300)\n"  # They have to outlive the worker.
        "        os._exit(0)\n" + record_pids(tmp_path / "crowded pids")
    )
    # Not where coverage is measured: each of the processes would begin that anew, which takes longer than all else.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = WorkerEnvironment(environment=unmeasured)
    async with open_servers(tmp_path / "unpacked", worker_environment=environment) as servers:
        model, [(other, forkserver, _)] = await load_and_note(servers, tmp_path, 1)
        await load(servers.models, make_mar(tmp_path, name="crowded", source=source), uid="crowded")
        [(worker, _, child)] = read_pids(tmp_path / "crowded pids")
        os.kill(worker, signal.SIGKILL)
        await until(lambda: not is_running(child), timeout_s=60)
        await model.scale(2, 2)
        assert read_pids(tmp_path / "pids")[1][1] == forkserver
        assert is_running(other)
    assert not [message for message in caplog.messages if "forkserver" in message]


@in_event_loop
async def test_node_that_worked_just_before_the_forkserver_died_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its handler has answered already; what it started may have killed the forkserver a moment later."""
    async with open_servers(tmp_path / "unpacked") as servers:
        _, [(_, forkserver, _)] = await load_and_note(servers, tmp_path, 1)
        os.kill(forkserver, signal.SIGKILL)
        told = "handlers at work then: none; others at work in the 10 s before: m of w"
        await until(lambda: any(told in each for each in caplog.messages))
