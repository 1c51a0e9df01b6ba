"""A model that does what it is asked on TorchServes, and what is left of it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from tests.support.factories import make_mar
from tests.support.fake_torchserve import FakeTorchServe
from wfmgmt.serving.models.base import InputField, Model, NodeRequest
from wfmgmt.serving.models.protocol import LoadedModel, ModelServer
from wfmgmt.testing import ignore, make_model

#: Answers with its process id, or does what the body says.
HANDLER = """
import os, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        order = bytes(row["body"]).decode()
        if order.startswith("sleep"):
            time.sleep(float(order.split()[1]))
        answers.append(order if order.startswith("echo") else str(os.getpid()))
    return answers
"""
#: File name of its archive.
ARCHIVE = "m.mar"


def a_model(folder: Path, **overrides: Any) -> Model:
    """Return a model of a workflow's registration."""
    return make_model(make_mar(folder, file_name=ARCHIVE, source=HANDLER), **{"timeout_ms": 3000, **overrides})


async def load_a_model(server: ModelServer, folder: Path, **overrides: Any) -> LoadedModel:
    """Load a model of a workflow's registration; see `a_model`."""
    return await server.load(a_model(folder, **overrides), on_change=ignore)


def asking(body: str = "echo") -> NodeRequest:
    """Return a request with this body."""
    return NodeRequest("the-id", b"{}", [InputField("body", body.encode())])


async def text_of(model: LoadedModel, body: str = "echo") -> str:
    """Send the model a request and return its answer."""
    return bytes((await asyncio.wait_for(model.infer(asking(body)), 30)).content).decode()


def names_in(fake: FakeTorchServe) -> list[str]:
    """Return what a fake holds."""
    return [model["modelName"] for model in fake.registry.page({})["models"]]


def hidden_files(folder: Path) -> list[str]:
    """Return the names that were made for archives."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".wfmgmt-")]


def known(*uids: str) -> Callable[[], Awaitable[Collection[str]]]:
    """Return what names these registrations to a check."""

    async def names() -> Collection[str]:
        return uids

    return names
