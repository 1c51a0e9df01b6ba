"""Workers come, go and are described alike in the fake TorchServe and in a real one."""

import os
import signal

import pytest

from tests.support.torchserve_client import OpenServer, assert_own_error, until
from wfmgmt.testing import in_event_loop


class TestScaling:
    """PUT /models."""

    @pytest.mark.parametrize(
        ("parameters", "workers", "told"),
        [
            ({"min_worker": "2", "max_worker": "3"}, 2, (2, 3)),
            ({"min_worker": "2"}, 2, (2, 2)),
            ({"max_worker": "3"}, 1, (1, 3)),
            ({"min_worker": "0"}, 0, (0, 0)),
            ({"min_worker": "abc"}, 1, (1, 1)),
            ({"min_worker": "2", "batch_size": "7"}, 2, (2, 2)),
        ],
        ids=["both", "minimum", "maximum", "none", "no number", "something else"],
    )
    @in_event_loop
    async def test_scale_runs_the_minimum(
        self, open_server: OpenServer, parameters: dict[str, str], workers: int, told: tuple[int, int]
    ) -> None:
        """The maximum brings no worker up; other settings stay."""
        async with open_server() as server:
            await server.register()
            answer = await server.manage("PUT", "/models/m", params={**parameters, "synchronous": "true"})
            assert (answer.status, answer.json) == (200, {"status": f"Workers scaled to {workers} for model: m"})
            described = await server.described()
            assert (described["minWorkers"], described["maxWorkers"], described["batchSize"]) == (*told, 1)
            assert await server.workers() == ["READY"] * workers

    @in_event_loop
    async def test_scale_ends_workers_beyond_the_maximum_only(self, open_server: OpenServer) -> None:
        """A smaller minimum alone ends none that is there, but for a minimum of none at all."""
        async with open_server() as server:
            await server.register()
            for minimum, maximum, workers in ((3, 4, 3), (1, 4, 3), (1, 2, 2), (0, 4, 0)):
                numbers = {"min_worker": str(minimum), "max_worker": str(maximum)}
                await server.manage("PUT", "/models/m", params={**numbers, "synchronous": "true"})
                assert await server.workers() == ["READY"] * workers

    @in_event_loop
    async def test_scale_does_not_wait_unless_synchronous(self, open_server: OpenServer) -> None:
        """That is the other way round from registering."""
        async with open_server() as server:
            await server.register()
            answer = await server.manage("PUT", "/models/m", params={"min_worker": "2"})
            assert (answer.status, answer.json) == (202, {"status": "Processing worker updates..."})
            await until(lambda: server.has_workers("READY", "READY"))

    @in_event_loop
    async def test_scale_says_when_workers_are_missing(self, open_server: OpenServer) -> None:
        """While one restarts, the answer is a success that is none."""
        async with open_server() as server:
            await server.register()
            os.kill((await server.described())["workers"][0]["pid"], signal.SIGKILL)
            await until(lambda: server.has_workers("UNLOADING"))
            answer = await server.manage("PUT", "/models/m", params={"min_worker": "2", "synchronous": "true"})
            assert (answer.status, answer.json) == (206, {"status": "Workers scaling in progress..."})
            await until(lambda: server.has_workers("READY", "READY"))

    @in_event_loop
    async def test_scale_keeps_a_model_that_cannot_be_loaded(self, open_server: OpenServer) -> None:
        """Its worker is tried again and again, until the model is scaled down or removed."""
        async with open_server() as server:
            await server.register("failing.mar", initial_workers=0)
            answer = await server.manage("PUT", "/models/m", params={"min_worker": "1", "synchronous": "true"})
            message = "Failed to start workers for model m version: null"
            assert_own_error(answer, 500, "InternalServerException", message)
            assert await server.workers() == ["UNLOADING"]

    @in_event_loop
    async def test_scale_refuses_a_maximum_below_the_minimum(self, open_server: OpenServer) -> None:
        """Nothing changes."""
        async with open_server() as server:
            await server.register()
            answer = await server.manage("PUT", "/models/m", params={"min_worker": "3", "max_worker": "2"})
            assert_own_error(answer, 400, "BadRequestException", "max_worker cannot be less than min_worker.")
            assert await server.workers() == ["READY"]

    @in_event_loop
    async def test_scale_refuses_what_is_not_there(self, open_server: OpenServer) -> None:
        """Neither unknown models nor unknown versions can be scaled."""
        async with open_server() as server:
            await server.register()
            answer = await server.manage("PUT", "/models/nope")
            assert_own_error(answer, 404, "ModelNotFoundException", "Model not found: nope")
            answer = await server.manage("PUT", "/models/m/7")
            message = "Model version: 7 does not exist for model: m"
            assert_own_error(answer, 404, "ModelVersionNotFoundException", message)


class TestLooking:
    """GET /models, and what is not there."""

    @in_event_loop
    async def test_list_is_paged(self, open_server: OpenServer) -> None:
        """Names come in order, at most 100 at a time; the last page names no next one."""
        async with open_server() as server:
            names = [f"m{number:03}" for number in range(101)]
            for name in reversed(names):
                await server.register(model_name=name, initial_workers=0)
            first = (await server.manage("GET", "/models?limit=1000")).json
            assert ([each["modelName"] for each in first["models"]], first["nextPageToken"]) == (names[:100], "100")
            last = (await server.manage("GET", "/models?next_page_token=100")).json
            assert last == {"models": [{"modelName": "m100", "modelUrl": "m.mar"}]}
            assert (await server.manage("GET", "/models?next_page_token=500")).json == {"models": []}

    @in_event_loop
    async def test_describe_shows_settings_and_workers(self, open_server: OpenServer) -> None:
        """It is a list of one, with numbers in the units in which they were given."""
        async with open_server() as server:
            await server.register(batch_size=3, max_batch_delay=20, response_timeout=7, startup_timeout=9)
            described = await server.described()
            told = [described[key] for key in ("batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout")]
            assert told == [3, 20, 7, 9]
            assert (described["modelVersion"], described["modelUrl"]) == ("1.0", "m.mar")
            assert described["jobQueueStatus"] == {"remainingCapacity": 100, "pendingRequests": 0}
            (worker,) = described["workers"]
            assert worker["status"] == "READY"
            assert (await server.predict("pid")).body.decode() == str(worker["pid"])

    @in_event_loop
    async def test_unknown_paths_and_methods_are_errors(self, open_server: OpenServer) -> None:
        """Both have the shape of all others."""
        async with open_server() as server:
            text = "Requested resource is not found, please refer to API document."
            assert_own_error(await server.manage("GET", "/nothing"), 404, "ResourceNotFoundException", text)
            text = "Requested method is not allowed, please refer to API document."
            assert_own_error(await server.manage("DELETE", "/models"), 405, "MethodNotAllowedException", text)
