"""What requests to models on TorchServe leave behind when they end badly: nothing."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import until
from tests.support.torchserve_servers import open_both
from wfmgmt.serving.models.base import InputField, NodeRequest
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load

#: Fails, or takes longer than it may.
SOURCE = """\
import time
def handle(data, context):
    if data is None:
        return None
    if bytes(data[0]["body"]) != b"fail":
        time.sleep(3)
    raise ValueError("no")
"""


class Body(bytearray):
    """The bytes of a request, which a weak reference can be made to."""


async def ask(model: LoadedModel, body: Body) -> str:
    """Ask the model; return the name of its error."""
    try:
        await model.infer(NodeRequest("id", b"{}", [InputField("body", body)]))
    except BaseException as error:  # noqa: BLE001 - the test compares the type of any error
        return type(error).__name__
    return ""


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("fail", "PredictionFailed"),
        ("hang", "PredictionFailed"),
        ("cancel", "CancelledError"),
        ("unreachable", "NoWorker"),
    ],
)
@in_event_loop
async def test_request_that_fails_frees_its_body(tmp_path: Path, word: str, error: str) -> None:
    """Without a run of the cycle collector, as soon as the connection has let go of it."""
    archive = make_mar(tmp_path, name="m", source=SOURCE)
    async with open_both(tmp_path) as (models, (fake,)):
        model = await load(models, archive, timeout_ms=1000)
        if word == "unreachable":
            await fake.refuse()
        gc.collect()
        gc.disable()
        try:
            body = Body(word.encode())
            freed = weakref.ref(body)
            asking = asyncio.create_task(ask(model, body))
            del body
            if word == "cancel":
                await asyncio.sleep(0.2)
                asking.cancel()
            assert await asking == error
            await until(lambda: freed() is None, what="the end of the body")
        finally:
            gc.enable()
