"""A client that looks at every detail of a TorchServe's answers, and the archives that it registers there."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.factories import make_mar

HANDLER = """
import json, os, sys, time

try:
    from ts.utils.util import PredictionException
except ImportError:
    class PredictionException(Exception):
        def __init__(self, message, error_code=500):
            super().__init__(message)
            self.message, self.error_code = message, error_code

ANSWERS = {
    "text": "gr\\u00fcn", "bytes": b"\\xff\\x00", "dict": {"a": [1, None]}, "none": None, "nan": float("nan"),
    "set": {1}, "pid": str(os.getpid()), "empty": "",
}

def handle(data, context):
    if data is None:
        return None
    orders = [order_in(row.get("body")) for row in data]
    if "list" in orders:
        return ["a", "b", "c", "d"]
    if "no list" in orders:
        return "text"
    return [answer(order, index, data[index], context) for index, order in enumerate(orders)]

def order_in(body):
    return bytes(body).decode(errors="replace") if isinstance(body, bytearray) else "echo"

def answer(order, index, row, context):
    if len(order) > 1000:
        return "long"
    if order == "raise":
        raise ValueError("bad weather")
    if order == "memory":
        raise MemoryError
    if order == "refuse":
        raise PredictionException("no such city", 404)
    if order == "exit":
        os._exit(3)
    if order == "sys.exit":
        sys.exit(3)
    if order == "huge":
        return b"x" * 6_553_501
    if order.startswith("sleep"):
        time.sleep(float(order[5:]))
    if order.startswith("status"):
        context.set_response_status(int(order[6:]), idx=index)
        return {"own": order}
    if order == "headers":
        context.set_response_content_type(index, "text/csv")
        context.set_response_header(index, "X-Mine", "1")
        context.set_response_header(index, "x-request-id", "mine")
        return "a,b"
    if order in ANSWERS:
        return ANSWERS[order]
    return {
        "row": {name: repr(value) for name, value in row.items()},
        "id": context.get_request_id(index),
        "header": context.get_request_header(index, "X-Request-Id"),
    }
"""
FAILING = "raise ValueError('broken on purpose')\n"
HANGING = "import time\n\ndef handle(data, context):\n    time.sleep(60)\n"
OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    reason: str | None
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def content_type(self) -> str | None:
        """What the body is said to be."""
        return self.headers.get("Content-Type")


@dataclass(frozen=True)
class Server:
    """A TorchServe under test and a client for it."""

    management: str
    inference: str
    store: Path
    session: aiohttp.ClientSession
    key_file: Path | None = None

    async def manage(self, method: str, path: str, **arguments: Any) -> Answer:
        """Ask the management API."""
        return await self._ask(method, self.management + path, **arguments)

    async def predict(self, body: bytes | str | io.BytesIO, name: str = "m", **arguments: Any) -> Answer:
        """Ask a model."""
        arguments = {"data": body, "headers": OCTETS, **arguments}
        return await self._ask("POST", f"{self.inference}/predictions/{name}", **arguments)

    async def register(
        self, url: str = "m.mar", *, headers: Mapping[str, str] | None = None, **parameters: object
    ) -> Answer:
        """Register a model, with one worker by default."""
        told = {"url": url, "model_name": "m", "initial_workers": 1, **parameters}
        texts = {name: str(value) for name, value in told.items()}
        return await self.manage("POST", "/models", params=texts, headers=headers)

    async def remove_models(self) -> None:
        """Remove all models, with all their versions."""
        headers = self.key("management") if self.key_file is not None else {}
        for listed in (await self.manage("GET", "/models", headers=headers)).json["models"]:
            path = f"/models/{listed['modelName']}"
            versions = (await self.manage("GET", f"{path}/all", headers=headers)).json
            default = (await self.manage("GET", path, headers=headers)).json
            for each in [version for version in versions if version["modelVersion"] != default[0]["modelVersion"]]:
                await self.manage("DELETE", f"{path}/{each['modelVersion']}", headers=headers)
            while (removed := await self.manage("DELETE", path, headers=headers)).status != 404:
                # A model whose queue is full may go with this error.
                assert removed.status == 200 or "Deque full" in removed.json["message"], removed

    async def described(self, name: str = "m") -> dict[str, Any]:
        """Return what is said about a model."""
        (description,) = (await self.manage("GET", f"/models/{name}")).json
        return dict(description)

    async def workers(self, name: str = "m") -> list[str]:
        """Return the states of a model's workers."""
        return [worker["status"] for worker in (await self.described(name))["workers"]]

    async def has(self, name: str, *, unless: "asyncio.Task[Answer]") -> bool:
        """Return whether a model is registered, or its registration has been answered."""
        return (await self.manage("GET", f"/models/{name}")).status == 200 or unless.done()

    async def lacks(self, name: str) -> bool:
        """Tell whether a model is not registered."""
        return (await self.manage("GET", f"/models/{name}")).status != 200

    async def has_workers(self, *states: str) -> bool:
        """Tell whether the workers are in these states."""
        return await self.workers() == list(states)

    async def has_waiting(self, requests: int, name: str = "m") -> bool:
        """Tell whether at least so many requests wait for a worker."""
        return bool((await self.described(name))["jobQueueStatus"]["pendingRequests"] >= requests)

    def key(self, kind: str) -> dict[str, str]:
        """Return the header that shows a key."""
        assert self.key_file is not None
        return {"Authorization": f"Bearer {json.loads(self.key_file.read_text())[kind]['key']}"}

    async def _ask(self, method: str, url: str, **arguments: Any) -> Answer:
        async with self.session.request(method, url, **arguments) as answer:
            return Answer(answer.status, answer.reason, answer.headers, await answer.read())


OpenServer = Callable[[], AbstractAsyncContextManager[Server]]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - nobody tells when the other side is so far
            await asyncio.sleep(0.02)


def write_archives(store: Path) -> None:
    """Write what the tests register."""
    make_mar(store, source=HANDLER, file_name="m.mar")
    make_mar(store, source=FAILING, file_name="failing.mar")
    make_mar(store, source=HANGING, file_name="hanging.mar")
    second = {"model": {"modelName": "m1", "handler": "handler.py", "modelVersion": "2.0"}}
    make_mar(store, source=HANDLER, file_name="second.mar", manifest=second)
    (store / "corrupt.mar").write_bytes(b"no archive")
    (store / "truncated.mar").write_bytes((store / "m.mar").read_bytes()[:300])


def new_session() -> aiohttp.ClientSession:
    """Return a client that opens as many connections as it is asked for."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(30))


def assert_own_error(answer: Answer, status: int, kind: str, message: str) -> None:
    """Check all by which an error of TorchServe's own can be told."""
    assert answer.json == {"code": status, "type": kind, "message": message}
    assert (answer.status, answer.content_type, answer.headers["connection"]) == (status, "application/json", "close")
    assert answer.body.endswith(b"}\n")
    assert answer.reason
