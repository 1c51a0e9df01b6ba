"""Models are registered and removed alike by the fake TorchServe and by a real one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.torchserve_client import HANDLER, OpenServer, assert_own_error, until
from wfmgmt.testing import in_event_loop


class TestRegistering:
    """POST and DELETE /models."""

    @in_event_loop
    async def test_register_brings_up_workers(self, open_server: OpenServer) -> None:
        """The answer comes when they are ready, and says how many."""
        async with open_server() as server:
            answer = await server.register(initial_workers=2)
            assert (answer.status, answer.reason) == (200, "OK")
            assert answer.json == {"status": 'Model "m" Version: 1.0 registered with 2 initial workers'}
            assert await server.workers() == ["READY", "READY"]

    @in_event_loop
    async def test_register_takes_parameters_as_json(self, open_server: OpenServer) -> None:
        """The body of a request may hold them, unless it is a form."""
        async with open_server() as server:
            parameters = {"url": "m.mar", "model_name": "m", "initial_workers": 1, "batch_size": 4}
            assert (await server.manage("POST", "/models", json=parameters)).status == 200
            assert (await server.described())["batchSize"] == 4
            form = await server.manage("POST", "/models", data={"url": "m.mar"})
            assert_own_error(form, 400, "BadRequestException", "Parameter url is required.")

    @in_event_loop
    async def test_register_looks_in_the_store_only(self, open_server: OpenServer) -> None:
        """Folders in a url have no effect, but are reported."""
        async with open_server() as server:
            assert (await server.register("sub/m.mar")).status == 200
            assert (await server.described())["modelUrl"] == "sub/m.mar"

    @in_event_loop
    async def test_register_without_workers_notices_no_fault(self, open_server: OpenServer) -> None:
        """What cannot be loaded is registered all the same."""
        async with open_server() as server:
            for url in ("m.mar", "failing.mar", "corrupt.mar"):
                answer = await server.register(url, model_name=url, initial_workers=0)
                assert answer.json["status"].endswith("Use scale workers API to add workers for the model.")

    @in_event_loop
    async def test_register_does_not_wait_when_asked_not_to(self, open_server: OpenServer) -> None:
        """A handler that fails is registered then, and stays."""
        async with open_server() as server:
            answer = await server.register("failing.mar", synchronous="false")
            assert (answer.status, answer.json) == (202, {"status": "Processing worker updates..."})
            assert await server.workers() == ["UNLOADING"]

    @pytest.mark.parametrize(
        ("parameters", "status", "kind", "message"),
        [
            ({"url": "absent.mar"}, 404, "ModelNotFoundException", "Model not found at: absent.mar"),
            ({"url": "sub/absent.mar"}, 404, "ModelNotFoundException", "Model not found at: sub/absent.mar"),
            ({"url": "../m.mar"}, 404, "ModelNotFoundException", "Relative path is not allowed in url: ../m.mar"),
            ({"url": ""}, 404, "ModelNotFoundException", "empty url"),
            ({"url": "truncated.mar"}, 500, "InternalServerException", "Failed to save model: truncated.mar"),
            (
                {"url": "corrupt.mar"},
                500,
                "InternalServerException",
                "Failed to start workers for model m version: 1.0",
            ),
            (
                {"url": "failing.mar"},
                500,
                "InternalServerException",
                "Failed to start workers for model m version: 1.0",
            ),
            (
                {"url": "hanging.mar", "startup_timeout": "1"},
                500,
                "InternalServerException",
                "Failed to start workers for model m version: 1.0",
            ),
            (
                {"url": "file:///absent/x.mar"},
                400,
                "DownloadArchiveException",
                "Failed to download archive from: file:///absent/x.mar",
            ),
        ],
        ids=["absent", "subfolder", "relative", "empty", "truncated", "corrupt", "failing", "late", "no file"],
    )
    @in_event_loop
    async def test_register_leaves_nothing_when_it_fails(
        self, open_server: OpenServer, parameters: dict[str, Any], status: int, kind: str, message: str
    ) -> None:
        """The error never names the handler's own one."""
        async with open_server() as server:
            assert_own_error(await server.register(**parameters), status, kind, message)
            if "startup_timeout" in parameters:
                return  # The real one keeps the model now and then when it took too long.
            await until(lambda: server.lacks("m"))  # The real one may answer a moment before.
            assert_own_error(
                await server.manage("GET", "/models/m"), 404, "ModelNotFoundException", "Model not found: m"
            )

    @in_event_loop
    async def test_register_refuses_a_version_that_is_there(self, open_server: OpenServer) -> None:
        """The name and the manifest's version have to be the same, also for another archive."""
        async with open_server() as server:
            await server.register()
            message = "Model version 1.0 is already registered for model m"
            assert_own_error(await server.register("failing.mar"), 409, "ConflictStatusException", message)

    @in_event_loop
    async def test_register_takes_in_a_second_version(self, open_server: OpenServer) -> None:
        """The first one stays the default, and cannot be removed before the second one."""
        async with open_server() as server:
            await server.register()
            assert (await server.register("second.mar")).status == 200
            assert (await server.described())["modelVersion"] == "1.0"
            versions = (await server.manage("GET", "/models/m/all")).json
            assert [each["modelVersion"] for each in versions] == ["1.0", "2.0"]
            message = "Cannot remove default version for model m"
            assert_own_error(await server.manage("DELETE", "/models/m"), 403, "InvalidModelVersionException", message)
            assert (await server.manage("DELETE", "/models/m/2.0")).status == 200
            assert (await server.manage("DELETE", "/models/m")).status == 200

    @in_event_loop
    async def test_register_copies_a_file_into_the_store(self, open_server: OpenServer, tmp_path: Path) -> None:
        """The copy goes with the model; a second one of the name is refused."""
        async with open_server() as server:
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            archive = make_mar(elsewhere, source=HANDLER, file_name="copied.mar")
            assert (await server.register(archive.as_uri())).status == 200
            assert (await server.described())["modelUrl"] == archive.as_uri()
            again = await server.register(archive.as_uri(), model_name="again")
            assert_own_error(again, 500, "InternalServerException", "Model file already exists copied.mar")
            await server.manage("DELETE", "/models/m")
            assert archive.exists()
            assert not (server.store / "copied.mar").exists()

    @in_event_loop
    async def test_unregister_frees_the_name_at_once(self, open_server: OpenServer) -> None:
        """It can be registered anew; a second removal finds nothing."""
        async with open_server() as server:
            await server.register()
            answer = await server.manage("DELETE", "/models/m")
            assert (answer.status, answer.json) == (200, {"status": 'Model "m" unregistered'})
            again = await server.manage("DELETE", "/models/m")
            assert_own_error(again, 404, "ModelNotFoundException", "Model not found: m")
            assert (await server.register()).status == 200

    @in_event_loop
    async def test_unregister_breaks_off_a_registration(self, open_server: OpenServer) -> None:
        """A registration that waits for its workers is answered that they failed."""
        async with open_server() as server:
            # The real one blocks a thread that others share for as long as somebody waits for workers, so that the
            # removal may have to wait, too, and come too late.
            registering = asyncio.create_task(server.register("hanging.mar", startup_timeout=3))
            await until(lambda: server.has("m", unless=registering))
            assert (await server.manage("DELETE", "/models/m")).status in {200, 404}
            answer = await registering
            # It may also name a NullPointerException of its own, or say 507.
            assert_own_error(answer, answer.status, "InternalServerException", answer.json["message"])
            assert answer.status >= 500

    @pytest.mark.parametrize("synchronous", [True, False])
    @in_event_loop
    async def test_register_holds_up_others_while_it_waits(self, open_server: OpenServer, *, synchronous: bool) -> None:
        """Some connections get no answer at all before the workers are up; all do when no registration waits."""
        async with open_server() as server:
            await server.register(model_name="good")
            wait = str(synchronous).lower()
            registering = asyncio.create_task(server.register("hanging.mar", startup_timeout=3, synchronous=wait))
            await until(lambda: server.has("m", unless=registering))
            asked = [asyncio.create_task(server.predict("text", name="good")) for _ in range(12)]
            _, waiting = await asyncio.wait(asked, timeout=0.5)
            assert bool(waiting) is (synchronous and not registering.done())
            assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
            await registering
