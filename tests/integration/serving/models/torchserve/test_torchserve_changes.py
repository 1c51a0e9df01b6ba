"""Changes of one model on a TorchServe that come at the same time: its workers, its registration, its end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.torchserve_models import known
from tests.support.torchserve_servers import open_both
from wfmgmt.serving.models.base import InputField, Model, ModelNotLoaded, NodeRequest
from wfmgmt.testing import ignore, in_event_loop, load, make_model

HANDLER = """
import time

def handle(data, context):
    if data is None:
        return None
    time.sleep(float(data[0]["body"]))
    return ["done"] * len(data)
"""


def a_model(folder: Path, **overrides: Any) -> Model:
    """Return a model that may grow."""
    archive = make_mar(folder, file_name="m.mar", source=HANDLER)
    return make_model(archive, **{"max_workers": 2, **overrides})


def asking(seconds: float) -> NodeRequest:
    """Return a request that takes so long."""
    return NodeRequest("the-id", b"{}", [InputField("body", str(seconds).encode())])


class Gate:
    """Holds up the calls of a fake's method until it is opened."""

    def __init__(self, registry: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        method = getattr(registry, name)
        self._may_go, self._is_reached = asyncio.Event(), asyncio.Event()

        async def wait_and_call(*arguments: Any) -> Any:
            self._is_reached.set()
            await self._may_go.wait()
            return await method(*arguments)

        monkeypatch.setattr(registry, name, wait_and_call)

    async def reached(self) -> None:
        """Wait for the first call."""
        await asyncio.wait_for(self._is_reached.wait(), 30)

    def open(self) -> None:
        """Let all calls through."""
        self._may_go.set()


@in_event_loop
async def test_predictions_wait_while_a_model_is_registered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the number of workers is about to change just then, none reaches a server that has no such model."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await server.load(a_model(tmp_path), on_change=ignore)
        registering = Gate(fake.registry, "register", monkeypatch)
        scaling = Gate(fake.registry, "scale", monkeypatch)
        busy = [model.infer(asking(0.3)) for _ in range(3)]
        await scaling.reached()
        await asyncio.gather(*busy)
        fake.forget_models()
        before = len(fake.requests_of("POST /predictions"))
        checking = asyncio.create_task(server.check(known("uid1"), dry_run=False))
        await asyncio.sleep(0.2)  # The check is where it gets to while the number of workers is being changed.
        asked = [model.infer(asking(0)) for _ in range(3)]
        scaling.open()
        await registering.reached()
        asked += [model.infer(asking(0)) for _ in range(3)]
        await asyncio.wait(asked[3:], timeout=0.5)
        assert not any(answer.done() for answer in asked[3:])
        assert len(fake.requests_of("POST /predictions")) <= before + 3
        registering.open()
        await asyncio.wait_for(asyncio.gather(*asked[3:], checking), 30)


@in_event_loop
async def test_unload_waits_for_no_workers(tmp_path: Path) -> None:
    """A change of scale that would take long is broken off by an unload, and nothing is left on the server."""
    async with open_both(tmp_path) as (server, (fake,)):
        source = "import os, time\n" + HANDLER.replace(
            "        return None\n", f"        {SLOW_START}\n        return None\n"
        )
        archive = make_mar(tmp_path, file_name="m.mar", source=source.replace("FOLDER", repr(str(tmp_path))))
        model = await load(server, archive, max_workers=2)
        scaling = asyncio.create_task(model.scale(2, 2))
        await asyncio.sleep(0.2)  # It waits for a worker that takes a minute to start.
        await asyncio.wait_for(model.unload(), 20)
        with pytest.raises(ModelNotLoaded):
            await scaling
        assert fake.registry.page({})["models"] == []


#: Every worker but the first takes long to start.
SLOW_START = "os.path.exists(FOLDER + '/one') and time.sleep(60); open(FOLDER + '/one', 'w').close()"
