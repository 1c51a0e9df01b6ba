"""What real workers take, as the kernel says it."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers, until
from wfmgmt.serving.models.base import InputField, NodeRequest, WorkerUsage
from wfmgmt.serving.models.local.worker_usage import facts_of
from wfmgmt.testing import in_event_loop, load

MIB = 1024 * 1024
GROWING = f"""
import threading, time

kept = []

def handle(data, context):
    if data is not None:
        kept.append(b"x" * {20 * MIB})
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        time.sleep(1000)
"""


@in_event_loop
async def test_figures_are_those_of_now_however_busy_the_worker_is(tmp_path: Path) -> None:
    """One whose handler does not return is measured like any other; one that is gone has no figures."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=GROWING), max_workers=1)
        (worker,) = model.workers
        assert timedelta(0) <= datetime.now(UTC) - worker.started_at < timedelta(seconds=60)
        before = worker.read_usage()
        assert before.pss_bytes is not None
        assert before.threads == 1
        request = model.infer(NodeRequest("r", b"{}", [InputField("body", b"x")]))
        await until(lambda: worker.read_usage().threads == 2)
        assert (worker.read_usage().pss_bytes or 0) > before.pss_bytes + 20 * MIB
        os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: worker.read_usage() == WorkerUsage())
        await until(lambda: worker not in model.workers)
        request.cancel()


def test_memory_that_cannot_be_read_is_not_known() -> None:
    """The rest is; a process that has ended has nothing, and its descriptor does not say anything of another one."""
    own = facts_of(os.getpid(), None).read_usage()
    assert own.pss_bytes is None
    assert (own.threads or 0) >= 1
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ended = facts_of(process.pid, os.open(f"/proc/{process.pid}/smaps_rollup", os.O_RDONLY))
    assert (ended.read_usage().pss_bytes or 0) > 0
    process.communicate()
    assert ended.read_usage() == WorkerUsage()


def test_descriptor_is_closed_with_the_facts() -> None:
    """Not before, since a thread may be reading."""
    descriptor = os.open("/proc/self/smaps_rollup", os.O_RDONLY)
    facts = facts_of(os.getpid(), descriptor)
    read = facts.read_usage
    del facts
    assert (read().pss_bytes or 0) > 0
    del read
    assert not Path(f"/proc/self/fd/{descriptor}").exists()
