"""The text of the inference address for Prometheus, while the event loop has better things to do."""

import asyncio
import dataclasses
import threading
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.support.runtime_parts import make_parts, make_runtime
from wfmgmt.runtime_factory import create_runtime
from wfmgmt.serving import inference_metrics
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.measurements import Measurements
from wfmgmt.settings import Settings
from wfmgmt.testing import in_event_loop


class HeldMeasurements(Measurements):
    """Is written down when it is let go on, and notes by which threads."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.has_begun = threading.Event()
        self.began: list[int] = []

    def copy(self) -> Measurements:
        """Return the same, and later changes with it."""
        return self

    def collect(self) -> list:  # type: ignore[type-arg]  # as in the base class
        """Wait, then write down."""
        self.began.append(threading.get_ident())
        self.has_begun.set()
        assert self.go_on.wait(30)
        return super().collect()


def metrics_of(measurements: Measurements, folder: Path) -> InferenceMetrics:
    """Return the metrics of a runtime that measured something and has no workflows."""
    return InferenceMetrics(dataclasses.replace(make_runtime(make_parts(folder)), measurements=measurements))


@in_event_loop
async def test_text_is_written_by_one_thread_at_a_time_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapers in a loop neither stop the event loop nor multiply the work, and one that leaves ends it for none."""
    monkeypatch.setattr(inference_metrics, "KEPT_S", 3600)
    measurements = HeldMeasurements()
    metrics = metrics_of(measurements, tmp_path)
    scrapers = [asyncio.ensure_future(metrics.text()) for _ in range(50)]
    await asyncio.to_thread(measurements.has_begun.wait, 30)
    scrapers.pop(0).cancel()
    await asyncio.sleep(0.01)
    assert not any(scraper.done() for scraper in scrapers[1:])
    measurements.go_on.set()
    texts = await asyncio.gather(*scrapers)
    assert await metrics.text() is texts[0]
    assert len(set(map(id, texts))) == 1
    assert len(measurements.began) == 1
    assert measurements.began[0] != threading.get_ident()
    monkeypatch.setattr(inference_metrics, "KEPT_S", 0)
    assert await metrics.text() is not texts[0]


@in_event_loop
async def test_text_has_the_numbers_of_one_moment(tmp_path: Path) -> None:
    """What is counted while it is written is in the next one."""
    measurements = Measurements()
    node = measurements.start("seq", ["m1"])["m1"]
    node.requests = 1
    node.record_handler("counter", "seen", "count", 2.0)
    copied = measurements.copy()
    node.requests += 1
    node.queue_s.observe(1.0)
    node.record_handler("counter", "seen", "count", 2.0)
    text = (await metrics_of(copied, tmp_path).text()).decode()
    assert 'wfmgmt_node_requests_total{node="m1",workflow="seq"} 1.0' in text
    assert 'wfmgmt_node_queue_seconds_count{node="m1",workflow="seq"} 0.0' in text
    assert 'wfmgmt_handler_count_total{name="seen",node="m1",unit="count",workflow="seq"} 2.0' in text


@in_event_loop
async def test_answers_that_are_not_taken_count_like_predictions(tmp_path: Path) -> None:
    """While predictions hold all that may be held there is no room for them, and afterwards there is."""
    async with create_runtime(Settings.load({}, instance=tmp_path, open_metrics=True)) as runtime:
        metrics = InferenceMetrics(runtime)
        app = inference_app(runtime, metrics=metrics, on_answer=lambda _request, _answer: None)
        admission = runtime.admission
        async with TestClient(TestServer(app)) as client:
            admission.in_flight_bytes = admission.limits.in_flight_bytes
            refused = await client.get("/metrics")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            admission.in_flight_bytes = 0
            answered = await client.get("/metrics")
            assert answered.status == 200
            assert "wfmgmt_inference_requests_total" in await answered.text()
        assert admission.in_flight_bytes == 0
        assert admission.requests == 0
