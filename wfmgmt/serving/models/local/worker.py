"""The worker: a process that imports a handler, holds it initialised and calls it.

It is forked by the forkserver and talks with the runtime over one socket, in frames. Requests may lie in the socket
while it works; it answers them one at a time, in their order. Before that the forkserver's code has sent one byte, with
which comes the descriptor of the worker's `/proc/self/smaps_rollup` if it has one.

    runtime → worker   {"op": "load", "title", "tree", "directory", "archive", "handler", "model_name", "answer_bytes",
                        "threads", "environment", "context": {"manifest", "system_properties"}}
    worker → runtime   {"op": "ready"}, or {"op": "failed", "error", "traceback"} followed by exit code 1, with
                       "archive" when what the manifest names is not there or cannot be read, with "lacks_module" when
                       an import failed (whether it is because a module is not there at all), and with an "errno" when
                       the working folder could not be made
    runtime → worker   {"op": "predict", "ticket", "requests": [[request id, H, [[name, content type, N], …]], …]}
                       with a payload: for each request H bytes of headers as a JSON object, then N bytes per field
    worker → runtime   {"op": "answer", "ticket", "run_us", "answers": [[status, headers, N], …], "metrics"} with N
                       bytes per answer, where an answer that cannot be sent is {"error"} instead,
                       or {"op": "failed", "ticket", "run_us", "error"}, with a "traceback" when the handler raised,
                       "lacks_module" as above, and a "status" when it chose one; the ticket is the request's, run_us
                       the microseconds since the request was read
    runtime → worker   {"op": "stop"}, or the end of the stream: exit code 0

The variables in "environment" are set before anything of the archive is imported. "threads" is the number for libraries
that were preloaded, or null to leave them alone.

A worker hosts one model or one function, in a working folder of its own: `directory`, which it makes from `tree`, the
unpacked archive that it shares with others. Standard output and standard error are the log's (`worker_log`); the
protocol has a socket of its own, so nothing that a handler prints can disturb it.
"""

import importlib
import io
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import wfmgmt
from wfmgmt.serving.models.local import frames, values, worker_log
from wfmgmt.serving.models.local.context import Context, RequestContext
from wfmgmt.serving.models.local.handlers import EntryPoint, HandlerNotFound, load_entry_point
from wfmgmt.serving.models.local.host_paths import hide_host_paths
from wfmgmt.serving.models.local.thread_limits import limit_loaded_modules
from wfmgmt.serving.models.local.working_folder import make_working_folder
from wfmgmt.titles import set_title

_MAX_ERROR_CHARS = 2_000
#: Ends of tracebacks that are sent: of a load, and of each prediction.
_LOAD_TRACEBACK_CHARS, _TRACEBACK_CHARS = 64_000, 16_000
#: Headers that a handler may set, as JSON; those of a batch share the header of one message with much else.
_MAX_HEADERS_BYTES, _BATCH_HEADERS_BYTES = 64 * 1024, frames.MAX_HEADER_BYTES // 2
#: Where the service's packages are. In a checkout there is more beside them, like `app.py`, which is no handler.
_ROOT = os.path.dirname(os.path.dirname(wfmgmt.__file__))  # noqa: PTH120 - pathlib costs memory
_IS_CHECKOUT = os.path.exists(os.path.join(_ROOT, "pyproject.toml"))  # noqa: PTH110, PTH118 - likewise
_BUFFER_BYTES = 64 * 1024
_MIN_ERROR_STATUS, _MIN_SERVER_ERROR, _HIGHEST_ERROR = 400, 500, 599


def main(sock: socket.socket, instance: str) -> int:
    """Serve one runtime until it says stop or is gone; return the exit code."""
    stream = io.BufferedReader(socket.SocketIO(sock, "r"), _BUFFER_BYTES)
    try:
        order, _ = frames.receive_header(stream)
        set_title(order["title"], instance)
        worker = _Worker(sock, stream, order)
        if not worker.load(order):
            return 1
        while True:
            order, _ = frames.receive_header(stream)
            if order["op"] == "stop":
                return 0
            worker_log.begin(order["requests"])
            worker.predict(order)
            worker_log.end()
    except EOFError:
        return 0


class _Worker:
    """The handler of one process."""

    _entry_point: EntryPoint
    _context: Context

    def __init__(self, sock: socket.socket, stream: frames.Stream, order: Mapping[str, Any]) -> None:
        self._sock = sock
        self._stream = stream
        self._pid = os.getpid()
        self._tree: str = order["tree"]
        self._directory: str = order["directory"]
        self._archive: str = order["archive"]
        self._answer_bytes: int = order["answer_bytes"]

    def load(self, order: Mapping[str, Any]) -> bool:
        """Load the handler, report, and return whether all went well."""
        try:
            make_working_folder(self._tree, self._directory)
        except OSError as exc:
            error = f"its working folder cannot be made: {exc.strerror}"
            self._send({"op": "failed", "error": error, "traceback": error, "errno": exc.errno})
            return False
        os.chdir(self._directory)
        os.environ.update(order["environment"])  # noqa: TID251 - the libraries of the handler read it
        if order["threads"] is not None:
            limit_loaded_modules(order["threads"])
        if sys.path[0] == _ROOT:
            del sys.path[0]  # `python -m` put it there.
        if _IS_CHECKOUT:  # An editable installation put it there, too.
            sys.path[:] = [each for each in sys.path if each != _ROOT]
        sys.path.insert(0, self._directory)
        try:
            config = _yaml_config(self._directory, order["context"]["manifest"])
            self._context = Context(model_name=order["model_name"], model_yaml_config=config, **order["context"])
            self._entry_point = load_entry_point(order["handler"], self._context)
        except BaseException as exc:  # noqa: BLE001 - SystemExit and the like are failures to load, too
            trace = _traceback(exc, _LOAD_TRACEBACK_CHARS)
            failed: dict[str, Any] = {"op": "failed", "error": self._error_text(exc), "traceback": trace}
            if isinstance(exc, HandlerNotFound):
                failed["archive"] = True
            self._send(failed | _import_fault(exc))
            return False
        self._send({"op": "ready"})
        return True

    def predict(self, order: Mapping[str, Any]) -> None:
        """Have the handler answer one batch, and send what it answers."""
        context = self._context
        ticket, began = order["ticket"], time.perf_counter_ns()
        contexts, data = self._receive_batch(order["requests"])
        context.begin(contexts)
        try:
            returned = self._entry_point(data, context)
            wrong = _wrong_answers(returned, len(data))
        except BaseException as exc:  # noqa: BLE001 - a handler may raise what it likes; the worker lives on
            failed = {"op": "failed", "error": self._error_text(exc), **_import_fault(exc), **self._refusal(exc)}
            if failed.get("status", _MIN_SERVER_ERROR) >= _MIN_SERVER_ERROR:
                failed["traceback"] = _traceback(exc, _TRACEBACK_CHARS)
            self._reply(failed, ticket, began)
            return
        if wrong is not None:
            self._reply({"op": "failed", "error": wrong}, ticket, began)
            return
        answers, payload = self._encode(returned, contexts)
        header = {"op": "answer", "answers": answers, "metrics": context.metrics.take()}
        try:
            self._reply(header, ticket, began, payload)
        except frames.InvalidFrame as exc:
            error = f"what it measured, or the errors of its batch, cannot be sent: {exc}"
            self._reply({"op": "failed", "error": error}, ticket, began)

    def _reply(
        self, header: dict[str, Any], ticket: int, began: int, payload: Sequence[bytes | bytearray] = ()
    ) -> None:
        """Answer a batch."""
        header["ticket"] = ticket
        header["run_us"] = (time.perf_counter_ns() - began) // 1000
        self._send(header, payload)

    def _receive_batch(self, requests: Sequence[Sequence[Any]]) -> tuple[list[RequestContext], list[dict[str, Any]]]:
        contexts, data = [], []
        for request_id, headers_bytes, fields in requests:
            headers = bytes(frames.receive_part(self._stream, headers_bytes))
            contexts.append(RequestContext(request_id, headers, {name: kind for name, kind, _ in fields if kind}))
            data.append(
                {name: values.decode(frames.receive_part(self._stream, size), kind) for name, kind, size in fields}
            )
        return contexts, data

    def _encode(
        self, returned: Sequence[Any], contexts: Sequence[RequestContext]
    ) -> tuple[list[Any], list[bytes | bytearray]]:
        """Return the answers' part of the header, and the payload."""
        answers: list[Any] = []
        payload: list[bytes | bytearray] = []
        size_bytes = headers_bytes = 0
        for value, request in zip(returned, contexts, strict=True):
            try:
                content = values.encode(value)
                status, headers = _checked(request)
                own_bytes = len(json.dumps(headers)) if headers else 0
            except BaseException as exc:  # noqa: BLE001 - encoding may run methods of the handler's own classes
                answers.append({"error": f"its answer cannot be sent: {self._error_text(exc)}"})
                continue
            if own_bytes > _MAX_HEADERS_BYTES or headers_bytes + own_bytes > _BATCH_HEADERS_BYTES:
                limit = f"{_MAX_HEADERS_BYTES}, and {_BATCH_HEADERS_BYTES} for the batch"
                answers.append({"error": f"its headers have {own_bytes} bytes, the limit is {limit}"})
                continue
            headers_bytes += own_bytes
            size_bytes += len(content)
            if len(content) > self._answer_bytes or size_bytes > frames.MAX_PAYLOAD_BYTES:
                limit = (
                    f"{self._answer_bytes} (WFMGMT_RESPONSE_LIMIT_BYTES), and {frames.MAX_PAYLOAD_BYTES} for the batch"
                )
                size_bytes -= len(content)
                error = f"its answer has {len(content)} bytes, the limit is {limit}"
                answers.append({"error": error})
                continue
            answers.append([status, headers, len(content)])
            payload.append(content)
        return answers, payload

    def _error_text(self, exc: BaseException) -> str:
        """Return an error as the caller may read it."""
        return self._shown(describe_error(exc))

    def _shown(self, text: str) -> str:
        """Return a text as the caller may read it."""
        inner = hide_host_paths(text, directory=self._directory, archive=self._archive)
        return hide_host_paths(inner, directory=self._tree, archive=self._archive)

    def _refusal(self, exc: BaseException) -> dict[str, Any]:
        """Return the message and HTTP status that an error carries on purpose, in torchserve's way of doing so."""
        if not any(kind.__name__ == "PredictionException" for kind in type(exc).__mro__):
            return {}
        try:
            message, status = getattr(exc, "message", None), getattr(exc, "error_code", None)
            if isinstance(status, int) and _MIN_ERROR_STATUS <= status <= _HIGHEST_ERROR:
                return {"error": self._shown(str(message))[:_MAX_ERROR_CHARS], "status": int(status)}
        except BaseException:  # noqa: BLE001 - the handler's exception class can do anything
            return {}
        return {}

    def _send(self, header: Mapping[str, Any], payload: Sequence[bytes | bytearray] = ()) -> None:
        """Send one message, unless this is a copy of the worker that a handler forked and let run on."""
        if os.getpid() != self._pid:
            os._exit(0)
        frames.send(self._sock, header, payload)


def _yaml_config(directory: str, manifest: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what stands in the configuration file that a manifest names.

    Raises:
        HandlerNotFound: It is not YAML.
    """
    file_name = (manifest or {}).get("model", {}).get("configFile")
    if not file_name:
        return {}
    yaml = importlib.import_module("yaml")  # Few archives have the file; the others' workers need no parser.
    with open(os.path.join(directory, file_name), encoding="utf-8") as file:  # noqa: PTH118, PTH123 - pathlib costs memory
        try:
            return yaml.safe_load(file) or {}
        except yaml.YAMLError as exc:
            raise HandlerNotFound(f"{file_name} is not YAML: {' '.join(str(exc).split())}") from exc


def _wrong_answers(returned: object, expected: int) -> str | None:
    """Say what is wrong with what a handler returned for a batch, if anything is."""
    if not isinstance(returned, list):
        return f"it returned {type(returned).__name__}, and not a list with one answer per request"
    if len(returned) != expected:
        return f"it returned a list of {len(returned)} answers to {expected} requests"
    return None


def _checked(request: RequestContext) -> tuple[int, dict[str, str]]:
    """Return the status and headers that a handler set, as plain values.

    Raises:
        TypeError: They are neither numbers nor texts.
    """
    status = 200 if request.status is None else request.status
    if not isinstance(status, int):
        raise TypeError(f"status {status!r} is no number")
    for name, value in request.response_headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} is no text")
    return status, request.response_headers


def _import_fault(exc: BaseException) -> dict[str, bool]:
    """Return whether an import failed for want of a module, in the words of the protocol; nothing of other errors."""
    return {"lacks_module": isinstance(exc, ModuleNotFoundError)} if isinstance(exc, ImportError) else {}


def _traceback(exc: BaseException, max_chars: int) -> str:
    """Return the end of the traceback of an error; nothing when its class does not let it be written."""
    try:
        return "".join(traceback.format_exception(exc))[-max_chars:]
    except BaseException:  # noqa: BLE001 - the handler's exception class can do anything
        return ""


def describe_error(exc: BaseException) -> str:
    """Return the error as one text for the caller: `TypeName: message`, or the bare text of our own error."""
    try:
        message = str(exc)
    except BaseException:  # noqa: BLE001 - the handler's exception class can do anything
        message = "(its text cannot be read)"
    if not isinstance(exc, HandlerNotFound):
        name = type(exc).__name__
        message = f"{name}: {message}" if message else name
    return message[:_MAX_ERROR_CHARS]
