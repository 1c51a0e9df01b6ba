"""The management application in this process, over a real database and stores, and a runtime in memory."""

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from tests.support.factories import make_mar, make_war
from tests.support.service import wait_until
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import (
    FiguresReport,
    LogLine,
    LogReport,
    NodeReport,
    ReachReport,
    StatusChanges,
    TrafficFigures,
    TrafficKind,
    TrafficReport,
    VersionFigures,
    WorkflowReport,
)
from wfmgmt.domain.operations import OperationKind, OperationState
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import RuntimeDown, RuntimeUnavailable, ShuttingDown
from wfmgmt.management import Services
from wfmgmt.registry.schema import upgrade
from wfmgmt.settings import Settings
from wfmgmt.wsgi import make_application

#: Headers that tests set.
Headers = Mapping[str, str]


class FakeRuntime(RuntimeClient):
    """A runtime that loads at once and reaches everything, unless told otherwise.

    Attributes:
        loads: Versions that were loaded, in order, as `workflow/version`.
        loaded: Uids of what is loaded.
        failing: Versions that do not come up.
        reached: Workflow and revision of each call that asked for one.
        problem: Why revisions are not reached; empty when they are.
        dies: Raised instead of reaching a revision, as when the process is killed.
        may_load: Holds loads up while it is not set.
        is_dead: Whether it does not say what is loaded.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "nothing.sock")
        self.loads: list[str] = []
        self.loaded: set[str] = set()
        self.failing: set[str] = set()
        self.reached: list[tuple[str, int]] = []
        self.problem = ""
        self.dies: BaseException | None = None
        self.is_dead = False
        self.may_load = threading.Event()
        self.may_load.set()

    def resume(self, other: "FakeRuntime") -> None:
        """Take over what another one has loaded and reached."""
        self.loads, self.loaded, self.reached = [*other.loads], {*other.loaded}, [*other.reached]

    def load(self, target: LoadRequest, *, cancelled: Callable[[], bool]) -> WorkflowReport:
        """Load a version, or fail."""
        self.loads.append(f"{target.workflow}/{target.version}")
        deadline = time.monotonic() + 30
        while not self.may_load.wait(0.01):
            assert time.monotonic() < deadline
            if cancelled():
                raise ShuttingDown("The server is stopping.")
        if target.version in self.failing:
            return WorkflowReport(
                uid=target.uid,
                workflow=target.workflow,
                state=LoadState.FAILED,
                nodes={node.name: NodeReport(kind=node.kind, wanted=1) for node in target.nodes},
                failures={"m1": "the test makes it fail"},
            )
        self.loaded.add(target.uid)
        return WorkflowReport(uid=target.uid, workflow=target.workflow, state=LoadState.LOADED)

    def unload(self, uid: str, *, wait_s: float = 0.0, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Unload a version."""
        del wait_s, cancelled
        self.loaded.discard(uid)

    def report(self, uid: str) -> WorkflowReport:
        """Return whether a version is loaded."""
        if self.is_dead:
            raise RuntimeDown("The runtime is down; it is being started.")
        return WorkflowReport(uid=uid, workflow="", state=LoadState.SERVING if uid in self.loaded else LoadState.ABSENT)

    def on_registered(self, uid: str) -> None:
        """Ignore it."""

    def reach(
        self, uid: str, revision: int, wait_s: float, *, cancelled: Callable[[], bool] = lambda: False
    ) -> ReachReport:
        """Reach a revision, or not."""
        del wait_s, cancelled
        if self.dies is not None:
            raise self.dies
        self.reached.append((uid, revision))
        return ReachReport(revision=revision, reached=not self.problem, problem=self.problem)

    def figures(self, uid: str) -> FiguresReport:
        """Return figures of a version that had ten requests."""
        del uid
        if self.problem:
            raise RuntimeUnavailable(self.problem)
        figures = TrafficFigures(requests=10, failures=1, p50_ms=1.5, p99_ms=20.0)
        return FiguresReport(
            revision=1, release=1, versions={"1.0": VersionFigures(traffic={TrafficKind.SERVE: figures}, in_flight=2)}
        )

    def traffic(self, uids: Sequence[str]) -> TrafficReport:
        """Return that each version 1.0 had 120 requests."""
        if self.problem:
            raise RuntimeUnavailable(self.problem)
        figures = TrafficFigures(requests=120, failures=6, p50_ms=1.5, p99_ms=20.0)
        return TrafficReport(workflows={uid: {"1.0": figures} for uid in uids})

    def log(self, workflow: str, version: str, node: str | None, lines: int) -> LogReport:
        """Return one line, which says what was asked."""
        if self.problem:
            raise RuntimeUnavailable(self.problem)
        text = f"{workflow} {version} {node} {lines}"
        return LogReport(lines=(LogLine(at="2026-01-31T12:00:00.000Z", node="m1", pid=None, level="info", text=text),))

    def last_lines(self, workflow: str, version: str, *, per_node: int, lines: int) -> LogReport:
        """Return the same."""
        return self.log(workflow, version, f"each {per_node}", lines)

    def changes(self, *, epoch: str, since: int, wait_s: float) -> StatusChanges:
        """Report nothing, but the first time at once."""
        del since
        if epoch:
            time.sleep(wait_s)  # As the runtime does while there is no news.
        return StatusChanges(
            epoch="e", sequence=1, catalog_error="", is_complete=True, is_whole=False, workflows=(), gone=()
        )


class ManagementApi:
    """A client of the application, with what is behind it.

    Attributes:
        client: Sends requests.
        runtime: The runtime.
        services: The services.
        ended: Kind and state of the operations that were counted as ended.
        database: The file of the database.
    """

    def __init__(
        self,
        client: FlaskClient,
        runtime: FakeRuntime,
        services: Services,
        ended: Sequence[tuple[OperationKind, OperationState]],
    ) -> None:
        self.client = client
        self.ended = ended
        self.runtime = runtime
        self.services = services
        self.database = Path(services.settings.database)

    def send(self, request: str, expected: int = 200, *, headers: Headers | None = None, json: Any = None) -> Any:
        """Send a request like `PUT /workflows/seq`, and return the JSON of the answer, which has that status."""
        return self.answer(request, expected, headers=headers, json=json).get_json()

    def answer(self, request: str, expected: int = 200, *, headers: Headers | None = None, json: Any = None) -> Any:
        """Send a request, and return the answer."""
        method, path = request.split(" ", 1)
        answer = self.client.open(path, method=method, headers=dict(headers or {}), json=json)
        assert answer.status_code == expected, answer.get_data(as_text=True)
        return answer

    def register(self, version: str, **parameters: str) -> Any:
        """Register a version of `seq`, and return the JSON of the answer."""
        return self.send("POST /workflows", json={"url": "seq.war", "version": version, **parameters})

    def describe(self, path: str = "seq") -> dict[str, Any]:
        """Return the one object of a description."""
        described: dict[str, Any] = self.send(f"GET /workflows/{path}")[0]
        return described

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return the rows that a query gives."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement, parameters).fetchall()

    def events(self) -> list[tuple[str, str]]:
        """Return action and outcome of all events of the audit trail."""
        return self.query("SELECT action, outcome FROM audit_event ORDER BY id")

    def state(self, *, with_records: bool = True) -> list[str]:
        """Return everything that the database holds but the keys of requests, perhaps without records of these."""
        left_out = ("idempotency_key",) if with_records else ("idempotency_key", "audit_event", "operation")
        with closing(sqlite3.connect(self.database)) as connection:
            return [line for line in connection.iterdump() if not any(table in line for table in left_out)]


def uploaded_at_once(api: ManagementApi, name: str, bodies: Sequence[bytes], *, times: int = 16) -> Counter[int]:
    """Upload models under one name, in turns and all at once; return how often which status was answered."""
    application = api.client.application

    def put(number: int) -> int:
        answer = application.test_client().put(f"/archives/models/{name}", data=bodies[number % len(bodies)])
        return answer.status_code

    with ThreadPoolExecutor(times) as pool:
        return Counter(pool.map(put, range(times)))


@contextmanager
def loading(
    api: ManagementApi, request: str = "POST /workflows?url=seq.war"
) -> Iterator[tuple[dict[str, Any], "Future[Any]"]]:
    """Send a request in a thread; give its operation while the runtime loads, and what will be answered once it may."""
    api.runtime.may_load.clear()
    before = len(api.runtime.loads)
    method, _, path = request.partition(" ")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(api.client.application.test_client().open, path, method=method)
        try:
            wait_until(lambda: len(api.runtime.loads) > before, what="the load")
            yield api.send("GET /operations")["operations"][0], answer
        finally:
            api.runtime.may_load.set()


@contextmanager
def carrying_out(api: ManagementApi) -> Iterator[None]:
    """Have all that is accepted carried out, as housekeeping does."""
    over = threading.Event()
    queues = (api.services.registration_queue, *api.services.change_queues)

    def dispatch() -> None:
        while not over.wait(0.01):
            for queue in queues:
                queue.dispatch()

    thread = threading.Thread(target=dispatch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
        for queue in queues:
            queue.stop()


def make_instance(folder: Path) -> Path:
    """Make an instance with the archives of `seq`, a model and two functions, and of `fun`, which has no model.

    `other.war` is another archive of `seq`, whose graph ends earlier.
    """
    settings = Settings.load({}, instance=folder)
    for store in (settings.workflow_store, settings.model_store, settings.run_folder):
        store.mkdir(parents=True)
    make_war(settings.workflow_store)
    make_war(settings.workflow_store, file_name="other.war", spec="models: {m1: {url: m1.mar}}\ndag: {m1: []}\n")
    make_war(settings.workflow_store, name="fun", spec="dag: {pre_processing: []}\n")
    make_mar(settings.model_store)
    upgrade(f"sqlite:///{settings.database}")
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An instance to copy in which something was registered, which takes longer than a test.

    Attributes:
        folder: The instance.
        runtime: The runtime that has loaded it.
    """

    folder: Path
    runtime: FakeRuntime

    @contextmanager
    def copy(self, folder: Path) -> Iterator[ManagementApi]:
        """Run the application over a copy, which is made in this folder."""
        with management_api(shutil.copytree(self.folder, folder), like=self.runtime) as api:
            yield api


@contextmanager
def management_api(folder: Path, *, like: FakeRuntime | None = None, **more: Any) -> Iterator[ManagementApi]:
    """Run the application over an instance, perhaps with more settings, and a runtime that has what another one had."""
    runtime = FakeRuntime(folder)
    if like is not None:
        runtime.resume(like)
    settings = Settings.load({}, instance=folder, **{"max_audited_failures": 1000, "web_workers": 1, **more})
    ended: list[tuple[OperationKind, OperationState]] = []
    services = Services(
        settings, runtime=runtime, on_operation_ended=lambda kind, state, _: ended.append((kind, state))
    )
    try:
        yield ManagementApi(make_application(services).test_client(), runtime, services, ended)
    finally:
        services.registry.close()
