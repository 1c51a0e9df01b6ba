"""The fake TorchServe answers as the real one does: the same tests run over both."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.fake_torchserve import fake_torchserve
from tests.support.real_torchserve import TorchServe
from tests.support.torchserve_client import (
    HANDLER,
    OCTETS,
    OpenServer,
    Server,
    assert_own_error,
    new_session,
    until,
    write_archives,
)
from wfmgmt.testing import in_event_loop

FAKE_AND_REAL = ["fake", pytest.param("real", marks=pytest.mark.torchserve)]


def opener_of_fakes(store: Path, **options: Any) -> OpenServer:
    """Return a function that opens a fake without models."""
    write_archives(store)

    @asynccontextmanager
    async def open_fake() -> AsyncIterator[Server]:
        async with fake_torchserve(store, **options) as fake, new_session() as session:
            keys = fake.tokens.path if fake.tokens is not None else None
            yield Server(fake.management_url, fake.inference_url, store, session, keys)

    return open_fake


def opener_of(real: TorchServe) -> OpenServer:
    """Return a function that hands out a real server, and removes its models in the end."""
    write_archives(real.model_store)

    @asynccontextmanager
    async def open_real() -> AsyncIterator[Server]:
        async with new_session() as session:
            server = Server(real.management, real.inference, real.model_store, session, real.key_file)
            try:
                yield server
            finally:
                await server.remove_models()

    return open_real


@pytest.fixture(name="open_server", params=FAKE_AND_REAL)
def _open_server(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server without models."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path)
    return opener_of(request.getfixturevalue("real_torchserve"))


@pytest.fixture(name="open_guarded", params=FAKE_AND_REAL)
def _open_guarded(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server that asks for keys."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path, token_folder=tmp_path)
    return opener_of(request.getfixturevalue("guarded_torchserve"))


@pytest.fixture(name="open_closed", params=FAKE_AND_REAL)
def _open_closed(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server whose model API is off."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path, model_api=False)
    return opener_of(request.getfixturevalue("closed_torchserve"))


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
        """Folders in a url are passed over, though they are told."""
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
    async def test_register_does_not_wait_when_told(self, open_server: OpenServer) -> None:
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
        """The name and the manifest's version have to be the same, whatever the archive."""
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
        """Whoever waits for its workers hears that they failed."""
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
        """Some connections, whatever they ask, get no answer before the workers are up; none when nobody waits."""
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
    async def test_scale_does_not_wait_unless_told(self, open_server: OpenServer) -> None:
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
    async def test_describe_tells_settings_and_workers(self, open_server: OpenServer) -> None:
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


class TestPredicting:
    """POST /predictions."""

    @pytest.mark.parametrize(
        ("order", "body"),
        [
            ("text", "gr\u00fcn".encode()),
            ("bytes", b"\xff\x00"),
            ("dict", b'{\n  "a": [\n    1,\n    null\n  ]\n}'),
            ("none", b"null"),
            ("nan", b"NaN"),
            ("empty", b""),
        ],
    )
    @in_event_loop
    async def test_predict_passes_on_what_the_handler_returns(
        self, open_server: OpenServer, order: str, body: bytes
    ) -> None:
        """It comes without a content type and without a reason phrase."""
        async with open_server() as server:
            await server.register()
            answer = await server.predict(order)
            assert (answer.status, answer.reason, answer.content_type, answer.body) == (200, "", None, body)
            assert answer.headers["connection"] == "keep-alive"

    @pytest.mark.parametrize("status", [201, 204, 404, 500, 503])
    @in_event_loop
    async def test_predict_passes_on_the_status(self, open_server: OpenServer, status: int) -> None:
        """A handler's own error is not to be taken for one of TorchServe's."""
        async with open_server() as server:
            await server.register()
            answer = await server.predict(f"status{status}")
            own = b"" if status == 204 else b'{\n  "own": "status%d"\n}' % status
            assert (answer.status, answer.reason, answer.content_type, answer.body) == (status, "", None, own)
            assert answer.headers["connection"] == ("close" if status >= 400 else "keep-alive")

    @in_event_loop
    async def test_predict_passes_on_headers(self, open_server: OpenServer) -> None:
        """Those of the server's own stay its own."""
        async with open_server() as server:
            await server.register()
            answer = await server.predict("headers")
            assert (answer.content_type, answer.headers["X-Mine"]) == ("text/csv", "1")
            assert answer.headers["x-request-id"] != "mine"

    @pytest.mark.parametrize(
        ("order", "status", "message"),
        [
            ("raise", 503, "Prediction failed"),
            ("memory", 507, "Out of resources"),
            ("refuse", 404, "no such city"),
            ("set", 503, "Unsupported model output data type."),
            ("list", 503, "number of batch response mismatched"),
            ("no list", 503, "Invalid model predict output"),
            ("exit", 500, "Worker died."),
            ("sys.exit", 500, "Worker died."),
            ("huge", 500, "Worker died."),
        ],
    )
    @in_event_loop
    async def test_predict_fails_without_the_handlers_words(
        self, open_server: OpenServer, order: str, status: int, message: str
    ) -> None:
        """The next request is answered, if need be by a new worker."""
        async with open_server() as server:
            await server.register()
            assert_own_error(await server.predict(order), status, "InternalServerException", message)
            assert (await server.predict("text")).status == 200

    @in_event_loop
    async def test_predict_fails_when_the_handler_takes_too_long(self, open_server: OpenServer) -> None:
        """The answer is that of a crash; what waits is answered by the next worker."""
        async with open_server() as server:
            await server.register(response_timeout=1)
            slow = asyncio.create_task(server.predict("sleep30"))
            assert_own_error(await slow, 500, "InternalServerException", "Worker died.")
            assert await server.workers() == ["UNLOADING"]
            assert (await server.predict("text")).status == 200

    @in_event_loop
    async def test_predict_does_not_count_the_queue_as_time(self, open_server: OpenServer) -> None:
        """Requests that wait for longer than the timeout are answered."""
        async with open_server() as server:
            await server.register(response_timeout=1)
            answers = await asyncio.gather(*(server.predict("sleep0.6") for _ in range(3)))
            assert [answer.status for answer in answers] == [200] * 3

    @in_event_loop
    async def test_predict_fails_all_of_a_batch(self, open_server: OpenServer) -> None:
        """One request that fails takes those with it that came along."""
        async with open_server() as server:
            await server.register(batch_size=2, max_batch_delay=5000)
            for answer in await asyncio.gather(server.predict("raise"), server.predict("text")):
                assert_own_error(answer, 503, "InternalServerException", "Prediction failed")

    @pytest.mark.parametrize(
        ("content_type", "body", "row"),
        [
            ("application/octet-stream", b"\xff{}", {"body": repr(bytearray(b"\xff{}"))}),
            ("application/octet-stream", b"", {"body": repr(bytearray())}),
            ("application/json", b'{"a": 1}', {"body": "{'a': 1}"}),
            ("application/json; charset=utf-8", b"[1]", {"body": "[1]"}),
            ("application/json", b'{"a":', {"body": repr(bytearray(b'{"a":'))}),
            ("text/plain", "gr\u00fcn".encode(), {"body": repr("gr\u00fcn")}),
            ("text/plain; charset=latin-1", b"\xff\xfe", {"body": repr(bytearray(b"\xff\xfe"))}),
            (
                "application/x-www-form-urlencoded",
                b"a=1&b=x%20y&a=2",
                {"a": repr(bytearray(b"2")), "b": repr(bytearray(b"x y"))},
            ),
            ("multipart/form-data", b"--B--\r\n", {"body": repr(bytearray(b"--B--\r\n"))}),
            ("multipart/form-data; boundary=B", b"--B--\r\n", {}),
            (
                "multipart/form-data; boundary=B",
                b'--B\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nabc',
                {},
            ),
        ],
        ids=[
            "bytes",
            "nothing",
            "JSON",
            "JSON with charset",
            "broken JSON",
            "text",
            "no UTF-8",
            "form",
            "no boundary",
            "no parts",
            "cut off",
        ],
    )
    @in_event_loop
    async def test_predict_decodes_a_body(
        self, open_server: OpenServer, content_type: str, body: bytes, row: dict[str, str]
    ) -> None:
        """By its content type, and bytes where that fails; the query is ignored."""
        async with open_server() as server:
            await server.register()
            headers = {"Content-Type": content_type}
            answer = await server.predict(body, name="m?q=1&body=2", headers=headers)
            assert answer.json["row"] == row

    @pytest.mark.parametrize(
        ("file_name", "content_type", "content", "value"),
        [
            ("f", "application/octet-stream", bytes(range(256)), bytearray(range(256))),
            ("f", "application/octet-stream", b"", bytearray()),
            ("f", "application/octet-stream", b"\r\n--x\r\n", bytearray(b"\r\n--x\r\n")),
            ("f", "application/json", b'{"a": 1}', {"a": 1}),
            ("f", "application/json", b"{bad", bytearray(b"{bad")),
            ("f", "text/plain", b"text", "text"),
            (None, "application/json", b'{"a": 1}', bytearray(b'{"a": 1}')),
            (None, "application/octet-stream", b"\xff", bytearray(b"\xff")),
        ],
        ids=["bytes", "nothing", "line ends", "JSON", "broken JSON", "text", "field of JSON", "field of bytes"],
    )
    @in_event_loop
    async def test_predict_decodes_parts(
        self, open_server: OpenServer, file_name: str | None, content_type: str, content: bytes, value: object
    ) -> None:
        """Those with a file name by their content type, all others are bytes; of one name the last wins."""
        async with open_server() as server:
            await server.register()
            disposition = b'form-data; name="pr\xc3\xa4"' + (
                b'; filename="%s"' % file_name.encode() if file_name else b""
            )
            head = b"\r\nContent-Disposition: %s\r\nContent-Type: %s\r\n\r\n" % (disposition, content_type.encode())
            body = b"--B" + head + b"first\r\n--B" + head + content + b"\r\n--B--\r\n"
            headers = {"Content-Type": "multipart/form-data; boundary=B"}
            answer = await server.predict(body, headers=headers)
            assert answer.json["row"] == {"pr\u00e4": repr(value)}

    @in_event_loop
    async def test_predict_refuses_a_broken_form(self, open_server: OpenServer) -> None:
        """That is the server's error, as it sees it."""
        async with open_server() as server:
            await server.register()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = await server.predict(b"a=%zz", headers=headers)
            message = "Invalid hex byte at index '0' in string: '%zz'"
            assert_own_error(answer, 500, "ErrorDataDecoderException", message)

    @in_event_loop
    async def test_predict_has_request_ids_of_its_own(self, open_server: OpenServer) -> None:
        """The handler is told the answer's; the client's is one of the headers."""
        async with open_server() as server:
            await server.register()
            answer = await server.predict("echo", headers={**OCTETS, "X-Request-Id": "mine"})
            assert answer.json["id"] == answer.headers["x-request-id"] != "mine"
            assert answer.json["header"] == "mine"

    @in_event_loop
    async def test_predict_refuses_what_is_too_long(self, open_server: OpenServer) -> None:
        """One byte more than the limit gets the one error without a body."""
        async with open_server() as server:
            await server.register()
            assert (await server.predict(io.BytesIO(b"x" * 6_553_500))).status == 200
            answer = await server.predict(io.BytesIO(b"x" * 6_553_501))
            assert (answer.status, answer.body, answer.content_type) == (413, b"", None)

    @in_event_loop
    async def test_predict_says_the_same_without_workers_and_without_room(self, open_server: OpenServer) -> None:
        """A hundred requests may wait; a client has to ask which of the two it is."""
        async with open_server() as server:
            await server.register(initial_workers=0)
            refused = await server.predict("text")
            assert (refused.status, refused.json["type"]) == (503, "ServiceUnavailableException")
            await server.manage("PUT", "/models/m", params={"min_worker": "1", "synchronous": "true"})
            waiting = [asyncio.create_task(server.predict("sleep30")) for _ in range(102)]
            try:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=20)
                assert {each.result().body for each in done} == {refused.body}
                await until(lambda: server.has_waiting(99))
            finally:
                for each in waiting:
                    each.cancel()
                await asyncio.wait(waiting)

    @in_event_loop
    async def test_predict_refuses_what_is_not_there(self, open_server: OpenServer) -> None:
        """Neither unknown models nor unknown versions can be asked."""
        async with open_server() as server:
            await server.register()
            answer = await server.predict("text", name="nope")
            assert_own_error(answer, 404, "ModelNotFoundException", "Model not found: nope")
            answer = await server.predict("text", name="m/9")
            message = "Model version: 9 does not exist for model: m"
            assert_own_error(answer, 404, "ModelVersionNotFoundException", message)
            assert (await server.predict("text", name="m/1.0")).status == 200


class TestTokens:
    """Keys that requests have to show, and the model API that can be off."""

    @in_event_loop
    async def test_each_port_has_its_key(self, open_guarded: OpenServer) -> None:
        """Anything else is refused with 400, whatever is asked for."""
        async with open_guarded() as server:
            kind, message = (
                "InvalidKeyException",
                "Token Authorization failed. Token either incorrect, expired, or not ",
            )
            message += "provided correctly"
            management, inference = server.key("management"), server.key("inference")
            assert (await server.register(headers=management)).status == 200
            for headers in ({}, inference, server.key("API"), {"Authorization": "Bearer wrong"}):
                answer = await server.manage("GET", "/models", headers=headers)
                assert_own_error(answer, 400, kind, message)
            assert (await server.predict("text", headers={**OCTETS, **inference})).status == 200
            for name in ("m", "nope"):
                answer = await server.predict("text", name=name, headers={**OCTETS, **management})
                assert_own_error(answer, 400, kind, message)

    @in_event_loop
    async def test_a_key_is_replaced_on_demand(self, open_guarded: OpenServer) -> None:
        """The new one is in the file only, and the old one is dead at once."""
        async with open_guarded() as server:
            old, other = server.key("management"), server.key("inference")
            answer = await server.manage("GET", "/token?type=management", headers=server.key("API"))
            assert (answer.status, answer.body) == (200, b"\n")
            assert (await server.manage("GET", "/models", headers=old)).status == 400
            assert (await server.manage("GET", "/models", headers=server.key("management"))).status == 200
            assert server.key("inference") == other
            refused = await server.manage("GET", "/token?type=nothing", headers=server.key("API"))
            assert (refused.status, refused.json["type"]) == (400, "InvalidKeyException")

    @in_event_loop
    async def test_the_file_is_for_its_owner(self, open_guarded: OpenServer) -> None:
        """Nobody else can read the keys."""
        async with open_guarded() as server:
            assert server.key_file is not None
            assert server.key_file.stat().st_mode & 0o777 == 0o600

    @in_event_loop
    async def test_the_model_api_can_be_off(self, open_closed: OpenServer) -> None:
        """Then models can be looked at and scaled, and neither registered nor removed."""
        async with open_closed() as server:
            text = "Requested method is not allowed, please refer to API document."
            assert_own_error(await server.register(), 405, "MethodNotAllowedException", text)
            assert_own_error(await server.manage("DELETE", "/models/m"), 405, "MethodNotAllowedException", text)
            assert (await server.manage("GET", "/models")).json == {"models": []}
            answer = await server.manage("PUT", "/models/m")
            assert_own_error(answer, 404, "ModelNotFoundException", "Model not found: m")
