"""What a loaded model promises about requests."""

# ruff: noqa: S101 - assertions are how tests speak

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import (
    InputField,
    ModelNotChanged,
    ModelNotLoaded,
    NodeAnswer,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    PredictionRefused,
    WorkerStatus,
)
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing.models import OpenServer, Suite, WriteMar, in_event_loop, load

#: Answers each request of a batch by what its body says; a body that says nothing comes back.
OBEDIENT_HANDLER = """
import ctypes, os, time

try:
    from ts.utils.util import PredictionException  # TorchServe knows no other.
except ImportError:
    class PredictionException(Exception):
        def __init__(self, message, error_code):
            super().__init__(message)
            self.message, self.error_code = message, error_code

class Handler:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        answers = [self.answer(bytes(row["body"]).decode(), index, context) for index, row in enumerate(data)]
        if any(row["body"] == b"count" for row in data):
            return answers + ["one more"]
        return answers

    def answer(self, order, index, context):
        if order == "raise":
            raise ValueError("bad weather")
        if order == "refuse":
            raise PredictionException("no such city", 404)
        if order == "hang":
            time.sleep(60)
        if order == "exit":
            os._exit(3)
        if order == "crash":
            ctypes.string_at(0)
        if order == "set":
            context.set_response_status(201, "Created", index)
            context.set_response_content_type(index, "text/plain")
            context.set_response_header(index, "x-model", "7")
        if order == "pid":
            return str(os.getpid())
        if order == "unsendable":
            return object()
        return order
"""
ECHOING_HANDLER = """
import json

def handle(data, context):
    if data is None:
        return None
    return [
        {
            "fields": {name: [type(value).__name__, str(value)] for name, value in row.items()},
            "request_id": context.get_request_id(index),
            "header": context.get_request_header(index, "x-city"),
            "folded": context.get_request_header(index, "X-CITY"),
            "model_name": context.model_name,
            "size": len(data),
        }
        for index, row in enumerate(data)
    ]
"""


def request_of(*fields: InputField, headers: str = "{}") -> NodeRequest:
    """Return a request with these fields."""
    return NodeRequest("the-id", headers.encode(), fields)


def ordering(order: str) -> NodeRequest:
    """Return a request whose body is an order to the handler."""
    return request_of(InputField("body", order.encode()))


async def answers_to(model: LoadedModel, orders: Sequence[str]) -> list[NodeAnswer | BaseException]:
    """Give several orders at once, and return what became of each."""
    asked = [model.infer(ordering(order)) for order in orders]
    return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)


async def text_of(model: LoadedModel, order: str) -> str:
    """Give an order and return the text of the answer."""
    return bytes((await asyncio.wait_for(model.infer(ordering(order)), 30)).content).decode()


class PredictingConformance(Suite):
    """What `LoadedModel` promises of `infer`."""

    @in_event_loop
    async def test_infer_gives_each_request_its_own_answer(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """However many are sent at once, none gets another one's answer."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), min_workers=2)
            orders = [f"order {number}" for number in range(60)]
            answers = await answers_to(model, orders)
            assert [bytes(answer.content).decode() for answer in answers if isinstance(answer, NodeAnswer)] == orders

    @in_event_loop
    async def test_infer_gives_the_handler_its_fields_and_context(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """JSON and text arrive decoded, everything else as bytes; the client's headers are there."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", ECHOING_HANDLER))
            fields = [
                InputField("raw", b"abc"),
                InputField("json", b'{"a": 1}', "application/json"),
                InputField("text", "gr\u00fcn".encode("latin-1"), "text/plain; charset=latin-1"),
            ]
            answer = await model.infer(request_of(*fields, headers='{"x-city": "Ulm"}'))
            reply: dict[str, Any] = json.loads(bytes(answer.content))
            assert (reply.pop("request_id") == "the-id") is self.traits.keeps_request_ids
            assert (reply.pop("folded") == "Ulm") is self.traits.folds_header_names
            assert reply == {
                "fields": {
                    "raw": ["bytearray", "bytearray(b'abc')"],
                    "json": ["dict", "{'a': 1}"],
                    "text": ["str", "gr\u00fcn"],
                },
                "header": "Ulm",
                "model_name": "w__m",
                "size": 1,
            }

    @in_event_loop
    async def test_infer_returns_what_the_handler_set(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Status, content type and headers come with the answer."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            answer = await model.infer(ordering("set"))
            assert (answer.status, answer.content_type, answer.headers["x-model"]) == (201, "text/plain", "7")
            answer = await model.infer(ordering("plain"))
            assert (answer.status, answer.content_type) == (200, None)

    @in_event_loop
    async def test_infer_hands_requests_over_together(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Requests that come within the delay form one batch; its size is reported where it is known."""
        async with open_server() as server:
            archive = write_mar("m.mar", ECHOING_HANDLER)
            model = await load(server, archive, batch_size=3, max_batch_delay_ms=5000, max_workers=1)
            answers = await answers_to(model, ["a", "b", "c"])
            for answer in answers:
                assert isinstance(answer, NodeAnswer)
                assert json.loads(bytes(answer.content))["size"] == len(answers)
                assert answer.batch_size == (len(answers) if self.traits.tells_batch_sizes else 1)

    @in_event_loop
    async def test_infer_waits_no_longer_than_the_delay(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A request without company is answered all the same."""
        async with open_server() as server:
            archive = write_mar("m.mar", OBEDIENT_HANDLER)
            model = await load(server, archive, batch_size=100, max_batch_delay_ms=50)
            assert await text_of(model, "alone") == "alone"

    @pytest.mark.parametrize(
        ("order", "reason"), [("raise", "raised"), ("count", "miscounted"), ("unsendable", "unsendable")]
    )
    @in_event_loop
    async def test_infer_fails_when_the_handler_does(
        self, open_server: OpenServer, write_mar: WriteMar, order: str, reason: str
    ) -> None:
        """The error has the handler's own words where they are known, and the worker lives on."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            pid = await text_of(model, "pid")
            with pytest.raises(PredictionFailed) as raised:
                await model.infer(ordering(order))
            assert getattr(self.traits, reason) in raised.value.reason
            assert await text_of(model, "pid") == pid

    @in_event_loop
    async def test_infer_passes_a_refusal_on(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A status that a handler raised on purpose comes with its message."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            with pytest.raises(PredictionRefused, match="no such city") as raised:
                await model.infer(ordering("refuse"))
            assert raised.value.status == 404  # noqa: PLR2004 - the handler's

    @pytest.mark.parametrize("order", ["exit", "crash", "hang"])
    @in_event_loop
    async def test_infer_harms_no_other_request(self, open_server: OpenServer, write_mar: WriteMar, order: str) -> None:
        """A request that terminates its worker fails alone; those that wait are answered, as are those in its batch."""
        async with open_server() as server:
            archive = write_mar("m.mar", OBEDIENT_HANDLER)
            batch_size = 2 if self.traits.shields_batches else 1
            settings = {"max_batch_delay_ms": 10, "max_workers": 1, "timeout_ms": 500}
            model = await load(server, archive, batch_size=batch_size, **settings)
            *good, bad = await answers_to(model, ["a", "b", "c", "d", "e", order])
            assert [bytes(answer.content) for answer in good if isinstance(answer, NodeAnswer)] == [
                b"a",
                b"b",
                b"c",
                b"d",
                b"e",
            ]
            assert isinstance(bad, PredictionFailed)
            assert await text_of(model, "next") == "next"

    @in_event_loop
    async def test_infer_brings_up_workers_when_requests_wait(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """While one worker is held up, another one answers."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), max_workers=2)
            held_up = model.infer(ordering("hang"))
            assert await text_of(model, "other") == "other"
            assert not held_up.done()
            held_up.cancel()

    @in_event_loop
    async def test_infer_works_without_a_minimum(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A model without workers gets one with its first request."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), min_workers=0)
            assert await text_of(model, "first") == "first"

    @in_event_loop
    async def test_infer_tries_another_worker(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """The worker that failed is avoided where there is another one."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), min_workers=2)
            with pytest.raises(PredictionFailed) as raised:
                await model.infer(ordering("raise"))
            assert (raised.value.worker is not None) is self.traits.avoids_workers
            pids = {bytes((await model.infer(ordering("pid"), avoid=raised.value.worker)).content) for _ in range(5)}
            assert len(pids) == 1 or not self.traits.avoids_workers

    @in_event_loop
    async def test_infer_fails_after_an_unload(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """The handle of a model that is gone refuses every request."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            await model.unload()
            with pytest.raises(NoWorker, match="unloaded"):
                await model.infer(ordering("a"))

    @in_event_loop
    async def test_infer_fails_when_the_model_is_unloaded(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Requests in flight fail with the reason that the model is being unloaded."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), max_workers=1)
            asked = [model.infer(ordering("hang")), model.infer(ordering("a"))]
            await asyncio.sleep(0)
            await model.unload()
            for answer in asked:
                with pytest.raises(NoWorker, match="unloaded"):
                    await answer

    @in_event_loop
    async def test_infer_can_be_withdrawn(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A request that is withdrawn holds up no other."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            for _ in range(20):
                model.infer(ordering("gone")).cancel()
            assert await text_of(model, "still there") == "still there"

    @in_event_loop
    async def test_infer_fails_when_the_model_is_scaled_to_none(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """Requests do not wait for workers that may not come; they are answered again once there may be some."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER))
            await model.scale(0, 0)
            with pytest.raises(NoWorker, match="scaled to none"):
                await asyncio.wait_for(model.infer(ordering("a")), 20)
            await model.scale(0, 1)
            assert await text_of(model, "again") == "again"

    @in_event_loop
    async def test_change_holds_from_the_next_batch_on(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Batches become larger without a restart; a server that cannot do that refuses, and goes on as before."""
        settings = NodeSettings(batch_size=3, max_batch_delay_ms=5000)
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", ECHOING_HANDLER), max_workers=1)
            if self.traits.changes_settings:
                await model.change(settings)
            else:
                with pytest.raises(ModelNotChanged):
                    await model.change(settings)
            answers = await answers_to(model, ["a", "b", "c"])
            sizes = [json.loads(bytes(each.content))["size"] for each in answers if isinstance(each, NodeAnswer)]
            assert sizes == ([3, 3, 3] if self.traits.changes_settings else [1, 1, 1])

    @in_event_loop
    async def test_change_accepts_the_settings_in_force(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """It is idempotent, also where no other settings can be had; a model that is unloaded refuses any."""
        settings = NodeSettings(batch_size=2, timeout_ms=5000)
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", OBEDIENT_HANDLER), settings=settings)
            await model.change(settings)
            await model.change(dataclasses.replace(settings, max_workers=7, retry_attempts=3))  # Not for it to change.
            assert await text_of(model, "a") == "a"
            assert model.status == WorkerStatus(wanted=1, ready=1)
            await model.unload()
            with pytest.raises(ModelNotLoaded):
                await model.change(settings)
