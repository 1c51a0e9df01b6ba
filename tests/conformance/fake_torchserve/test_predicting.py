"""Predictions are answered alike by the fake TorchServe and by a real one."""

import asyncio
import io

import pytest

from tests.support.torchserve_client import OCTETS, OpenServer, assert_own_error, until
from wfmgmt.testing import in_event_loop


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
        """The handler gets the answer's; the client's is one of the headers."""
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
