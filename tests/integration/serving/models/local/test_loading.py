"""Handlers of all forms and faults, loaded by real worker processes."""

import asyncio
import errno
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support.factories import CLASS_HANDLER, make_mar, make_war
from tests.support.model_servers import (
    KEPT,
    LocalServers,
    describe_mar,
    is_running,
    kept_below,
    load_functions,
    make_function,
    open_descriptors,
    open_servers,
    unpack,
    until,
)
from wfmgmt import __version__
from wfmgmt.errors import InvalidArchive
from wfmgmt.serving.models.base import ModelNotLoaded, WorkerStatus
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient
from wfmgmt.serving.models.local.model import LocalParts
from wfmgmt.serving.models.local.server import LocalModelServer
from wfmgmt.serving.models.local.trees import ArchiveKind
from wfmgmt.testing import ignore, in_event_loop, load
from wfmgmt.testing.models import GOOD_HANDLER


def report_to(path: Path, expression: str) -> str:
    """Return a handler that writes a value to a file when it is loaded, one line of JSON each time."""
    return (
        "import json, os, sys\n"
        "def handle(data, context):\n"
        f"    with open({str(path)!r}, 'a') as report:\n"
        f"        print(json.dumps({expression}), file=report)\n"
    )


def read_report(path: Path) -> list[Any]:
    """Return what handlers have written."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def check_nothing_left(servers: LocalServers, folder: Path) -> None:
    """Check that a failed load left no workers, and harmed nothing that other models need."""
    assert servers.working == []
    model = await load(servers.models, make_mar(folder, name="good", source=GOOD_HANDLER))
    assert model.status.ready == 1


@pytest.mark.parametrize(
    ("handler", "source"),
    [
        pytest.param("h.py", CLASS_HANDLER, id="class"),
        pytest.param("h", CLASS_HANDLER, id="class, no suffix"),
        pytest.param("h.py", "class Options:\n    pass\n" + CLASS_HANDLER, id="one of two classes has handle"),
        pytest.param("h.py", "from json import JSONDecoder\n" + CLASS_HANDLER, id="imported class besides"),
        pytest.param("h.py:Handler", CLASS_HANDLER + "class Other(Handler):\n    pass\n", id="class by name"),
        pytest.param("h.py", "class Handler:\n    def handle(self, data, context): ...\n", id="class, no initialize"),
        pytest.param("h.py", GOOD_HANDLER, id="function handle"),
        pytest.param("h.py:run", "def run(data, context): ...\n", id="module.py:function"),
        pytest.param("h:run", "def run(data, context): ...\n", id="module:function"),
        pytest.param("h.py:nosuch", CLASS_HANDLER, id="unknown function, but a class"),
        pytest.param("json.py", GOOD_HANDLER, id="name of a loaded module"),
        pytest.param("time.py", GOOD_HANDLER, id="name of a built-in module"),
    ],
)
@in_event_loop
async def test_load_finds_the_entry_point(tmp_path: Path, handler: str, source: str) -> None:
    """Handler strings and modules of every documented form come up."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, handler=handler, source=source))
        assert model.status == WorkerStatus(wanted=1, ready=1)


@in_event_loop
async def test_load_drops_the_folder_of_the_handler(tmp_path: Path) -> None:
    """A handler that was archived from a sub-folder lies at the top of the archive."""
    manifest = {"model": {"modelName": "m", "handler": "pkg/h.py"}}
    archive = make_mar(tmp_path, handler="h.py", source=GOOD_HANDLER, manifest=manifest)
    async with open_servers(tmp_path / "unpacked") as servers:
        await load(servers.models, archive)


@in_event_loop
async def test_load_gives_the_handler_its_context(tmp_path: Path) -> None:
    """The context has the name, the manifest and the properties that TorchServe's handlers read."""
    report = tmp_path / "report"
    archive = make_mar(
        tmp_path,
        handler="h.py",
        source=report_to(report, "[context.model_name, context.manifest, context.system_properties, data]"),
    )
    async with open_servers(tmp_path / "unpacked") as servers:
        await load(servers.models, archive, batch_size=3)
        [(name, manifest, properties, data)] = read_report(report)
        assert Path(properties.pop("model_dir")) in servers.working
    assert (name, manifest["model"]["handler"], data) == ("w__m", "h.py", None)
    assert properties == {
        "gpu_id": None,
        "batch_size": 3,
        "server_name": "wfmgmt",
        "server_version": __version__,
        "limit_max_image_pixels": True,
    }


@in_event_loop
async def test_load_runs_the_handler_in_its_folder(tmp_path: Path) -> None:
    """The worker's own folder has the archive's files and is the first place for imports, so that these are found."""
    report = tmp_path / "report"
    source = "import labels\n" + report_to(report, "[labels.ALL, open('vocabulary.txt').read(), os.getcwd()]")
    extra_files = {"labels.py": "ALL = ['cat']\n", "vocabulary.txt": "meow"}
    archive = make_mar(tmp_path, handler="h.py", source=source, extra_files=extra_files)
    async with open_servers(tmp_path / "unpacked") as servers:
        await load(servers.models, archive)
        assert read_report(report) == [[["cat"], "meow", str(servers.working[0].resolve())]]


@in_event_loop
async def test_load_starts_a_worker_with_nothing_of_the_runtime(tmp_path: Path) -> None:
    """A worker has one open descriptor besides its standard streams, an empty input and none of our packages."""
    report = tmp_path / "report"
    facts = (
        "[len(os.listdir('/dev/fd')) - 2, sys.stdin.read(), os.getpgid(0) == os.getpid(),"
        " sorted({'asyncio', 'flask', 'sqlalchemy', 'aiohttp', 'pydantic'} & set(sys.modules))]"
    )
    async with open_servers(tmp_path / "unpacked") as servers:
        await load(servers.models, make_mar(tmp_path, source=report_to(report, facts)))
    # The listing and the report are open while the descriptors are counted.
    assert read_report(report) == [[4, "", True, []]]


FAULTS = [
    pytest.param("import nosuch", "ModuleNotFoundError: No module named 'nosuch'", id="import fails"),
    pytest.param("def handle(:", r"SyntaxError: invalid syntax \(handler\.py, line 1\)", id="syntax error"),
    pytest.param(CLASS_HANDLER.replace("self.context = context", "1 / 0"), "ZeroDivisionError: division by zero"),
    pytest.param("raise SystemExit(3)", "SystemExit: 3", id="SystemExit"),
    pytest.param("raise KeyboardInterrupt", "KeyboardInterrupt", id="KeyboardInterrupt"),
    pytest.param("import os; os._exit(3)", "worker exited with code 3 while loading", id="os._exit"),
    pytest.param("import os; os._exit(0)", "worker exited with code 0 while loading", id="os._exit(0)"),
    pytest.param(
        "import ctypes; ctypes.string_at(0)", "worker was killed by SIGSEGV while loading", id="segmentation fault"
    ),
    pytest.param("import os; os.kill(os.getpid(), 9)", "worker was killed by SIGKILL while loading", id="kills itself"),
    pytest.param("import os; os.killpg(0, 15)", "worker was killed by SIGTERM while loading", id="kills its group"),
    pytest.param(
        "import os; os.closerange(0, 256)", "worker exited with code 1 while loading", id="closes all descriptors"
    ),
    pytest.param(
        "import os\nfor fd in range(3, 256):\n    try: os.write(fd, b'x' * 99)\n    except OSError: pass",
        "broken connection to the worker: header of 2021161080 bytes",
        id="writes to all descriptors",
    ),
    pytest.param("x = 1", "handler.py has neither a function handle nor a class with a method handle", id="empty"),
    pytest.param(
        CLASS_HANDLER + "class Another(Handler):\n    pass\n",
        "handler.py has several classes with a method handle: Another, Handler",
        id="several classes",
    ),
    pytest.param(None, r"handler file handler\.py is not in the archive", id="no file"),
    pytest.param("open(__file__ + '.x')", "FileNotFoundError: .* directory: 'm1.mar/handler.py.x'", id="host path"),
]


@pytest.mark.parametrize(("source", "reason"), FAULTS)
@in_event_loop
async def test_load_error_says_what_is_wrong_with_a_handler(tmp_path: Path, source: str | None, reason: str) -> None:
    """A handler that misbehaves while it is loaded fails that load, with a reason, and nothing else."""
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded, match=f"^m: {reason}") as raised:
            await load(servers.models, make_mar(tmp_path, source=source))
        assert str(tmp_path) not in str(raised.value)
        await check_nothing_left(servers, tmp_path)


@in_event_loop
async def test_load_says_that_torchserve_is_missing_when_a_built_in_handler_is_asked_for(tmp_path: Path) -> None:
    """A bare name without a file is a handler of torchserve, which is not installed here."""
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded, match=r"image_classifier\.py is not in the archive, and torchserve"):
            await load(servers.models, make_mar(tmp_path, handler="image_classifier", source=None))


@in_event_loop
async def test_load_logs_the_traceback_of_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the whole traceback, with workflow and node, and the caller does not."""
    archive = make_mar(tmp_path, source="def helper():\n    raise ValueError('bad weights')\nhelper()\n")
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded) as raised:
            await load(servers.models, archive)
    assert raised.value.reason == "ValueError: bad weights"
    [record] = [record for record in caplog.records if "traceback" in record.__dict__]
    assert "in helper" in record.__dict__["traceback"]
    assert (record.__dict__["workflow"], record.__dict__["node"]) == ("w", "m")


@in_event_loop
async def test_load_logs_what_a_handler_prints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Both streams, and the last words of a worker that dies, come with workflow and node."""
    caplog.set_level(logging.INFO, logger="wfmgmt.handler")
    source = "import os, sys\nprint('out \\u2713')\nprint('err', file=sys.stderr)\nos.write(1, b'last')\nos._exit(1)\n"
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded):
            await load(servers.models, make_mar(tmp_path, source=source))
    records = [record for record in caplog.records if record.name == "wfmgmt.handler"]
    assert [record.getMessage() for record in records] == ["out ✓", "err", "last"]
    assert {(record.__dict__["workflow"], record.__dict__["node"]) for record in records} == {("w", "m")}


@pytest.mark.parametrize("line_chars", [100, 5_000_000], ids=["in lines", "in one line"])
@in_event_loop
async def test_load_survives_a_flood_of_output(tmp_path: Path, line_chars: int) -> None:
    """A handler that prints 5 MB while it is loaded comes up."""
    source = f"for _ in range(5_000_000 // {line_chars}):\n    print('x' * {line_chars})\n" + GOOD_HANDLER
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        assert model.status.ready == 1


@in_event_loop
async def test_load_survives_a_copy_of_the_worker(tmp_path: Path) -> None:
    """A handler that forks and lets the copy run on does not give the worker two voices."""
    source = "import os\ndef handle(data, context):\n    os.fork()\n"
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        await model.scale(2, 2)
        assert model.status == WorkerStatus(wanted=2, ready=2)


@in_event_loop
async def test_functions_have_a_process_each(tmp_path: Path) -> None:
    """Each is called once, with no data, no manifest and its own name; the archive is unpacked once for all."""
    report = tmp_path / "report"
    source = report_to(report, "[os.getpid(), data, context.manifest, context.model_name]")
    source += (
        "def pre(data, context):\n    handle(data, context)\ndef post(data, context):\n    handle(data, context)\n"
    )
    async with open_servers(tmp_path / "unpacked") as servers:
        pre, post = await load_functions(servers, make_war(tmp_path, handler=source), "pre", "post", max_workers=1)
        assert pre.status == post.status == WorkerStatus(wanted=1, ready=1)
        assert (len(servers.unpacked), len(servers.working)) == (1, 2)
        await pre.unload()
        assert (len(servers.unpacked), len(servers.working)) == (1, 1)
        await post.unload()
        assert (len(servers.unpacked), servers.working) == (1, [])
    (first_pid, *first), (second_pid, *second) = sorted(read_report(report), key=lambda line: str(line[3]))
    assert first_pid != second_pid
    assert (first, second) == ([None, None, "w__post"], [None, None, "w__pre"])


@in_event_loop
async def test_functions_are_refused_when_their_archive_is_gone(tmp_path: Path) -> None:
    """The reason names the archive, not its folder."""
    function = make_function(make_war(tmp_path, name="seq"), "pre_processing")
    function.archive.unlink()
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded) as raised:
            await servers.functions.load(function, on_change=ignore)
    assert (raised.value.node, raised.value.reason) == ("pre_processing", "Workflow archive not found at: seq.war")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(InvalidArchive("it is not a zip archive"), "m1.mar: it is not a zip archive", id="invalid"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device"),
            "m1.mar cannot be unpacked: No space left on device",
            id="disk full",
        ),
    ],
)
@in_event_loop
async def test_load_fails_when_the_archive_cannot_be_unpacked(tmp_path: Path, error: Exception, reason: str) -> None:
    """What went wrong is the reason and the cause, and what was unpacked until then is removed."""

    def unpack_and_fail(content: BinaryIO, folder: Path | None) -> None:
        unpack(content, folder)
        raise error

    folder = tmp_path / "unpacked"
    parts = LocalParts(forkserver=ForkserverClient(), folder=folder, kept=kept_below(folder))
    server = LocalModelServer(parts, ArchiveKind(name="Model", unpack=unpack_and_fail, describe=describe_mar))
    with pytest.raises(ModelNotLoaded) as raised:
        await load(server, make_mar(tmp_path))
    assert (raised.value.reason, raised.value.__cause__) == (reason, error)
    assert [path.name for path in (folder / KEPT / "sha256").iterdir()] == []


@in_event_loop
async def test_unload_leaves_nothing(tmp_path: Path) -> None:
    """No process, no descriptor and no file of a model outlives its unload."""
    report = tmp_path / "report"
    archive = make_mar(tmp_path, source=report_to(report, "os.getpid()"))
    async with open_servers(tmp_path / "unpacked") as servers:
        await (await load(servers.models, archive, uid="first")).unload()
        descriptors = open_descriptors()
        models = [await load(servers.models, archive, uid=uid, min_workers=3) for uid in ("a", "b")]
        assert open_descriptors() == descriptors + 2 * 3 * 3
        for model in models:
            await model.unload()
        assert not any(is_running(pid) for pid in read_report(report))
        assert open_descriptors() == descriptors
        assert servers.working == []


@in_event_loop
async def test_unload_does_not_wait_long_for_a_worker_that_does_not_react(tmp_path: Path) -> None:
    """A stopped process reacts to neither message nor SIGTERM, and is killed."""
    report = tmp_path / "report"
    archive = make_mar(tmp_path, source=report_to(report, "os.getpid()"))
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, archive)
        [pid] = read_report(report)
        os.kill(pid, signal.SIGSTOP)
        await model.unload()
        assert not is_running(pid)


@pytest.mark.parametrize(
    "arguments", ["", "start_new_session=True"], ids=["in the worker's group", "in a session of its own"]
)
@in_event_loop
async def test_unload_ends_the_children_of_a_worker(tmp_path: Path, arguments: str) -> None:
    """A process that a handler started does not outlive its worker, even when it tries."""
    report = tmp_path / "report"
    source = "import subprocess\n" + report_to(report, f"subprocess.Popen(['sleep', '60'], {arguments}).pid")
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source))
        [child] = read_report(report)
        assert is_running(child)
        await model.unload()
        await until(lambda: not is_running(child))


@in_event_loop
async def test_twenty_models_load_at_once(tmp_path: Path) -> None:
    """Loads at the same time neither disturb nor exhaust anything."""
    archive = make_mar(tmp_path, source=CLASS_HANDLER)
    async with open_servers(tmp_path / "unpacked") as servers:
        models = await asyncio.gather(*(load(servers.models, archive, uid=f"uid{number}") for number in range(20)))
        assert all(model.status.ready == 1 for model in models)
        await asyncio.gather(*(model.unload() for model in models))
        assert servers.working == []


@in_event_loop
async def test_check_finds_nothing_and_reads_no_registry(tmp_path: Path) -> None:
    """Nothing else changes what runs in processes of our own, so the registrations need not be read for it."""

    async def read() -> list[str]:
        raise AssertionError("the registry was read")

    async with open_servers(tmp_path) as servers:
        assert not await servers.models.check(read, dry_run=False)
        assert not await servers.functions.check(read, dry_run=True)
