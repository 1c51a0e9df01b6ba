"""The threads of libraries, as handlers find them."""

import json
import os
from pathlib import Path
from typing import Any

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers
from wfmgmt.domain.threads import THREAD_VARIABLES, ThreadPolicy
from wfmgmt.serving.models.base import InputField, NodeRequest
from wfmgmt.serving.models.local.forkserver_client import WorkerEnvironment
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load

#: Notes what the environment says when the handler is imported, as libraries do, and whether torch was there before.
HANDLER = f"""
import os, sys

FOUND = {{name: os.environ.get(name) for name in {THREAD_VARIABLES}}}
PRELOADED = "torch" in sys.modules

def handle(data, context):
    if data is None:
        return None
    import torch
    return [{{"found": FOUND, "preloaded": PRELOADED, "torch": torch.threads}}]
"""
#: Has as many threads as it was given, or else as many as the environment says when it is imported.
FAKE_TORCH = """
import os

threads = os.environ.get("OMP_NUM_THREADS")

def set_num_threads(number):
    global threads
    threads = number

def manual_seed(seed):
    pass

class Tensor:
    pass
"""


async def ask(model: LoadedModel) -> Any:
    """Return what the worker of a model found."""
    return json.loads((await model.infer(NodeRequest("id", b"{}", [InputField("body", b"")]))).content)


def every(threads: int) -> dict[str, str]:
    """Return the variables when all of them have a number."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


@in_event_loop
async def test_handler_finds_its_part_of_the_cores(tmp_path: Path) -> None:
    """It finds it when it is imported; workers that start after a change of their number find the new one."""
    archive = make_mar(tmp_path, source=HANDLER, extra_files={"torch.py": FAKE_TORCH})
    async with open_servers(tmp_path / "u", threads=ThreadPolicy(cores=6)) as servers:
        model = await load(servers.models, archive, min_workers=1, max_workers=3)
        assert await ask(model) == {"found": every(2), "preloaded": False, "torch": "2"}
        await model.scale(0, 0)
        await model.scale(1, 6)
        assert (await ask(model))["found"] == every(1)
        chosen = await load(servers.models, archive, uid="uid2", threads=4)
        assert (await ask(chosen))["found"] == every(4)


@in_event_loop
async def test_preloaded_torch_is_given_the_number(tmp_path: Path) -> None:
    """It has read the environment in another process."""
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    environment = WorkerEnvironment(environment={**os.environ, "PYTHONPATH": str(tmp_path)}, preload=("torch",))
    archive = make_mar(tmp_path, source=HANDLER)
    policy = ThreadPolicy(cores=6)
    async with open_servers(tmp_path / "u", worker_environment=environment, threads=policy) as servers:
        model = await load(servers.models, archive, max_workers=2)
        assert await ask(model) == {"found": every(3), "preloaded": True, "torch": 3}


@in_event_loop
async def test_handler_keeps_what_the_operator_set(tmp_path: Path) -> None:
    """One of the variables is enough: the others would contradict it."""
    inherited = {"OMP_NUM_THREADS": "5"}
    environment = WorkerEnvironment(environment={**os.environ, **inherited})
    archive = make_mar(tmp_path, source=HANDLER, extra_files={"torch.py": FAKE_TORCH})
    policy = ThreadPolicy(cores=6, inherited=inherited)
    async with open_servers(tmp_path / "u", worker_environment=environment, threads=policy) as servers:
        model = await load(servers.models, archive, max_workers=2)
        assert (await ask(model))["found"] == {**dict.fromkeys(THREAD_VARIABLES), **inherited}
