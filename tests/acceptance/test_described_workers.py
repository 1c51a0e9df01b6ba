"""What an operator sees of workers and of the last minute: in describe, in metrics, by the command and in `ps`."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.processes import runtime_pid
from tests.support.service import Service, command_line, pids_of, wait_until

#: A user without rights, if this is run by root: workers hide their memory from processes of their own user, too.
USER = 2_100_000 + os.getpid()
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
CAPABILITIES = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
HELD_S = 3.0
MODEL = f"""
import threading, time

def handle(data, context):
    if data is None:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        return None
    body = bytes(data[0]["body"])
    if body == b"bad":
        raise ValueError("bad weather")
    if body == b"slow":
        time.sleep({HELD_S})
    return [body]
"""
SPEC = """\
models:
  m1: {url: m1.mar, min-workers: 2, max-workers: 2, retry-attempts: 0}
dag:
  pre_processing: [m1]
  m1: [post_processing]
"""
NOTHING: dict[str, object] = {
    "workers": [],
    "requests": None,
    "failures": None,
    "queued": None,
    "p50Ms": None,
    "p99Ms": None,
}


@pytest.fixture(name="service", scope="module")
def _service() -> Iterator[Service]:
    folder = Path(tempfile.mkdtemp(prefix="wfmgmt-described-"))
    is_root = os.geteuid() == 0
    service = Service(folder / "instance", prefix=(*AS_USER, *CAPABILITIES) if is_root else ())
    make_war(service.workflow_store, spec=SPEC)
    make_mar(service.model_store, source=MODEL)
    if is_root:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
    try:
        with service:
            assert service.register("seq.war").status_code == 200
            yield service
    finally:
        service.kill()
        shutil.rmtree(folder)


def model_of(service: Service) -> dict[str, Any]:
    """Return the description of the model node."""
    node: dict[str, Any] = service.describe("seq")["nodes"][1]
    return node


def predict(service: Service, body: bytes) -> int:
    """Return the status of a prediction."""
    return requests.post(f"{service.inference}/wfpredict/seq", data=body, timeout=60).status_code


def series(service: Service, name: str) -> dict[str, float]:
    """Return what a metric of workers of the model says, by process id."""
    text = requests.get(f"{service.inference}/metrics", timeout=10).text
    found = {}
    for line in text.splitlines():
        if line.startswith(f'{name}{{node="m1",'):
            labels, value = line.rsplit(" ", 1)
            assert 'version="1.0",workflow="seq"' in labels
            found[labels.partition('pid="')[2].partition('"')[0]] = float(value)
    return found


def test_workers_are_described(service: Service) -> None:
    """With process id, start, memory and threads, at once after the registration, also to a service without rights."""
    nodes = service.describe("seq")["nodes"]
    assert [len(node["workers"]) for node in nodes] == [1, 2, 1]
    for node in nodes:
        for worker in node["workers"]:
            assert list(worker) == ["pid", "startedAt", "pssBytes", "threads"]
            assert command_line(worker["pid"]) == f"wfmgmt worker seq/1.0/{node['name']} [{service.instance}]"
            age = datetime.now(UTC) - datetime.fromisoformat(worker["startedAt"])
            assert timedelta(0) < age < timedelta(minutes=5)
            assert 500_000 < worker["pssBytes"] < 100_000_000
            assert worker["threads"] == (2 if node["name"] == "m1" else 1)


def test_last_minute_of_each_node_is_described(service: Service) -> None:
    """Failures are those of the node itself; what waits for a worker shows while it does."""
    before = model_of(service)
    statuses = [predict(service, body) for body in (b"good", b"bad", b"good")]
    assert statuses == [200, 500, 200]

    def counted() -> dict[str, Any] | None:
        node = model_of(service)
        counts = node["requests"] - before["requests"], node["failures"] - before["failures"]
        return node if counts == (3, 1) else None

    node = wait_until(counted, what="three requests, one of them a failure")
    assert 0 < node["p50Ms"] <= node["p99Ms"] < 10_000
    with ThreadPoolExecutor(4) as clients:
        held = [clients.submit(predict, service, b"slow") for _ in range(4)]
        wait_until(lambda: model_of(service)["queued"] == 2, what="two that wait for the two workers")
        assert [each.result() for each in held] == [200] * 4

    def is_done() -> bool:
        node = model_of(service)
        return bool(node["queued"] == 0 and node["p99Ms"] > 1000 * HELD_S)

    wait_until(is_done, what="their time")
    assert service.describe("seq")["nodes"][2]["failures"] == 0


def test_metrics_follow_the_workers(service: Service) -> None:
    """A worker that dies takes its series along, and the next one has its own; describe shows the same."""
    pids = {worker["pid"] for worker in model_of(service)["workers"]}
    for name, least in (
        ("wfmgmt_worker_pss_bytes", 500_000),
        ("wfmgmt_worker_threads", 2),
        ("wfmgmt_worker_start_time_seconds", time.time() - 300),
    ):
        found = series(service, name)
        assert {int(pid) for pid in found} == pids
        assert min(found.values()) >= least
    victim = min(pids)
    os.kill(victim, signal.SIGKILL)

    def is_replaced() -> bool:
        now = {int(pid) for pid in series(service, "wfmgmt_worker_pss_bytes")}
        return len(now) == 2 and victim not in now

    wait_until(is_replaced, timeout_s=30, what="the series of another worker")
    wait_until(
        lambda: (
            {worker["pid"] for worker in model_of(service)["workers"]}
            == {int(pid) for pid in series(service, "wfmgmt_worker_threads")}
        ),
        what="the description of it",
    )


def test_every_process_has_a_title(service: Service) -> None:
    """It says what the process does, and whose it is."""
    titles = sorted(command_line(pid) for pid in pids_of(service.instance))
    whose = f"[{service.instance}]"
    assert titles == [
        f"gunicorn: master [wfmgmt {service.instance}]",
        *[f"gunicorn: worker [wfmgmt {service.instance}]"] * 2,
        f"wfmgmt forkserver {whose}",
        f"wfmgmt runtime {whose}",
        *[f"wfmgmt worker seq/1.0/m1 {whose}"] * 2,
        f"wfmgmt worker seq/1.0/post_processing {whose}",
        f"wfmgmt worker seq/1.0/pre_processing {whose}",
    ]


def test_command_prints_workers(service: Service) -> None:
    """As a table, after what the nodes run with and what they answered."""
    done = service.command("describe", "seq", "--url", service.management)
    assert done.returncode == 0, done.stderr
    *_, figures, workers = done.stdout.split("\n\n")
    assert figures.splitlines()[0].split() == ["NODE", "REQUESTS", "FAILURES", "QUEUED", "P50", "P99"]
    headings, *rows = workers.splitlines()
    assert headings.split() == ["NODE", "PID", "STARTED", "MEMORY", "THREADS"]
    assert [row.split()[0] for row in rows] == ["pre_processing", "m1", "m1", "post_processing"]


def test_description_does_without_the_runtime(service: Service) -> None:
    """One that hangs costs it two seconds at most, and now and then."""
    runtime = runtime_pid(service)
    os.kill(runtime, signal.SIGSTOP)
    try:
        began = time.monotonic()

        def is_without() -> bool:
            node = model_of(service)
            return {name: node[name] for name in NOTHING} == NOTHING

        wait_until(is_without, what="a description without figures")
        assert time.monotonic() - began < 10
    finally:
        with contextlib.suppress(ProcessLookupError):  # It may have been replaced.
            os.kill(runtime, signal.SIGCONT)
    wait_until(lambda: len(model_of(service)["workers"]) == 2, timeout_s=30, what="the figures")
