"""Handlers whose exceptions and answers misbehave when they are looked at: their workers live on."""

from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers
from wfmgmt.serving.models.base import InputField, NodeRequest, PredictionFailed
from wfmgmt.testing import in_event_loop, load

HANDLER = """
import os

class Exits(Exception):
    def __str__(self):
        raise SystemExit(7)

class Hides(Exception):
    @property
    def message(self):
        raise ValueError("no message")

class Text:
    def __str__(self):
        raise ValueError("no text")

class PredictionException(Exception):
    def __init__(self, message, error_code):
        self.message, self.error_code = message, error_code

class Code(int):
    def __ge__(self, other):
        raise ValueError("no comparing")

class Uncounted(list):
    def __len__(self):
        raise SystemExit(8)

class Unsent(str):
    def encode(self):
        raise SystemExit(9)

def handle(data, context):
    if data is None:
        return None
    order = data[0]["body"].decode()
    if order == "exits":
        raise Exits
    if order == "hides":
        raise Hides("hidden")
    if order == "text":
        raise PredictionException(Text(), 450)
    if order == "code":
        raise PredictionException("bad", Code(450))
    if order == "uncounted":
        return Uncounted(["x"])
    if order == "unsent":
        return [Unsent("x")]
    return [str(os.getpid())]
"""


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("exits", "Exits: (its text cannot be read)"),
        ("hides", "Hides: hidden"),
        ("text", "PredictionException: "),
        ("code", "PredictionException: "),
        ("uncounted", "SystemExit: 8"),
        ("unsent", "its answer cannot be sent: SystemExit: 9"),
    ],
)
@in_event_loop
async def test_worker_survives_what_its_handler_raises(tmp_path: Path, order: str, reason: str) -> None:
    """The request fails with what can be said of the error, and the same worker answers the next one."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=HANDLER), max_workers=1)
        before = await model.infer(_request("pid"))
        with pytest.raises(PredictionFailed) as raised:
            await model.infer(_request(order))
        after = await model.infer(_request("pid"))
    assert raised.value.reason.startswith(reason)
    assert bytes(after.content) == bytes(before.content)


def _request(order: str) -> NodeRequest:
    return NodeRequest("id", b"{}", [InputField("body", order.encode())])
