"""Releases and settings change while clients predict: none of their requests fails or gets a version without a share.

What the management address writes is written here, so that each step is one transaction and one wait for the runtime.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import aiohttp
import pytest

from tests.support.factories import make_mar
from tests.support.records import make_workflow
from tests.support.service import Service, wait_until
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import VersionState
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.releases import Guard, Mirror, Release, ReleaseKind, RoutingTable, newest_first
from wfmgmt.domain.workflow import LoadRequest, NodeKind, NodeSettings
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.writing import Writer
from wfmgmt.services.leases import Leases
from wfmgmt.services.release_rules import make_release

CLIENTS = 16
PATIENCE_S = 60.0
#: Raises for each third request.
FAILING = """
count = 0

def handle(data, context):
    global count
    count += data is not None
    if data is not None and count % 3 == 0:
        raise ValueError("the third")
    return None if data is None else [row["body"] for row in data]
"""
HANGING = """
import time

def handle(data, context):
    return None if data is None else time.sleep(600)
"""
ORDER = ("1.0", "2.0")


class Answer(NamedTuple):
    """One answer to a client: when it asked and was answered, and by which version."""

    asked_at: float
    answered_at: float
    status: int
    version: str


@dataclass
class Clients:
    """Clients that predict without a pause.

    Attributes:
        address: Of the inference plane.
        answers: What they got.
        failed: What went wrong.
    """

    address: str
    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(2 * PATIENCE_S)

    def wait_for_more(self, count: int = 10 * CLIENTS) -> None:
        """Return when there are many more answers."""
        before = len(self.answers)
        wait_until(
            lambda: self.failed or len(self.answers) > before + count, timeout_s=PATIENCE_S, what="further answers"
        )

    async def _work(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(self.address, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._is_over.is_set():
            asked_at = time.monotonic()
            try:
                async with session.post("/wfpredict/seq", data=b"x") as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                self.failed.append(repr(error))
                continue
            version = answer.headers.get("x-workflow-version", "")
            self.answers.append(Answer(asked_at, time.monotonic(), answer.status, version))
            if answer.status != 200:
                self.failed.append(f"{answer.status} {text}")


@dataclass
class Changes:
    """Changes of the workflow `seq`, as the management plane makes them.

    Attributes:
        service: The service.
        shares: Since when a table may have been in force, until when, and which versions have a share in it.
    """

    service: Service
    shares: list[tuple[float, float, set[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry(f"sqlite:///{self.service.database}")
        self.runtime = RuntimeClient(self.service.run_folder / "runtime.sock")
        with self.registry.read() as reader:
            self.uid = reader.uid("seq") or ""

    def current(self) -> Release:
        """Return the current release."""
        with self.registry.read() as reader:
            release = reader.release("seq")
        assert release is not None
        return release

    def add_version(self, source: str | None = None) -> LoadRequest:
        """Register 2.0: the same archive, but for a model with another handler if given."""
        with self.registry.read() as reader:
            (first,) = reader.load_requests([self.uid])
        nodes = first.nodes
        if source is not None:
            mar = make_mar(self.service.model_store, file_name="other.mar", source=source)
            sha256 = hashlib.sha256(mar.read_bytes()).hexdigest()
            settings = NodeSettings(retry_attempts=0)
            nodes = tuple(
                replace(node, settings=settings, model_file=mar.name, model_sha256=sha256)
                if node.kind is NodeKind.MODEL
                else node
                for node in nodes
            )
        with Leases(self.service.run_folder / "leases").take() as lease:
            new = make_workflow(lease=lease)
            new = replace(new, target=replace(first, uid=new.target.uid, version="2.0", nodes=nodes))
            with self.registry.write() as writer:
                assert writer.claim_version(new)
            assert self.runtime.load(new.target, cancelled=lambda: False).state is LoadState.LOADED
            self.write(lambda writer: writer.mark_ready(new.uid))
        self.runtime.on_registered(new.uid)
        return new.target

    def write(self, change: Callable[[Writer], object]) -> None:
        """Change something, and wait until it is in force."""
        with self.registry.write() as writer:
            change(writer)
        with self.registry.read() as reader:
            revision = reader.revision("seq") or 0
        report = self.runtime.reach(self.uid, revision, PATIENCE_S)
        assert report.reached, report.problem

    def release(self, table: RoutingTable) -> float:
        """Make a release, and return how long it took until it was in force."""
        began = time.monotonic()
        self.write(
            lambda writer: make_release(writer, "seq", table, kind=ReleaseKind.TRAFFIC, origin=Origin(actor="tester"))
        )
        ended = time.monotonic()
        if self.shares:
            since, _, versions = self.shares.pop()
            self.shares.append((since, ended, versions))
        self.shares.append((began, float("inf"), set(table.weights)))
        return ended - began

    def split(self, weight: int) -> float:
        """Give 2.0 a share, and 1.0 the rest."""
        return self.release(RoutingTable(routes=newest_first({"1.0": 100 - weight, "2.0": weight}, ORDER)))

    def set_node(self, uid: str, **settings: int) -> None:
        """Change settings of the model of a version."""

        def change(writer: Writer) -> None:
            writer.override(writer.node_ids(uid)["m1"], settings, actor="tester")
            writer.revise("seq")

        self.write(change)

    def had_share(self, answer: Answer) -> bool:
        """Return whether a version had a share at some moment between request and answer."""
        return any(
            since <= answer.answered_at and answer.asked_at <= until and answer.version in versions
            for since, until, versions in self.shares
        )


@pytest.fixture(name="changes")
def _changes(prepared: Service) -> Iterator[Changes]:
    prepared.environment["WFMGMT_STANDBY_S"] = "0"
    with prepared:
        assert prepared.register("seq.war").status_code == 200
        yield Changes(prepared)


def test_no_request_fails_while_everything_changes(changes: Changes) -> None:
    """To 2.0, back, step by step, up and down in workers, and another batch size."""
    changes.release(RoutingTable.all_to("1.0"))
    with Clients(changes.service.inference) as clients:
        clients.wait_for_more()
        target = changes.add_version()
        for change in (
            lambda: changes.release(RoutingTable.all_to("2.0")),
            lambda: changes.release(RoutingTable.all_to("1.0")),
            lambda: changes.split(5),
            lambda: changes.split(25),
            lambda: changes.release(RoutingTable.all_to("2.0")),
            lambda: changes.set_node(target.uid, min_workers=4, max_workers=4),
            lambda: changes.set_node(target.uid, min_workers=1, max_workers=1),
            lambda: changes.set_node(target.uid, batch_size=8),
        ):
            change()
            clients.wait_for_more()
    assert clients.failed == []
    assert {answer.version for answer in clients.answers} == {"1.0", "2.0"}
    assert [answer for answer in clients.answers if not changes.had_share(answer)] == []


def test_parked_version_comes_back(changes: Changes) -> None:
    """By a request that names it, and after a restart, when only what the release names is loaded."""
    target = changes.add_version()
    wait_until(lambda: changes.runtime.report(target.uid).state is LoadState.ABSENT, what="2.0 to be parked")
    assert _version(changes.service, "/wfpredict/seq/2.0") == "2.0"
    assert changes.runtime.report(target.uid).version_state is VersionState.STANDBY
    assert changes.service.stop() == 0
    changes.service.start()
    assert _version(changes.service, "/wfpredict/seq") == "1.0"
    assert changes.runtime.report(target.uid).state is LoadState.ABSENT
    assert _version(changes.service, "/wfpredict/seq/2.0") == "2.0"


def test_failing_candidate_is_taken_back(changes: Changes) -> None:
    """It is the guard that releases, with the figures in the audit; afterwards no request fails."""
    changes.add_version(source=FAILING)
    guard = Guard(min_requests=20, max_error_rate=0.1)
    changes.release(RoutingTable(routes=newest_first({"1.0": 50, "2.0": 50}, ORDER), guard=guard))
    with Clients(changes.service.inference) as clients:
        wait_until(lambda: changes.current().kind is ReleaseKind.GUARD, timeout_s=PATIENCE_S, what="a release")
        wait_until(lambda: changes.runtime.figures(changes.uid).release == changes.current().number, what="a switch")
        clients.failed.clear()
        clients.wait_for_more()
    assert [answer for answer in clients.failed if not answer.startswith("500")] == []
    assert clients.answers[-1].version == "1.0"
    with changes.registry.read() as reader:
        last = reader.last_change("seq")
    assert last is not None
    detail = last.detail
    candidate = detail["figures"]["candidate"]
    assert candidate["version"] == "2.0"
    assert candidate["failures"] > candidate["requests"] / 10


def test_mirrored_version_that_hangs_fails_no_request(changes: Changes) -> None:
    """Copies are counted when they are dropped; none of their answers reaches a client."""
    changes.add_version(source=HANGING)
    changes.release(RoutingTable(routes=newest_first({"1.0": 100}, ORDER), mirror=Mirror(version="2.0", percent=100)))
    with Clients(changes.service.inference) as clients:
        clients.wait_for_more()
        wait_until(lambda: changes.runtime.figures(changes.uid).versions["2.0"].dropped > 0, what="dropped copies")
        clients.wait_for_more()
    assert clients.failed == []
    assert {answer.version for answer in clients.answers} == {"1.0"}


def _version(service: Service, path: str) -> str:
    async def ask() -> str:
        async with aiohttp.ClientSession(service.inference) as session, session.post(path, data=b"x") as answer:
            assert answer.status == 200, await answer.text()
            return answer.headers["x-workflow-version"]

    return asyncio.run(ask())
