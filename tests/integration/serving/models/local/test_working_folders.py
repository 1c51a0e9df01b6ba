"""The folders that workers work in, and the unpacked archives behind them."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers, until
from wfmgmt import folders
from wfmgmt.serving.models.base import InputField, ModelNotLoaded, NodeRequest
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load

LARGE = 100_000
#: Does what the body says, as Python, and answers with `result`.
HANDLER = """
import os, sys

def handle(data, context):
    if data is None:
        return None
    values = {"context": context, "result": "done"}
    exec(data[0]["body"].decode(), globals(), values)
    return [str(values["result"])]
"""


async def run(model: LoadedModel, code: str) -> str:
    """Have a worker run some code and return its result."""
    request = NodeRequest("id", b"{}", [InputField("body", code.encode())])
    return bytes((await asyncio.wait_for(model.infer(request), 60)).content).decode()


def make_archive(folder: Path, **overrides: str) -> Path:
    """Write a model with a small and a large file, and one in a folder."""
    extra_files = {"small.txt": "small", "large.bin": "x" * LARGE, "inner/deep/labels.txt": "cat", **overrides}
    return make_mar(folder, source=HANDLER, extra_files=extra_files)


async def kill_worker(model: LoadedModel) -> None:
    """Kill the worker and wait for the next one."""
    pid = int(await run(model, "result = os.getpid()"))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: model.status.ready == 0)
    await until(lambda: model.status.ready == 1, timeout_s=30)


@in_event_loop
async def test_working_folder_has_the_files_of_the_archive(tmp_path: Path) -> None:
    """Relative paths and `model_dir` lead to them, real folders hold them, and large files are there once."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_archive(tmp_path), min_workers=2)
        assert len(servers.unpacked) == 1
        [first, second] = servers.working
        assert await run(model, "result = open('inner/deep/labels.txt').read()") == "cat"
        assert (
            await run(model, "result = open(context.system_properties['model_dir'] + '/small.txt').read()") == "small"
        )
        assert (
            await run(model, "result = os.getcwd() == sys.path[0] == context.system_properties['model_dir']") == "True"
        )
        for folder in (first, second):
            assert (folder / "large.bin").samefile(servers.unpacked[0] / "large.bin")
            assert not (folder / "small.txt").is_symlink()
            assert (folder / "inner" / "deep").is_dir()
            assert not (folder / "inner").is_symlink()


@in_event_loop
async def test_working_folder_is_private(tmp_path: Path) -> None:
    """What a worker writes, adds, replaces or removes, no other one sees, nor the one that comes after it."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_archive(tmp_path), max_workers=1)
        await run(model, "open('small.txt', 'a').write(' no more')")
        await run(model, "os.remove('inner/deep/labels.txt')")
        await run(model, "os.remove('large.bin'); open('large.bin', 'w').write('new'); open('added', 'w').close()")
        assert await run(model, "result = open('small.txt').read() + open('large.bin').read()") == "small no morenew"
        await model.scale(2, 2)
        [other] = [folder for folder in servers.working if not (folder / "added").exists()]
        assert (other / "small.txt").read_text() == "small"
        await model.scale(0, 0)
        await model.scale(1, 1)
        assert (
            await run(model, "result = open('small.txt').read() + open('inner/deep/labels.txt').read()") == "smallcat"
        )
        assert await run(model, "result = os.path.getsize('large.bin'), os.path.exists('added')") == f"({LARGE}, False)"


@in_event_loop
async def test_working_folder_goes_with_its_worker(tmp_path: Path) -> None:
    """Also when its handler took all permissions from it, made it deep, or put links to other places into it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("here")
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_archive(tmp_path))
        [before] = servers.working
        await run(model, f"os.symlink({str(outside)!r}, 'inner/link')")
        await run(model, "os.mkdir('closed'); open('closed/file', 'w').close(); os.chmod('closed', 0)")
        await run(model, "os.makedirs('half/inner'); os.chmod('half', 0o500)")
        await run(
            model,
            "here = os.getcwd()\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nos.chdir(here)",
        )
        await run(model, "os.chmod('.', 0)")
        await kill_worker(model)
        await until(lambda: not os.path.lexists(before), what="the end of the folder")
    assert (outside / "precious").read_text() == "here"
    assert servers.working == []


def rewrite(path: Path) -> None:
    """Change a file that is read-only, and hide it."""
    status = path.stat()
    path.chmod(0o600)
    path.write_bytes(b"x" * status.st_size)
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = [
    pytest.param(lambda tree: rewrite(tree / "handler.py"), "handler.py was changed", id="rewritten"),
    pytest.param(lambda tree: (tree / "large.bin").unlink(), "large.bin was removed", id="removed"),
    pytest.param(lambda tree: (tree / "os.py").write_text("evil"), "os.py was added", id="added"),
    pytest.param(folders.remove_folder, "they cannot be read: No such file or directory", id="all removed"),
]


@pytest.mark.parametrize(("change", "told"), CHANGES)
@in_event_loop
async def test_archive_is_unpacked_again_when_its_files_were_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Path], object], told: str
) -> None:
    """The next worker runs what was registered, and the log says what had happened."""
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_archive(tmp_path))
        [tree] = servers.unpacked
        tree.chmod(0o700)
        change(tree)
        if tree.exists():
            tree.chmod(0o500)
        await kill_worker(model)
        assert await run(model, "result = len(open('large.bin').read())") == str(LARGE)
        assert servers.unpacked == [tree]
        assert oct(tree.stat().st_mode)[-3:] == "500"
        assert oct((tree / "handler.py").stat().st_mode)[-3:] == "400"
    assert "m1.mar is unpacked again, since its files were changed: " in caplog.text
    assert told in caplog.text


@in_event_loop
async def test_all_share_what_is_unpacked_of_the_same_content(tmp_path: Path) -> None:
    """Under whatever name the file has; one whose tree and store file are gone is unpacked again from what is kept."""
    archive = make_archive(tmp_path)
    other = archive.with_name("other.mar")
    other.write_bytes(archive.read_bytes())
    async with open_servers(tmp_path / "u") as servers:
        first = await load(servers.models, archive, uid="one")
        second = await load(servers.models, other, uid="two", version="2.0")
        third = await load(servers.models, archive, uid="three", workflow="x")
        [tree] = servers.unpacked
        other.unlink()
        archive.write_bytes(b"something else")
        folders.remove_folder(tree)
        await kill_worker(second)
        await first.unload()
        await kill_worker(third)
        for model in (second, third):
            assert await run(model, "result = len(open('large.bin').read())") == str(LARGE)
            await model.unload()
        assert servers.unpacked == [tree]


@in_event_loop
async def test_error_says_that_files_and_archive_were_changed(tmp_path: Path) -> None:
    """When neither what is kept nor the file in the store is the archive, nothing runs, and the reason says so."""
    archive = make_archive(tmp_path)
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, archive)
        pid = int(await run(model, "result = os.getpid()"))
        [tree] = servers.unpacked
        folders.remove_folder(tree)
        (tree.parent / "archive").unlink()
        archive.write_bytes(b"something else")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: "registered" in (model.status.error or ""))
        error = model.status.error or ""
        assert error.startswith(
            "its unpacked files were changed (they cannot be read: No such file or directory), and m1.mar is not"
        )
        with pytest.raises(ModelNotLoaded):
            await model.scale(2, 2)


@in_event_loop
async def test_large_archive_makes_start_up_little_longer(tmp_path: Path) -> None:
    """A worker of an archive with 10,000 entries comes up."""
    entries = {f"data/{number % 100}/{number}.txt": "0123456789" for number in range(9_990)}
    async with open_servers(tmp_path / "u") as servers:
        model = await load(servers.models, make_archive(tmp_path, **entries), min_workers=2)
        assert await run(model, "result = sum(len(names) for _, _, names in os.walk('data'))") == "9990"
