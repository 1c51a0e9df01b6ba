"""Names of libraries that they do not document, and that wfmgmt leans on all the same.

An upgrade that lacks one fails here in a sentence. The other tests keep the table complete as far as the source shows:
private names, imports from undocumented modules, and what classes inherit from undocumented ones. Other uses of objects
of such classes are in the table too, but nothing notices when one is missing.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import NamedTuple

import pytest

import wfmgmt

ROOT = Path(__file__).parents[2]


class Use(NamedTuple):
    """Names of one owner that a file needs for one thing.

    Attributes:
        owner: Module and class, `module:Class`, or a module.
        names: Attributes of it, or of its instances.
        user: The file.
        need: What for, as the end of a sentence.
    """

    owner: str
    names: tuple[str, ...]
    user: str
    need: str


PROTOCOL, WEB_WORKER, STREAMED_BODY, ARBITER = (
    "wfmgmt/serving/inference_protocol.py",
    "wfmgmt/deployment/web_worker.py",
    "wfmgmt/deployment/streamed_body.py",
    "wfmgmt/deployment/arbiter.py",
)
HANDLER, WORKER = "aiohttp.web_protocol:RequestHandler", "gunicorn.workers.gthread:ThreadWorker"
USES = (
    Use(HANDLER, ("_messages",), PROTOCOL, "to see which requests wait, and to put an error in the place of one"),
    Use(HANDLER, ("_waiter",), PROTOCOL, "to see that it waits for a request, and to wake it for an error"),
    Use(HANDLER, ("_request_in_progress",), PROTOCOL, "to tell an idle connection from a busy one"),
    Use(HANDLER, ("_next_keepalive_close_time", "keepalive_timeout"), PROTOCOL, "to know since when it is idle"),
    Use(HANDLER, ("force_close", "transport"), PROTOCOL, "to close a connection at once"),
    Use(HANDLER, ("data_received",), PROTOCOL, "to see requests before the parser"),
    Use(HANDLER, ("finish_response",), PROTOCOL, "to see every answer before it is sent"),
    Use(HANDLER, ("handle_error", "log_exception"), PROTOCOL, "to give errors their shape"),
    Use(HANDLER, ("connection_made", "connection_lost"), PROTOCOL, "to count connections"),
    Use(HANDLER, ("pause_writing", "resume_writing"), PROTOCOL, "to bound the time that a client takes nothing"),
    Use("aiohttp.web_protocol", ("_ErrInfo",), PROTOCOL, "to recognise what is not HTTP"),
    Use("aiohttp.streams", ("EMPTY_PAYLOAD",), PROTOCOL, "for errors, which have no body"),
    Use("aiohttp.http_exceptions", ("BadHttpMessage",), PROTOCOL, "to refuse a version of HTTP"),
    Use(
        "aiohttp.http_exceptions",
        ("HttpProcessingError",),
        "wfmgmt/serving/bodies.py",
        "to answer a malformed body with 400",
    ),
    Use("aiohttp.web_request:BaseRequest", ("_version",), PROTOCOL, "to answer what is not HTTP with HTTP/1.1"),
    Use("aiohttp.http_writer:StreamWriter", ("output_size",), PROTOCOL, "to see whether an answer was begun"),
    Use("gunicorn.arbiter:Arbiter", ("stop", "reload"), ARBITER, "to say which of the two a web worker ends for"),
    Use("gunicorn.arbiter:Arbiter", ("manage_workers", "spawn_worker"), ARBITER, "to survive a fork that fails"),
    Use("gunicorn.arbiter:Arbiter", ("WORKERS", "num_workers", "worker_age"), ARBITER, "to know how many serve"),
    Use(
        "gunicorn.arbiter:Arbiter",
        ("LISTENERS", "cfg"),
        "wfmgmt/deployment/gunicorn_config.py",
        "to announce the address",
    ),
    Use(
        "gunicorn.arbiter:Arbiter",
        ("WORKER_BOOT_ERROR", "APP_LOAD_ERROR"),
        "wfmgmt/deployment/gunicorn_config.py",
        "for exit codes",
    ),
    Use(
        "gunicorn.glogging:Logger",
        ("setup", "access_log", "error_log", "access_log_enabled", "access"),
        "wfmgmt/deployment/gunicorn_log.py",
        "to write gunicorn's lines where ours go",
    ),
    Use(WORKER, ("accept", "on_client_socket_readable"), WEB_WORKER, "to collect a request before a thread sees it"),
    Use(WORKER, ("enqueue_req", "handle", "handle_request"), WEB_WORKER, "to answer a request in a thread"),
    Use(WORKER, ("finish_request",), WEB_WORKER, "to go on with a connection after an answer"),
    Use(WORKER, ("handle_error",), WEB_WORKER, "to give errors their shape"),
    Use(WORKER, ("handle_exit", "handle_quit", "alive", "set_accept_enabled"), WEB_WORKER, "to stop in order"),
    Use(WORKER, ("notify", "ppid"), WEB_WORKER, "for a sign of life once a second"),
    Use(WORKER, ("wait_for_and_dispatch_events", "poller"), WEB_WORKER, "to wait for clients in the main loop"),
    Use(WORKER, ("pending_conns",), WEB_WORKER, "for connections that wait for their client"),
    Use(WORKER, ("keepalived_conns", "nr_conns", "worker_connections"), WEB_WORKER, "to close the longest idle"),
    Use(WORKER, ("get_thread_pool", "cfg", "log"), WEB_WORKER, "to start all threads"),
    Use(WORKER, ("method_queue",), WEB_WORKER, "to end an upload in the main loop"),
    Use("gunicorn.workers.gthread:TConn", ("init", "close", "parser"), WEB_WORKER, "to give a request to the parser"),
    Use("gunicorn.workers.gthread:TConn", ("sock", "client", "timeout"), WEB_WORKER, "to wait for a client"),
    Use("gunicorn.workers.gthread:TConn", ("data_ready",), WEB_WORKER, "to keep threads from waiting for clients"),
    Use("gunicorn.http.message:Request", ("method", "path", "headers", "version"), WEB_WORKER, "to check a request"),
    Use("gunicorn.http.message:Request", ("body",), WEB_WORKER, "to read bodies before the application does"),
    Use("gunicorn.http.unreader:IterUnreader", ("unread", "take_buffered"), WEB_WORKER, "to give bytes to the parser"),
    Use("werkzeug.routing:Rule", ("_compile_builder",), "wfmgmt/api/application.py", "to compile no code in vain"),
    Use("gunicorn.util", ("unquote_to_wsgi_str",), WEB_WORKER, "to check the path that the application gets"),
    Use("gunicorn.http.errors:InvalidHTTPVersion", ("version",), WEB_WORKER, "to tell it from another protocol"),
    Use(
        "gunicorn.http.errors",
        (
            "ExpectationFailed",
            "InvalidChunkSize",
            "InvalidHTTPVersion",
            "LimitRequestHeaders",
            "LimitRequestLine",
            "NoMoreData",
            "ParseException",
        ),
        WEB_WORKER,
        "to answer each with its status",
    ),
    Use("gunicorn.http.body:Body", ("reader",), STREAMED_BODY, "to read a body without collecting it"),
    Use("gunicorn.http.body:LengthReader", ("length", "unreader"), STREAMED_BODY, "to read one of declared length"),
    Use("gunicorn.http.body:ChunkedReader", ("parser",), STREAMED_BODY, "to read one in chunks"),
    Use("gunicorn.http.unreader:SocketUnreader", ("read",), STREAMED_BODY, "to read what came with the head, and more"),
    Use(
        "gunicorn.http.errors",
        ("NoMoreData", "ParseException"),
        STREAMED_BODY,
        "to tell an upload that was broken off from one that is not HTTP",
    ),
    Use(
        "prometheus_client.values",
        ("ValueClass", "MutexValue", "MultiProcessValue"),
        "wfmgmt/deployment/shared_metrics.py",
        "to name the files of counters after slots",
    ),
    Use(
        "prometheus_client.multiprocess:MultiProcessCollector",
        ("merge",),
        "wfmgmt/api/metrics.py",
        "to add up the files of a folder whose name may look like a pattern",
    ),
    Use(
        "http.client:HTTPConnection",
        ("connect", "sock", "host", "default_port"),
        "wfmgmt/archives/transfers.py",
        "to send requests over a socket of ours",
    ),
    Use(
        "http.client:HTTPConnection",
        ("connect", "sock"),
        "wfmgmt/control/connection.py",
        "to send requests over a Unix socket",
    ),
)
TABLE = [(use, name) for use in USES for name in use.names]

#: Modules whose names are all undocumented, and classes of them.
UNDOCUMENTED = (
    "aiohttp.http_exceptions",
    "aiohttp.streams",
    "aiohttp.web_protocol",
    "gunicorn.",
    "http.client",
    "prometheus_client.multiprocess",
    "prometheus_client.values",
)
#: Documented although their spelling or their module says otherwise: of named tuples, `os`, and HTTPConnection.
DOCUMENTED = frozenset({"_asdict", "_exit", "_fields", "_make", "_replace", "close", "getresponse", "request"})


def is_undocumented(module: str) -> bool:
    """Return whether what a module has is not documented."""
    return module.startswith(UNDOCUMENTED)


@cache
def names_of(owner: object) -> frozenset[str]:
    """Return the attributes of a module or a class, and those that its methods give to its instances."""
    names = set(dir(owner))
    for kind in owner.__mro__[:-1] if isinstance(owner, type) else ():
        for node in ast.walk(parsed(kind)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                names.add(node.attr)
    return frozenset(names)


def parsed(kind: type) -> ast.AST:
    """Return the source of a class, nothing where there is none."""
    try:
        return ast.parse(dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return ast.Module([], [])


def is_self(node: ast.expr) -> bool:
    """Return whether an expression is the object whose class is being written, or the class, or its parent."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in {"self", "cls", "super"}


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    """Return everything in the source of a file."""
    return tuple(ast.walk(ast.parse(file.read_text())))


@pytest.mark.parametrize(("use", "name"), TABLE, ids=lambda value: value if isinstance(value, str) else value.owner)
def test_library_has_what_we_lean_on(use: Use, name: str) -> None:
    """An upgrade that takes a name away says here which part of wfmgmt needs it, and what for."""
    library = use.owner.partition(".")[0]
    shown = "Python" if library == "http" else f"{library} {version(library.replace('_', '-'))}"
    try:
        found = names_of(pkgutil.resolve_name(use.owner))
    except (ImportError, AttributeError):
        found = frozenset()
    assert name in found, f"{shown}: {use.owner} has no {name}, which {use.user} needs {use.need}"


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.owner} {use.names[0]}")
def test_table_names_nothing_that_is_no_longer_used(use: Use) -> None:
    """A line goes with the code that needed it."""
    nodes = nodes_of(ROOT / use.user)
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    used |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(use.names) <= used


def modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield every module of the package, with its file."""
    for info in pkgutil.walk_packages(wfmgmt.__path__, "wfmgmt."):
        module = importlib.import_module(info.name)
        yield str(file_of(module).relative_to(ROOT)), module


def file_of(module: ModuleType) -> Path:
    """Return the file of a module."""
    return Path(str(module.__file__))


@cache
def own_names(file: Path) -> frozenset[str]:
    """Return the private names that a module defines: functions, variables, and attributes of its own classes."""
    own: set[str] = set()
    for node in nodes_of(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            own.add(node.attr)
    return frozenset(own)


def private_uses(file: Path) -> Iterator[str]:
    """Yield private names of others: imports, and attributes that neither the module defines nor one it imports."""
    own = set(own_names(file))
    for node in nodes_of(file):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wfmgmt."):
            own |= own_names(file_of(importlib.import_module(str(node.module))))
    for node in nodes_of(file):
        if isinstance(node, ast.Attribute) and node.attr not in own:
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
            yield from (node.module or "").split(".")


def undocumented_uses(module: ModuleType) -> Iterator[str]:
    """Yield what a module imports from undocumented ones, and what its classes use or replace of their parents'."""
    nodes = {node.name: node for node in nodes_of(file_of(module)) if isinstance(node, ast.ClassDef)}
    for node in nodes_of(file_of(module)):
        if isinstance(node, ast.ImportFrom) and is_undocumented(node.module or ""):
            yield from (alias.name for alias in node.names)
    for name, kind in vars(module).items():
        if name not in nodes or not isinstance(kind, type):
            continue
        parents = [each for each in kind.__mro__[1:] if is_undocumented(each.__module__)]
        inherited = set[str]().union(*map(names_of, parents))
        used = {each.name for each in nodes[name].body if isinstance(each, ast.FunctionDef)} | {
            each.attr for each in ast.walk(nodes[name]) if isinstance(each, ast.Attribute) and is_self(each.value)
        }
        yield from used & inherited - set(dir(object))


def test_table_is_complete() -> None:
    """What is used of a library without being documented is in the table."""
    listed = {(use.user, name) for use, name in TABLE} | {
        (use.user, use.owner.rpartition(":")[2].rpartition(".")[2]) for use in USES
    }
    missing = set()
    for file, module in modules():
        private = {name for name in private_uses(file_of(module)) if name.startswith("_") and not name.startswith("__")}
        missing |= {(file, name) for name in (private | set(undocumented_uses(module))) - DOCUMENTED}
    assert sorted(missing - listed) == []
