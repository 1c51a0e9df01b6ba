"""Gauges of nodes and workers in the text for Prometheus."""

from datetime import UTC, datetime
from pathlib import Path

from tests.support.runtime_parts import make_parts, make_request, make_runtime
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage
from wfmgmt.testing import in_event_loop


def make_worker(pid: int, usage: WorkerUsage) -> WorkerFacts:
    """Return a worker that takes so much."""
    return WorkerFacts(pid=pid, started_at=datetime(2026, 1, 31, tzinfo=UTC), read_usage=lambda: usage)


async def lines_of(metrics: InferenceMetrics) -> list[str]:
    """Return the samples of nodes' queues and of workers."""
    text = (await metrics.text()).decode()
    return [
        line
        for line in text.splitlines()
        if line.startswith(("wfmgmt_worker_", "wfmgmt_node_queued", "wfmgmt_node_saturated"))
    ]


@in_event_loop
async def test_each_worker_has_series_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    """They name its version; what the system does not say is left out; queues are those of all versions together."""
    parts = make_parts(tmp_path)
    for uid, version in (("w", "1.0"), ("w/2.0", "2.0")):
        parts.loader.load(make_request(uid, workflow="w", version=version))
    versions = list(parts.catalog)
    while not all(version.models for version in versions):
        await parts.catalog.status_log.wait(1)
    one, two = (parts.models.models[uid] for uid in ("w", "w/2.0"))
    one.queued, two.queued = 3, 4
    two.busy_s = 1.5
    one.workers = [make_worker(11, WorkerUsage(pss_bytes=4096, threads=2))]
    two.workers = [make_worker(12, WorkerUsage())]
    runtime = make_runtime(parts)
    assert await lines_of(InferenceMetrics(runtime)) == [
        'wfmgmt_node_queued{node="m",workflow="w"} 7.0',
        'wfmgmt_node_saturated_seconds{node="m",workflow="w"} 1.5',
        'wfmgmt_worker_pss_bytes{node="m",pid="11",version="1.0",workflow="w"} 4096.0',
        'wfmgmt_worker_threads{node="m",pid="11",version="1.0",workflow="w"} 2.0',
        'wfmgmt_worker_start_time_seconds{node="m",pid="11",version="1.0",workflow="w"} 1.7698176e+09',
        'wfmgmt_worker_start_time_seconds{node="m",pid="12",version="2.0",workflow="w"} 1.7698176e+09',
    ]
    one.workers, two.workers = [], []
    assert len(await lines_of(InferenceMetrics(runtime))) == 2
    await parts.loader.close()
