"""Functions of workflows: one process each, in a folder of its own."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.factories import make_war
from tests.support.model_servers import load_functions, open_servers
from wfmgmt.serving.models.base import InputField, NodeRequest, WorkerStatus
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop

#: Writes what it gets to a file with a fixed name, works on it, and reads it back.
FIXED_NAME = """
import time

def pre(data, context):
    if data is None:
        return None
    with open("temp.bin", "wb") as file:
        file.write(data[0]["body"])
    time.sleep(0.02)
    with open("temp.bin", "rb") as file:
        return [file.read()]
"""
#: Counts its calls, holds a port during each, changes its folder and environment, and tells what it finds.
STATEFUL = """
import os, socket, time

calls = 0
port = None

def run(data, context):
    global calls, port
    if data is None:
        return None
    found = [os.getcwd(), os.environ.get("SEEN"), calls, os.getpid()]
    calls += 1
    os.environ["SEEN"] = context.model_name
    os.makedirs("inner", exist_ok=True)
    os.chdir(context.system_properties["model_dir"] + "/inner")
    with socket.socket() as server:
        server.bind(("127.0.0.1", port or 0))
        port = server.getsockname()[1]
        time.sleep(0.02)
    return [found]

first = second = run
"""
MEETING = """
import os, time

def meet(data, context):
    if data is None:
        return None
    open(FOLDER + "/" + context.model_name, "w").close()
    while len(os.listdir(FOLDER)) < 3:
        time.sleep(0.01)
    return [str(os.getpid())]

a = b = c = meet
"""


async def ask(function: LoadedModel, body: bytes = b"a") -> bytes:
    """Return what a function answers."""
    request = NodeRequest("id", b"{}", [InputField("body", body)])
    return bytes((await asyncio.wait_for(function.infer(request), 60)).content)


@in_event_loop
async def test_function_with_a_fixed_file_name_gives_everybody_their_own(tmp_path: Path) -> None:
    """Of 40 clients at once nobody gets another one's data: one process, one call at a time."""
    async with open_servers(tmp_path / "u") as servers:
        [pre] = await load_functions(servers, make_war(tmp_path, handler=FIXED_NAME), "pre", max_workers=1)
        bodies = [b"client %d" % number for number in range(40)]
        assert await asyncio.gather(*(ask(pre, body) for body in bodies)) == bodies
        assert pre.status == WorkerStatus(wanted=1, ready=1)


@in_event_loop
async def test_workers_of_one_function_have_folders_of_their_own(tmp_path: Path) -> None:
    """Where several are allowed, the same holds: each has its own `temp.bin`."""
    async with open_servers(tmp_path / "u") as servers:
        [pre] = await load_functions(
            servers, make_war(tmp_path, handler=FIXED_NAME), "pre", min_workers=3, max_workers=3
        )
        bodies = [b"client %d" % number for number in range(40)]
        assert await asyncio.gather(*(ask(pre, body) for body in bodies)) == bodies


@in_event_loop
async def test_functions_see_nothing_of_each_other(tmp_path: Path) -> None:
    """Globals, working folder and environment of one function are the other's business; its own it finds again."""
    async with open_servers(tmp_path / "u") as servers:
        names = ("first", "second")
        functions = await load_functions(servers, make_war(tmp_path, handler=STATEFUL), *names, max_workers=1)
        pids = set()
        for name, function in zip(names, functions, strict=True):
            told: list[list[Any]] = [
                json.loads(answer) for answer in await asyncio.gather(*(ask(function) for _ in range(8)))
            ]
            assert [calls for _, _, calls, _ in told] == list(range(8))
            assert [seen for _, seen, _, _ in told] == [None, *[f"w__{name}"] * 7]
            assert [Path(folder).name == "inner" for folder, *_ in told] == [False, *[True] * 7]
            assert len({pid for *_, pid in told}) == 1
            pids.add(told[0][3])
        assert len(pids) == len(names)


@in_event_loop
async def test_functions_run_at_the_same_time(tmp_path: Path) -> None:
    """Branches that wait for each other meet."""
    folder = tmp_path / "meeting"
    folder.mkdir()
    source = MEETING.replace("FOLDER", repr(str(folder)))
    async with open_servers(tmp_path / "u") as servers:
        functions = await load_functions(servers, make_war(tmp_path, handler=source), "a", "b", "c", max_workers=1)
        assert len(set(await asyncio.gather(*map(ask, functions)))) == len("abc")
