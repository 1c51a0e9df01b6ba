"""Handler strings of every form that Python can load, found by real worker processes."""

import py_compile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.factories import CLASS_HANDLER, make_mar
from tests.support.model_servers import open_servers
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import InputField, ModelNotLoaded, NodeRequest, PredictionFailed, WorkerStatus
from wfmgmt.testing import in_event_loop, load
from wfmgmt.testing.models import GOOD_HANDLER

#: Handler strings with the files of their archives, all of which TorchServe loads but for the last three.
_PATHS = [
    pytest.param("my-handler.py", {"my-handler.py": GOOD_HANDLER}, id="hyphen"),
    pytest.param("3d-unet.py", {"3d-unet.py": GOOD_HANDLER}, id="digit"),
    pytest.param("my handler.py", {"my handler.py": GOOD_HANDLER}, id="space"),
    pytest.param("处理-1.py", {"处理-1.py": GOOD_HANDLER}, id="unicode"),
    pytest.param("__init__.py", {"__init__.py": GOOD_HANDLER}, id="init"),
    pytest.param("pkg", {"pkg/__init__.py": GOOD_HANDLER}, id="package"),
    pytest.param("pkg.py", {"pkg/__init__.py": GOOD_HANDLER}, id="package with suffix"),
    pytest.param("pkg.mod:handle", {"pkg/__init__.py": "", "pkg/mod.py": GOOD_HANDLER}, id="module of a package"),
    pytest.param("pkg.mod:handle", {"pkg/mod.py": GOOD_HANDLER}, id="module of a namespace package"),
    pytest.param(
        "pkg.sub.mod",
        {
            "pkg/__init__.py": "",
            "pkg/sub/mod.py": "from ..labels import ALL\n" + GOOD_HANDLER,
            "pkg/labels.py": "ALL = 1",
        },
        id="relative imports",
    ),
    pytest.param(
        "json.tool", {"json/__init__.py": "ALL = 1", "json/tool.py": "from json import ALL\n" + GOOD_HANDLER}, id="json"
    ),
    pytest.param(
        "pkg.mod",
        {
            "pkg/__init__.py": "",
            "pkg/mod.py": "import pkg.other\npkg.other.ALL\n" + GOOD_HANDLER,
            "pkg/other.py": "ALL = 1",
        },
        id="absolute imports",
    ),
    pytest.param("sub/dir/h.py", {"h.py": GOOD_HANDLER}, id="folder that is not there"),
    pytest.param(
        "sub/dir/h.py:handle", {"sub/dir/h.py": "import labels\n" + GOOD_HANDLER, "sub/dir/labels.py": ""}, id="folder"
    ),
    pytest.param("./h.py", {"h.py": GOOD_HANDLER}, id="dot"),
    pytest.param("h.py:", {"h.py": GOOD_HANDLER}, id="no function"),
    pytest.param("h.py:Handler.handle", {"h.py": CLASS_HANDLER}, id="method"),
    pytest.param("operator:is_", {}, id="installed module"),
    pytest.param("sub/dir/h.py", {"sub/dir/h.py": GOOD_HANDLER}, id="folder, no function"),
    pytest.param("my.handler.py", {"my.handler.py": GOOD_HANDLER}, id="dots in the name"),
    pytest.param("my.handler.py:handle", {"my/x.txt": "", "my.handler.py": GOOD_HANDLER}, id="dots, and such a folder"),
]


@pytest.mark.parametrize(("handler", "files"), _PATHS)
@in_event_loop
async def test_load_finds_every_module_that_python_can_load(
    tmp_path: Path, handler: str, files: Mapping[str, str]
) -> None:
    """Names with dots, hyphens, spaces and any letters, packages, and folders of the archive lead to their module."""
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, handler=handler, source=None, extra_files=files))
        assert model.status == WorkerStatus(wanted=1, ready=1)


@in_event_loop
async def test_load_finds_a_handler_that_comes_compiled(tmp_path: Path) -> None:
    """A handler whose source is kept back is found by its byte code, as Python finds it."""
    source, compiled = tmp_path / "secret.py", tmp_path / "secret.pyc"
    source.write_text(GOOD_HANDLER)
    py_compile.compile(str(source), cfile=str(compiled), doraise=True)
    async with open_servers(tmp_path / "unpacked") as servers:
        files = {"secret.pyc": compiled.read_bytes()}
        await load(servers.models, make_mar(tmp_path, handler="secret", source=None, extra_files=files))


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("other.py", "handler file other.py is not in the archive"),
        ("h.other:handle", "handler file h.other.py is not in the archive"),
        ("h.py:nosuch", "h.py has neither a function nosuch nor a class with a method handle"),
        ("../../h2.py", "handler file h2.py is not in the archive"),
        ("app", "handler file app.py is not in the archive, and torchserve"),
        (
            "nosuch",
            "handler file nosuch.py is not in the archive, and torchserve, which may have a handler of that name,",
        ),
    ],
    ids=["file", "not a package", "function", "outside", "of the service", "built in"],
)
@in_event_loop
async def test_load_error_names_a_handler_that_does_not_exist(tmp_path: Path, handler: str, reason: str) -> None:
    """The reason names what is missing, and the fault is that of the archive and not of its code."""
    files = {"h.py": GOOD_HANDLER}
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded) as raised:
            await load(servers.models, make_mar(tmp_path, handler=handler, source=None, extra_files=files))
    assert raised.value.reason.startswith(reason)
    assert raised.value.fault is Fault.ARCHIVE


@in_event_loop
async def test_load_error_names_the_module_that_a_handler_lacks(tmp_path: Path) -> None:
    """A module that the handler itself lacks is named; that is a failure of the handler."""
    archive = make_mar(tmp_path, handler="pkg.h", source=None, extra_files={"pkg/h.py": "import nosuch"})
    async with open_servers(tmp_path / "unpacked") as servers:
        with pytest.raises(ModelNotLoaded, match="ModuleNotFoundError: No module named 'nosuch'") as raised:
            await load(servers.models, archive)
    assert raised.value.fault is Fault.MODEL


@in_event_loop
async def test_prediction_error_says_what_the_archive_lists(tmp_path: Path) -> None:
    """A handler may import when it is asked; the error says as much as one of its load."""
    source = "def handle(data, context):\n    if data:\n        import nosuch\n"
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source, requirements="nosuch>=2"))
        with pytest.raises(PredictionFailed) as raised:
            await model.infer(NodeRequest("id", b"{}", [InputField("body", b"x")]))
    assert raised.value.reason == (
        "ModuleNotFoundError: No module named 'nosuch'; requirements.txt of its archive lists what is not installed: "
        "nosuch>=2 (WFMGMT_MODEL_REQUIREMENTS is ignore: install would install it, check would refuse the archive)"
    )
