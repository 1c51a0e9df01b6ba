"""A workflow that is changed while clients send predictions, and a check of which version answered what when."""

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import requests

from tests.support.factories import MODEL_HANDLER, make_mar, make_war
from tests.support.service import Service, wait_until

NAME, NODE = "seq", "m1"
HANDLER = """\
def pre_processing(data, context):
    return None if data is None else [row["body"] for row in data]


def post_processing(data, context):
    return None if data is None else [{version!r} for _ in data]
"""
#: Requests that have to be answered between two changes.
ANSWERS_BETWEEN = 20


SPEC = """\
models:
  min-workers: 1
  max-workers: 1
  retry-attempts: 0
  {node}: {{url: {archive}}}
dag:
  pre_processing: [{node}]
  {node}: [post_processing]
"""


def make_version(service: Service, version: str, *, name: str = NAME, model: str = MODEL_HANDLER) -> str:
    """Put the archives of a version into the stores, whose handler answers with its name; return the workflow's file.

    Args:
        service: The service.
        version: The version.
        name: Of the workflow.
        model: Source of its model's handler, which is not tried again when it fails.
    """
    archive = make_mar(service.model_store, source=model, file_name=f"{name}-{version}.mar")
    handler = HANDLER.format(version=version)
    spec = SPEC.format(node=NODE, archive=archive.name)
    return make_war(
        service.workflow_store, name=name, spec=spec, handler=handler, file_name=f"{name}-{version}.war"
    ).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One prediction as its client saw it.

    Attributes:
        began: When it was sent, on the monotonic clock.
        ended: When its answer was there.
        status: Of the answer; 0 when the connection broke.
        header: The version that the answer's header names.
        text: The answer, which is the version that its handler belongs to.
    """

    began: float
    ended: float
    status: int
    header: str
    text: str


@dataclass(slots=True, kw_only=True)
class InForce:
    """One release, and from when to when it may have been in force.

    Attributes:
        weights: The share of each version that has one.
        begins: When its request was sent.
        ends: When the request for the next one was answered.
    """

    weights: Mapping[str, int]
    begins: float
    ends: float = math.inf


class Clients:
    """Clients that send one prediction after the other, in a thread with an event loop of its own.

    Args:
        address: Of the inference plane.
        count: How many predictions are under way at a time.
        pause_s: What each client waits between two.
        name: The workflow.

    Attributes:
        log: Every prediction that was answered, in the order of the answers.
    """

    def __init__(self, address: str, count: int, *, pause_s: float = 0.0, name: str = NAME) -> None:
        self.log: list[Prediction] = []
        self._address = address
        self._count = count
        self._pause_s = pause_s
        self._path = f"/wfpredict/{name}"
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._crowd()))

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Let every client finish its last request."""
        self._is_over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def wait(self, more: int = ANSWERS_BETWEEN) -> None:
        """Wait until so many predictions that are sent from now on have been answered."""
        now, seen = time.monotonic(), len(self.log)
        wait_until(
            lambda: sum(each.began > now for each in self.log[seen:]) >= more, timeout_s=30, what=f"{more} predictions"
        )

    async def _crowd(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._count)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self._address, connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(self._count)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            try:
                async with session.post(self._path, data=b"x") as answer:
                    status, text = answer.status, await answer.text()
                    header = answer.headers.get("x-workflow-version", "")
            except aiohttp.ClientError as error:
                status, text, header = 0, repr(error), ""
            ended = time.monotonic()
            self.log.append(Prediction(began=began, ended=ended, status=status, header=header, text=text))
            await asyncio.sleep(self._pause_s)


@contextmanager
def clients_at_work(service: Service, count: int, *, pause_s: float = 0.0, name: str = NAME) -> Iterator[Clients]:
    """Let clients send predictions during the block, and wait for the first answers."""
    clients = Clients(service.inference, count, pause_s=pause_s, name=name)
    clients.start()
    try:
        clients.wait(count)
        yield clients
    finally:
        clients.stop()


def traffic(service: Service, table: Mapping[str, Any], *, name: str = NAME) -> requests.Response:
    """Put a routing table in force."""
    return requests.put(f"{service.management}/workflows/{name}/traffic", json=table, timeout=60)


def releases(service: Service, name: str = NAME) -> list[dict[str, Any]]:
    """Return the releases of a workflow, the newest first."""
    answer = requests.get(f"{service.management}/workflows/{name}/releases", timeout=10)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["releases"]
    return found


@dataclass(kw_only=True)
class Changer:
    """Changes one workflow, and remembers from when to when each of its releases may have been in force.

    Attributes:
        service: The service.
        clients: Who has to be served meanwhile; each change waits for some answers to them.
        history: The releases, in their order.
        number: Of the last release.
    """

    service: Service
    clients: Clients
    history: list[InForce] = field(default_factory=list)
    number: int = 0

    def call(self, method: str, path: str, **parameters: Any) -> dict[str, Any]:
        """Send a change, which has to be carried out; return its answer."""
        url = f"{self.service.management}/workflows{path}"
        answer = requests.request(method, url, params=parameters, timeout=60)
        assert answer.status_code == 200, (method, path, parameters, answer.text)
        body: dict[str, Any] = answer.json()
        return body

    def look(self) -> None:
        """Take what holds already for a release that has been in force all along."""
        described = self.service.describe(NAME)
        self.number = described["release"]
        self.history.append(InForce(weights=_weights(described["routes"]), begins=-math.inf))

    def release(self, method: str, path: str, weights: Mapping[str, int], **parameters: Any) -> None:
        """Send a change that makes a release of these weights, and wait for predictions under it."""
        self.history.append(InForce(weights=weights, begins=time.monotonic()))
        made = self.call(method, f"/{NAME}{path}", **parameters)["release"]
        self.history[-2].ends = time.monotonic()
        self.number += 1
        assert (made["number"], _weights(made["routes"])) == (self.number, weights)
        self.clients.wait()

    def scale(self, workers: int) -> None:
        """Give the model another number of workers, and wait until they are there."""
        body = self.call("PUT", f"/{NAME}", min_worker=workers, max_worker=workers, synchronous="true", timeout=60)
        assert body["status"] == f"Workers scaled to {workers} for workflow: {NAME}"
        wait_until(lambda: self.service.ready_workers(NAME) == [1, workers, 1], what=f"{workers} workers")
        self.clients.wait()

    def batch_size(self, size: int) -> None:
        """Give the model another batch size."""
        self.call("PUT", f"/{NAME}/nodes/{NODE}", batch_size=size)
        (node,) = (node for node in self.service.describe(NAME)["nodes"] if node["name"] == NODE)
        assert (node["batchSize"], "batchSize" in node["overridden"]) == (size, True)
        self.clients.wait()

    def sequence(self) -> None:
        """Go through all kinds of changes, from version 1.0 with one worker to 2.0."""
        one, two = {"1.0": 100}, {"2.0": 100}
        self.release("PUT", "/2.0/set-default", two)
        self.release("POST", "/rollback", one)
        for weight in (5, 25):
            self.release("PUT", "/traffic", {"2.0": weight, "1.0": 100 - weight}, version="2.0", weight=weight)
        self.release("PUT", "/traffic", two, version="2.0", weight=100)
        for workers in (4, 1):
            self.scale(workers)
        self.batch_size(8)

    def back(self) -> None:
        """Return to where the sequence begins."""
        self.call("DELETE", f"/{NAME}/2.0/nodes/{NODE}/overrides")
        self.release("PUT", "/1.0/set-default", {"1.0": 100})

    def check(self) -> None:
        """Look for predictions that failed, and for those that a version without a share answered.

        Raises:
            AssertionError: There is one.
        """
        log = self.clients.log
        failed = [each for each in log if each.status != 200]
        assert not failed, (len(failed), failed[:3])
        mislabelled = [each for each in log if each.header != each.text]
        assert not mislabelled, (len(mislabelled), mislabelled[:3])
        misled = [each for each in log if each.text not in self._shared(each)]
        assert not misled, (len(misled), misled[:3], self.history)

    def _shared(self, prediction: Prediction) -> set[str]:
        """Return the versions that had a share at a moment at which a prediction may have been admitted."""
        return {
            version
            for each in self.history
            if each.begins <= prediction.ended and each.ends >= prediction.began
            for version in each.weights
        }

    def answers(self) -> Counter[str]:
        """Return how many predictions each version answered."""
        return Counter(each.text for each in self.clients.log)


def _weights(routes: list[dict[str, Any]]) -> dict[str, int]:
    return {route["version"]: route["weight"] for route in routes}
