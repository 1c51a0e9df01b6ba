"""Requests to versions on the inference address, over model servers in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.support.model_servers import until
from tests.support.runtime_parts import Parts, make_parts, make_runtime
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import TrafficKind
from wfmgmt.domain.releases import Mirror, Route, RoutingTable
from wfmgmt.domain.tokens import new_token
from wfmgmt.serving import loading, mirroring, reconciler
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.models.base import NodeAnswer, PredictionFailed
from wfmgmt.serving.runtime import Runtime
from wfmgmt.testing import in_event_loop

BOTH = RoutingTable(routes=(Route(version="2.0", weight=50), Route(version="1.0", weight=50)))
MIRRORED = RoutingTable(routes=(Route(version="1.0", weight=100),), mirror=Mirror(version="2.0", percent=100))


Client = TestClient[web.Request, web.Application]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOOK_INTERVAL_S", 0.01)


@asynccontextmanager
async def serving(folder: Path, table: RoutingTable) -> AsyncIterator[tuple[Parts, Runtime, Client]]:
    """Serve the workflow `w`, each of whose versions answers with its name."""
    parts = make_parts(folder)
    for version in ("1.0", "2.0"):
        parts.registry.put("w", version=version)
    parts.registry.release("w", table)
    runtime = make_runtime(parts)
    task = asyncio.create_task(parts.reconciler.run())
    app = inference_app(
        runtime,
        metrics=InferenceMetrics(runtime),
        on_answer=lambda _request, _answer: None,
    )
    try:
        assert (await parts.reconciler.reach("w", parts.registry.rows["w"].revision, 30)).reached
        for uid, model in parts.models.models.items():
            model.answers = [NodeAnswer(content=b"2.0" if uid == "w/2.0" else b"1.0")]
        async with TestClient(TestServer(app)) as client:
            yield parts, runtime, client
    finally:
        task.cancel()
        await asyncio.wait([task])
        await runtime.mirror.close()
        await parts.loader.close()


@in_event_loop
async def test_request_may_choose_its_version(tmp_path: Path) -> None:
    """By path or header, else the release decides by its key; the answer names the version in any case."""
    async with serving(tmp_path, BOTH) as (_, _, client):
        for request in (
            client.get("/wfpredict/w/2.0"),
            client.put("/wfpredict/w/2.0/", data=b"x"),
            client.post("/wfpredict/w", headers={"x-workflow-version": "2.0"}),
        ):
            answer = await request
            assert (await answer.read(), answer.headers["x-workflow-version"]) == (b"2.0", "2.0")
        versions = set()
        for key in range(50):
            answers = [await client.get("/wfpredict/w", headers={"x-request-id": str(key)}) for _ in range(2)]
            assert {await answer.text() for answer in answers} == {answers[0].headers["x-workflow-version"]}
            versions.add(await answers[0].text())
        assert versions == {"1.0", "2.0"}


@in_event_loop
async def test_token_of_ours_reaches_no_handler(tmp_path: Path) -> None:
    """Other credentials may be for it, or for the server that runs its model."""
    async with serving(tmp_path, BOTH) as (parts, _, client):
        for shown in (new_token(), "theirs"):
            answer = await client.post("/wfpredict/w/1.0", headers={"Authorization": f"Bearer {shown}"})
            assert answer.status == 200
        asked = parts.models.models["w"].asked
        assert [json.loads(each.headers).get("Authorization") for each in asked] == [None, "Bearer theirs"]


@in_event_loop
async def test_version_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    """The error names version and workflow; that of a workflow stays as it is."""
    async with serving(tmp_path, BOTH) as (_, _, client):
        answer = await client.get("/wfpredict/w/9")
        error = {
            "code": 404,
            "type": "WorkflowVersionNotFoundException",
            "message": "Workflow version: 9 does not exist for workflow: w",
        }
        assert (answer.status, await answer.json()) == (404, error)
        assert "x-workflow-version" not in answer.headers
        answer = await client.get("/wfpredict/other/9")
        assert (answer.status, (await answer.json())["message"]) == (404, "Workflow not found: other")


@in_event_loop
async def test_answers_are_counted_for_the_version_that_gave_them(tmp_path: Path) -> None:
    """By the reason why it got the request; an error names its version, too."""
    async with serving(tmp_path, MIRRORED) as (parts, _, client):
        parts.models.models["w"].answers = [
            NodeAnswer(content=b""),
            NodeAnswer(content=b"", status=404),
            NodeAnswer(content=b"", status=503),
            PredictionFailed("it raised"),
        ]
        statuses = [await client.get("/wfpredict/w") for _ in range(4)]
        assert [answer.status for answer in statuses] == [200, 404, 503, 500]
        assert {answer.headers["x-workflow-version"] for answer in statuses} == {"1.0"}
        assert (await client.get("/wfpredict/w/2.0")).status == 200
        workflow = parts.catalog.workflow("w")
        assert workflow is not None
        report = workflow.figures({})
        one, two = report.versions["1.0"].traffic, report.versions["2.0"].traffic
        assert set(one) == {TrafficKind.SERVE}
        assert set(two) == {TrafficKind.PINNED, TrafficKind.MIRROR}
        assert (one[TrafficKind.SERVE].requests, one[TrafficKind.SERVE].failures) == (4, 2)
        assert (two[TrafficKind.PINNED].requests, two[TrafficKind.PINNED].failures) == (1, 0)
        text = await (await client.get("/metrics")).text()
        assert 'wfmgmt_workers_ready{node="m",workflow="w"} 2.0' in text
        assert 'wfmgmt_version_failures_total{kind="serve",version="1.0",workflow="w"} 2.0' in text


@in_event_loop
async def test_copy_is_marked_and_costs_its_request_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs holds no bytes of requests; copies beyond the bound are dropped and counted."""
    monkeypatch.setattr(mirroring, "MAX_COPIES", 2)
    async with serving(tmp_path, MIRRORED) as (parts, runtime, client):
        mirror = parts.models.models["w/2.0"]
        answer = await client.post("/wfpredict/w", data=b"12345", headers={"X-Wfmgmt-Mirror": "0"})
        assert (await answer.read(), answer.headers["x-workflow-version"]) == (b"1.0", "1.0")
        await until(lambda: len(mirror.asked) == 1)
        (copy,) = mirror.asked
        assert [each.content for each in copy.fields] == [b"12345"]
        assert {name: value for name, value in json.loads(copy.headers).items() if "irror" in name} == {
            "x-wfmgmt-mirror": "1"
        }
        assert "x-wfmgmt-mirror" not in json.loads(parts.models.models["w"].asked[0].headers)
        mirror.answers = [None]
        for _ in range(5):
            assert (await client.post("/wfpredict/w", data=b"12345")).status == 200
        await until(lambda: len(mirror.asked) == 3)
        version = parts.catalog.get("w/2.0")
        assert version is not None
        assert version.traffic.dropped == 3
        assert (runtime.admission.in_flight_bytes, runtime.mirror.admission.in_flight_bytes) == (0, 2 * 5)
        await runtime.mirror.close()
        assert runtime.mirror.admission.in_flight_bytes == 0
        assert (await client.get("/wfpredict/w/1.0")).status == 200
        assert len(mirror.asked) == 3


@in_event_loop
async def test_copies_end_with_the_mirror(tmp_path: Path) -> None:
    """Those that wait for a version that gets a share would hold up its requests; they are counted as dropped."""
    async with serving(tmp_path, MIRRORED) as (parts, _, client):
        parts.models.models["w/2.0"].answers = [None]
        for _ in range(5):
            assert (await client.post("/wfpredict/w", data=b"12345")).status == 200
        version = parts.catalog.get("w/2.0")
        assert version is not None
        await until(lambda: len(parts.models.models["w/2.0"].asked) == 5)
        parts.registry.release("w", BOTH)
        await until(lambda: not version.copies)
        assert version.traffic.dropped == 5
        assert version.figures({}).traffic == {}


@in_event_loop
async def test_copies_for_a_version_that_is_not_loaded_are_dropped(tmp_path: Path) -> None:
    """And counted, so that a mirror which does not load shows in the figures and metrics."""
    async with serving(tmp_path, RoutingTable.all_to("1.0")) as (parts, _, client):
        parts.models.failing.add("w/2.0")
        parts.registry.release("w", MIRRORED)
        workflow = parts.catalog.workflow("w")
        assert workflow is not None
        await until(lambda: "w/2.0" in parts.models.attempts)
        await until(lambda: workflow.release is not None and workflow.release.table == MIRRORED)
        for _ in range(3):
            assert (await client.post("/wfpredict/w", data=b"12345")).status == 200
        assert workflow.figures({}).versions["2.0"].dropped == 3
        metric = 'wfmgmt_mirror_dropped_total{version="2.0",workflow="w"} 3.0'
        assert metric in (await (await client.get("/metrics")).text()).splitlines()
        parts.models.failing.clear()
        parts.reconciler.reconcile_now()
        await until(lambda: workflow.versions["2.0"].state is LoadState.SERVING)
        assert workflow.figures({}).versions["2.0"].dropped == 3


@in_event_loop
@pytest.mark.parametrize(("patience_s", "failures"), [(0.0, 2), (30.0, 0)])
async def test_requests_whose_clients_give_up_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, failures: int
) -> None:
    """As failures after a while: a guard may see nothing else of a version that hangs."""
    monkeypatch.setattr(loading, "ABANDONED_S", patience_s)
    async with serving(tmp_path, MIRRORED) as (parts, _, client):
        version = parts.catalog.get("w")
        assert version is not None
        model = parts.models.models["w"]
        model.answers = [None]
        giving_up = [asyncio.create_task(client.get("/wfpredict/w")) for _ in range(2)]
        await until(lambda: len(model.asked) == len(giving_up))
        for request in giving_up:
            request.cancel()
        await until(lambda: version.figures({}).in_flight == 0)
        served = version.figures({}).traffic[TrafficKind.SERVE]
        assert (served.requests, served.failures) == (2, failures)
