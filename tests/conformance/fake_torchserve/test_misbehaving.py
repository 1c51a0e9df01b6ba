"""The fake TorchServe misbehaves on command."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.support.fake_torchserve import FakeTorchServe, Misbehaviour, fake_torchserve, fake_torchserve_in_background
from tests.support.torchserve_client import Server, assert_own_error, new_session, until, write_archives
from wfmgmt.testing import in_event_loop


@asynccontextmanager
async def misbehaving(store: Path, **overrides: Any) -> AsyncIterator[tuple[FakeTorchServe, Server]]:
    """Open a fake with one model, and a client for it."""
    write_archives(store)
    async with fake_torchserve(store, **overrides) as fake, new_session() as session:
        server = Server(fake.management_url, fake.inference_url, store, session)
        assert (await server.register()).status == 200
        yield fake, server


class TestMisbehaving:
    """What the fake does on command, and the real one now and then."""

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            (Misbehaviour.RESET, aiohttp.ClientConnectionError),
            (Misbehaviour.RESET_AFTER_HEAD, aiohttp.ClientPayloadError),
            (Misbehaviour.TRUNCATED, aiohttp.ClientPayloadError),
            (Misbehaviour.NO_HTTP, aiohttp.ClientResponseError),
            (Misbehaviour.NO_JSON, json.JSONDecodeError),
            (Misbehaviour.OTHER_JSON, KeyError),
        ],
        ids=lambda value: value.name if isinstance(value, Misbehaviour) else "",
    )
    @in_event_loop
    async def test_misbehave_spoils_one_answer(
        self, tmp_path: Path, kind: Misbehaviour, error: type[Exception]
    ) -> None:
        """The next one is right again, and other endpoints have been all the time."""
        async with misbehaving(tmp_path) as (fake, server):
            fake.misbehave("POST /predictions", kind)
            assert (await server.manage("GET", "/models")).status == 200
            with pytest.raises(error):
                (await server.predict("dict")).json["a"]
            assert (await server.predict("dict")).json["a"] == [1, None]

    @pytest.mark.parametrize("status", [500, 503, 507])
    @in_event_loop
    async def test_misbehave_answers_with_an_error(self, tmp_path: Path, status: int) -> None:
        """It can be meant for one model, and last until it is taken back."""
        async with misbehaving(tmp_path) as (fake, server):
            await server.register(model_name="other")
            fake.misbehave("POST /predictions", Misbehaviour(status), model="m", times=None)
            for _ in range(3):
                assert_own_error(await server.predict("text"), status, "InternalServerException", "told to fail")
                assert (await server.predict("text", name="other")).status == 200
            fake.behave()
            assert (await server.predict("text")).status == 200

    @in_event_loop
    async def test_misbehave_loses_the_answer_to_what_was_done(self, tmp_path: Path) -> None:
        """A client that hears nothing cannot know that its request was carried out."""
        async with misbehaving(tmp_path) as (fake, server):
            fake.misbehave("POST /models", Misbehaviour.RESET, model="late", carried_out=True)
            with pytest.raises(aiohttp.ClientConnectionError):
                await server.register(model_name="late")
            assert await server.workers("late") == ["READY"]

    @in_event_loop
    async def test_misbehave_keeps_clients_waiting(self, tmp_path: Path) -> None:
        """A slow answer comes late, and another one never."""
        async with misbehaving(tmp_path) as (fake, server):
            fake.misbehave("POST /predictions", Misbehaviour.SLOW, seconds=0.2)
            began = asyncio.get_running_loop().time()
            assert (await server.predict("text")).status == 200
            assert asyncio.get_running_loop().time() - began >= 0.2
            fake.misbehave("POST /predictions", Misbehaviour.NEVER)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.predict("text"), 0.2)

    @in_event_loop
    async def test_unregister_leaves_requests_without_an_answer(self, tmp_path: Path) -> None:
        """Neither those that a worker has nor those that wait are answered, not even when the name is back."""
        async with misbehaving(tmp_path) as (_, server):
            asked = [asyncio.create_task(server.predict("sleep0.5")) for _ in range(2)]
            await until(lambda: server.has_waiting(1))
            await server.manage("DELETE", "/models/m")
            await server.register()
            done, waiting = await asyncio.wait(asked, timeout=1)
            assert not done
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)

    @pytest.mark.parametrize("requeues", [False, True])
    @in_event_loop
    async def test_scale_down_fails_or_repeats_what_is_begun(self, tmp_path: Path, *, requeues: bool) -> None:
        """The real one does the one or the other."""
        async with misbehaving(tmp_path, requeues=requeues) as (_, server):
            asked = [asyncio.create_task(server.predict("sleep0.3")) for _ in range(2)]
            await until(lambda: server.has_waiting(1))
            await server.manage("PUT", "/models/m?min_worker=0")
            await server.manage("PUT", "/models/m?min_worker=1")
            statuses = sorted(answer.status for answer in await asyncio.gather(*asked))
            assert statuses == ([200, 200] if requeues else [200, 500])

    @in_event_loop
    async def test_restart_comes_back_empty(self, tmp_path: Path) -> None:
        """Connections are refused meanwhile; the ports stay the same."""
        async with misbehaving(tmp_path) as (fake, server):
            await fake.refuse()
            with pytest.raises(aiohttp.ClientConnectionError):
                await server.manage("GET", "/models")
            await fake.open()
            assert await server.workers() == ["READY"]
            await fake.restart()
            assert (await server.manage("GET", "/models")).json == {"models": []}

    @in_event_loop
    async def test_a_test_can_do_what_others_would(self, tmp_path: Path) -> None:
        """Models appear, change and vanish without the client."""
        async with misbehaving(tmp_path) as (fake, server):
            await fake.register("m.mar", "foreign", initial_workers=1)
            assert (await server.predict("text", name="foreign")).status == 200
            fake.model("m").settings.batch_size = 5
            fake.model("m").scale(0, 0)
            described = await server.described()
            assert (described["batchSize"], described["minWorkers"]) == (5, 0)
            fake.forget_models()
            assert (await server.manage("GET", "/models")).json == {"models": []}

    @in_event_loop
    async def test_requests_are_recorded(self, tmp_path: Path) -> None:
        """With all that a test may want to know about them."""
        async with misbehaving(tmp_path) as (fake, server):
            await server.predict(b"text", name="m?a=1")
            (recorded,) = fake.requests_of("POST /predictions", "m")
            assert (recorded.path, recorded.query, recorded.body) == ("/predictions/m?a=1", {"a": "1"}, b"text")
            assert recorded.headers["content-type"] == "application/octet-stream"
            (registered,) = fake.requests_of("POST /models")
            assert registered.query["initial_workers"] == "1"

    @in_event_loop
    async def test_a_key_expires(self, tmp_path: Path) -> None:
        """It has to be replaced then, which an expired key does not hinder."""
        write_archives(tmp_path)
        async with fake_torchserve(tmp_path, token_folder=tmp_path) as fake, new_session() as session:
            assert fake.tokens is not None
            server = Server(fake.management_url, fake.inference_url, tmp_path, session, fake.tokens.path)
            fake.tokens.expire("management")
            assert (await server.manage("GET", "/models", headers=server.key("management"))).status == 400
            await server.manage("GET", "/token?type=management", headers=server.key("API"))
            assert (await server.manage("GET", "/models", headers=server.key("management"))).status == 200


def test_it_runs_in_the_background(tmp_path: Path) -> None:
    """A test that blocks can use it, too."""
    write_archives(tmp_path)
    with fake_torchserve_in_background(tmp_path) as background:
        background.have(lambda fake: fake.register("m.mar", "m", initial_workers=1))
        background.tell(lambda fake: fake.misbehave("POST /predictions", Misbehaviour.ERROR_503))
        answers = [requests.post(f"{background.inference_url}/predictions/m", b"text", timeout=10) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [503, 200]
        assert len(background.tell(lambda fake: fake.requests_of("POST /predictions"))) == 2
