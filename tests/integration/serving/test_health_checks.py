"""Health checks of the inference address: they need no tokens, and name what a client may see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.support.runtime_parts import FakeRegistry, make_parts, make_runtime
from tests.support.tokens import bearer, make_token
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.tokens import new_token
from wfmgmt.http.failed_logins import FailedLogins
from wfmgmt.serving.inference_metrics import InferenceMetrics
from wfmgmt.serving.inference_server import inference_app
from wfmgmt.serving.inference_tokens import InferenceTokens
from wfmgmt.testing import in_event_loop

SECRET = new_token()
#: More workflows than a health check names, and then those of the token.
NAMES = [*(f"other-{number}" for number in range(150)), "team-a"]


@asynccontextmanager
async def inference(
    folder: Path,
) -> AsyncIterator[tuple[InferenceTokens, TestClient[web.Request, web.Application]]]:
    """Serve a runtime that does not have its workflows ready again, nor has it read the token."""
    registry = FakeRegistry()
    registry.accepted = [make_token("team", SECRET, role=Role.VIEW, scope=Scope.of(["team-*"]))]
    tokens = InferenceTokens(
        registry,
        failed=FailedLogins(),
        anonymous=None,
        until_first_token=True,
        has_open_predictions=False,
        has_open_metrics=False,
    )
    parts = make_parts(folder)
    for name in NAMES:
        parts.catalog.status_log.publish(WorkflowReport(uid=name, workflow=name, state=LoadState.RESTORING))
    parts.catalog.status_log.record_catalog("")
    runtime = replace(make_runtime(parts), tokens=tokens)
    app = inference_app(runtime, metrics=InferenceMetrics(runtime), on_answer=lambda _request, _answer: None)
    async with TestClient(TestServer(app)) as client:
        yield tokens, client


@in_event_loop
async def test_health_checks_are_answered_before_tokens_are_read(tmp_path: Path) -> None:
    """Whatever a client shows; what takes a token is not."""
    async with inference(tmp_path) as (_, client):
        for headers in ({}, bearer(SECRET), bearer("x")):
            answers = [await client.get(f"/{check}", headers=headers) for check in ("livez", "ping", "readyz")]
            assert [answer.status for answer in answers] == [200, 200, 503]
            assert [(await answer.json()).get("notReadyCount") for answer in answers] == [None, 151, 151]
        assert (await client.get("/metrics", headers=bearer(SECRET))).status == 503


@in_event_loop
async def test_health_checks_name_what_is_behind_many_others(tmp_path: Path) -> None:
    """Of those that the client may see."""
    async with inference(tmp_path) as (tokens, client):
        await tokens.look()
        for check in ("ping", "readyz"):
            body = await (await client.get(f"/{check}", headers=bearer(SECRET))).json()
            assert (list(body["notReady"]), body["notReadyCount"]) == (["team-a"], 151)
