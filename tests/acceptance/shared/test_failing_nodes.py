"""Registrations whose nodes do not come up: what is answered, what is logged, and that nothing is left."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.evidence import assert_error, assert_failure_is_audited, assert_json, nothing_left, ready_workers
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

Write = Callable[[Path], Path]
FAILED = (500, "WorkflowException")
NOT_LOADABLE = (400, "WorkflowException")
TAIL = "\ndef handle(data, context):\n    return None\n"
INITIALIZE = """
class Handler:
    def initialize(self, context):
        {line}

    def handle(self, data, context):
        return data
"""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """One way to fail.

    Attributes:
        name: What fails.
        reason: How the node's reason starts.
        answer: Status and type.
        write: Writes the model's archive into the model store, None for no file at all.
        url: What the spec names as the model's archive.
        traceback: What the log shows of the failure; nothing when no code was run.
        parameters: More parameters of the registration.
    """

    name: str
    reason: str
    answer: tuple[int, str] = FAILED
    write: Write | None = None
    url: str = "bad.mar"
    traceback: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def mar(**overrides: Any) -> Write:
    """Write a model archive."""
    return lambda folder: make_mar(folder, name="bad", **overrides)


def code(name: str, reason: str, source: str, *, traceback: str = "", **more: Any) -> Failing:
    """Return a model whose code fails."""
    return Failing(name=name, reason=reason, write=mar(source=source), traceback=traceback, **more)


def broken(name: str, reason: str, write: Write | None = None, url: str = "bad.mar") -> Failing:
    """Return a model whose archive tells that it is of no use."""
    return Failing(name=name, reason=reason, answer=NOT_LOADABLE, write=write, url=url)


def cut(folder: Path) -> Path:
    """Write the first half of an archive."""
    path = make_mar(folder, name="bad")
    path.write_bytes(path.read_bytes()[:100])
    return path


def damaged(folder: Path) -> Path:
    """Write an archive in which one member that only the handler would read is damaged."""
    path = make_mar(folder, name="bad")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights.bin", b"weights" * 100, compress_type=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"weightsweights", b"weightsWEIGHTS", 1))
    return path


def bomb(folder: Path) -> Path:
    """Write an archive that unpacks to a thousand times its size."""
    return make_mar(folder, name="bad", extra_files={"bomb.bin": bytes(15 * 1024 * 1024)})


TABLE = [
    broken("no archive", "Model not found at: nosuch.mar]", url="nosuch.mar"),
    broken("archive in a subfolder", "Model not found at: sub/bad.mar]", url="sub/bad.mar"),
    broken("archive outside of the store", "Model not found at: ../bad.mar]", url="../bad.mar"),
    broken("absolute path", "Model not found at: /etc/passwd]", url="/etc/passwd"),
    broken(
        "address that is not allowed", "Given URL http://127.0.0.1/bad.mar does not", url="http://127.0.0.1/bad.mar"
    ),
    broken("credentials", "Model not found at: ftp://models.example/bad.mar]", url="ftp://u:p@models.example/bad.mar"),
    broken("other ending", "The url bad.zip has to end in .mar.]", mar(file_name="bad.zip"), url="bad.zip"),
    broken("not a zip", "bad.mar: it is cut off", cut),
    broken("damaged member", "bad.mar: 'weights.bin' is damaged", damaged),
    broken("bomb", "bad.mar: it unpacks to more than 200 times its size, 'bomb.bin' passed the limit", bomb),
    broken("leaves the folder", "bad.mar: the name '../x' leads out of the folder", mar(extra_files={"../x": "x"})),
    broken("no manifest", "bad.mar: MAR-INF/MANIFEST.json is not JSON", mar(manifest="{")),
    broken(
        "no model in the manifest", "bad.mar: MAR-INF/MANIFEST.json: model: expected an", mar(manifest={"model": None})
    ),
    broken("no handler file", "bad.mar: MAR-INF/MANIFEST.json: model.handler is 'handler.py', but", mar(source=None)),
    broken("syntax error", "bad.mar: Handler handler.py: line 2: ", mar(source="\ndef handle(:\n")),
    broken("handler with NUL", "bad.mar: Handler handler.py: ", mar(source=b"x = 1\0\n")),
    broken("handler not UTF-8", "bad.mar: Handler handler.py: ", mar(source=b"x = '\xff'\n")),
    broken("handler of unknown encoding", "bad.mar: Handler handler.py: ", mar(source=b"# coding: nosuch\n")),
    broken("handler nested too deeply", "bad.mar: Handler handler.py: ", mar(source="(" * 5000 + ")" * 5000)),
    Failing(
        name="syntax error in another file",
        reason="SyntaxError: ",
        write=mar(source="import other\n", extra_files={"other.py": "def f(:\n"}),
        traceback="SyntaxError",
    ),
    code(
        "import error",
        "ModuleNotFoundError: No module named 'nosuch_module'; it has to be installed where the service runs (docs/",
        f"import nosuch_module{TAIL}",
        traceback="ModuleNotFoundError: No module named 'nosuch_module'",
    ),
    Failing(
        name="import error of a library that the archive lists",
        reason="ModuleNotFoundError: No module named 'nosuch_module'; requirements.txt of its archive lists what is "
        "not installed: nosuch-module>=2 (WFMGMT_MODEL_REQUIREMENTS is ignore: install would install it, check would "
        "refuse the archive)]",
        write=mar(source=f"import nosuch_module{TAIL}", requirements="nosuch_module>=2"),
        traceback="ModuleNotFoundError",
    ),
    code("raises at import", "ValueError: at import]", f"raise ValueError('at import'){TAIL}", traceback="ValueError"),
    code(
        "raises in initialize",
        "RuntimeError: in initialize]",
        INITIALIZE.format(line="raise RuntimeError('in initialize')"),
        traceback="RuntimeError: in initialize",
    ),
    code(
        "misses a file of its own",
        "FileNotFoundError: [Errno 2] No such file or directory: 'bad.mar/weights.bin']",
        INITIALIZE.format(line="open(context.system_properties['model_dir'] + '/weights.bin')"),
        traceback="FileNotFoundError",
    ),
    code("leaves", "SystemExit: 3]", INITIALIZE.format(line="raise SystemExit(3)"), traceback="SystemExit: 3"),
    code("exits", "worker exited with code 3 while loading]", INITIALIZE.format(line="__import__('os')._exit(3)")),
    code("is killed", "worker was killed by SIGKILL while loading]", f"import os\nos.kill(os.getpid(), 9){TAIL}"),
    code(
        "is too slow",
        "not ready within startup_timeout of 1 s]",
        f"import threading\nthreading.Event().wait(){TAIL}",
        parameters={"startup_timeout": 1},
    ),
    code(
        "has no entry point",
        "handler.py has neither a function handle nor a class",
        "x = 1\n",
        traceback="HandlerNot",
        answer=NOT_LOADABLE,
    ),
    Failing(
        name="lacks the function that its manifest names",
        answer=NOT_LOADABLE,
        reason="handler.py has neither a function serve nor a class with a method handle]",
        write=mar(handler="handler.py:serve", source="x = 1\n"),
        traceback="HandlerNotFound",
    ),
    Failing(
        name="names a handler that is not built in",
        answer=NOT_LOADABLE,
        reason="handler file image_classifier.py is not in the archive, and torchserve",
        write=mar(handler="image_classifier", source=None, extra_files={"model.py": ""}),
        traceback="HandlerNotFound",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _resident(service: Service) -> Iterator[None]:
    """Register a workflow that runs all the while, with a model of the same node name."""
    archives = [make_war(service.workflow_store, name="resident"), make_mar(service.model_store)]
    assert service.register("resident.war").status_code == 200
    yield
    assert ready_workers(service, "resident") == {"pre_processing": 1, "m1": 1, "post_processing": 1}
    assert service.unregister("resident").status_code == 200
    for archive in archives:
        archive.unlink()


@pytest.fixture(name="stores")
def _stores(service: Service) -> Iterator[tuple[Path, Path]]:
    """Give both stores, and remove afterwards what a test put into them."""
    stores = (service.workflow_store, service.model_store)
    before = {path for store in stores for path in store.iterdir()}
    yield stores
    for store in stores:
        for path in set(store.iterdir()) - before:
            path.unlink()


def write_workflow(folder: Path, url: str = "bad.mar", **overrides: Any) -> Path:
    """Write a sequential workflow with one model."""
    spec = f"models: {{m1: {{url: '{url}'}}}}\ndag: {{pre_processing: [m1], m1: [post_processing]}}\n"
    return make_war(folder, **{"name": "failing", "spec": spec, **overrides})


def failed_to_register(**reasons: str) -> str:
    """Return the message that TorchServe gives for nodes that fail."""
    listed = ", ".join(
        f"Workflow Node failing__{node} failed to register. Details: {reason}" for node, reason in reasons.items()
    )
    return f"Workflow failing has failed to register. Failures: [{listed}"


@pytest.mark.parametrize("failing", TABLE, ids=lambda failing: failing.name)
def test_failing_model_fails_the_registration_and_frees_the_name(
    service: Service, stores: tuple[Path, Path], failing: Failing
) -> None:
    """The answer names node and reason, only the log has the traceback, and a good archive gets the name at once."""
    workflow_store, model_store = stores
    write_workflow(workflow_store, failing.url)
    if failing.write is not None:
        failing.write(model_store)
    logged = len(service.text_of_log())
    with nothing_left(service):
        answer = service.register("failing.war", **failing.parameters)
    assert_error(answer, *failing.answer, failed_to_register(m1=failing.reason))
    assert_failure_is_audited(service, answer, "failing")
    log = service.text_of_log()[logged:]
    assert ("Traceback (most recent call last)" in log) == bool(failing.traceback)
    assert failing.traceback in log

    write_workflow(workflow_store, "m1.mar")
    assert service.register("failing.war").status_code == 200
    assert service.unregister("failing").status_code == 200


def test_failing_function_fails_the_registration(service: Service, stores: tuple[Path, Path]) -> None:
    """Functions are called once when they are loaded; the one that raises is named."""
    handler = "def pre_processing(data, context):\n    pass\n\n\ndef post_processing(data, context):\n    data[0]\n"
    write_workflow(stores[0], "m1.mar", handler=handler)
    with nothing_left(service):
        answer = service.register("failing.war")
    reason = "TypeError: 'NoneType' object is not subscriptable]"
    assert_error(answer, *FAILED, failed_to_register(post_processing=reason))
    assert_failure_is_audited(service, answer, "failing")


def test_all_failing_nodes_are_listed_in_the_order_of_the_graph(service: Service, stores: tuple[Path, Path]) -> None:
    """One answer names all nodes that fail, also those that share a broken archive."""
    spec = "models: {b: {url: bad.mar}, a: {url: no.mar}, c: {url: bad.mar}}\ndag: {c: [a], a: [b]}\n"
    write_workflow(stores[0], spec=spec, handler=None)
    cut(stores[1])
    with nothing_left(service):
        answer = service.register("failing.war")
    broken_mar = "bad.mar: it is cut off: the table of contents at the end of every zip file is missing"
    reasons = {"c": broken_mar, "a": "Model not found at: no.mar", "b": broken_mar}
    assert_error(answer, *NOT_LOADABLE, failed_to_register(**reasons) + "]")


def test_failure_of_one_node_takes_down_the_others(service: Service, stores: tuple[Path, Path]) -> None:
    """Workers that came up before another node failed are gone when the failure is answered."""
    spec = "models: {good: {url: m1.mar, min-workers: 2, max-workers: 2}, bad: {url: bad.mar}}\ndag: {good: [bad]}\n"
    write_workflow(stores[0], spec=spec, handler=None)
    make_mar(stores[1], name="bad", source=f"import time\ntime.sleep(0.3)\n1 / 0{TAIL}")
    with nothing_left(service):
        answer = service.register("failing.war")
    assert_error(answer, *FAILED, failed_to_register(bad="ZeroDivisionError: division by zero]"))


def test_star_import_leaves_the_check_of_functions_to_the_load(service: Service, stores: tuple[Path, Path]) -> None:
    """Only running the handler tells which names a star import brings, so what is missing shows then."""
    write_workflow(stores[0], "m1.mar", handler="from os.path import *\n")
    with nothing_left(service):
        answer = service.register("failing.war")
    message = "dag: pre_processing is neither under models nor a function of the handler file handler.py"
    assert_error(answer, 400, "InvalidWorkflowException", message)


def test_broken_model_that_no_node_uses_is_not_loaded(service: Service, stores: tuple[Path, Path]) -> None:
    """A model outside of the graph gives a warning, even if its archive is missing."""
    write_workflow(stores[0], spec="models: {m1: {url: m1.mar}, m2: {url: nosuch.mar}}\ndag: {m1: []}\n")
    answer = service.register("failing.war")
    assert assert_json(answer)["warnings"] == ["models.m2: not used in the dag, so it is not loaded"]
    assert service.unregister("failing").status_code == 200
