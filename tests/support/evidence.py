"""What a deployment shows to somebody who looks at its answers, its database, its folders and its processes."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.kept import kept_digests, kept_parts
from tests.support.service import CHECKOUT, Service, wait_until


def query(service: Service, statement: str, *parameters: object) -> list[dict[str, Any]]:
    """Ask the database, which this cannot write to."""
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, parameters)]


def audit_of(service: Service, answer: requests.Response) -> list[dict[str, Any]]:
    """Return the audit rows that one request left."""
    rows = query(service, "SELECT * FROM audit_event WHERE request_id = ?", answer.headers["x-request-id"])
    return [{**row, "detail": json.loads(row["detail"])} for row in rows]


def health(service: Service) -> dict[str, Any]:
    """Return what the service says about itself."""
    body: dict[str, Any] = requests.get(f"{service.management}/ping", timeout=10).json()
    return body


@dataclass(frozen=True, kw_only=True)
class Traces:
    """All that a registration could leave.

    Attributes:
        listed: Names in the list of workflows.
        rows: Names in the table of workflows.
        files: Files in both stores, hidden ones too.
        kept: Archives that are kept although no registration of them succeeded, and parts of such.
        leases: Files of work under way.
        workers: Process ids of workers.
    """

    listed: tuple[str, ...]
    rows: tuple[str, ...]
    files: frozenset[str]
    kept: frozenset[str]
    leases: frozenset[str]
    workers: frozenset[int]


def traces_of(service: Service) -> Traces:
    """Look at everything."""
    stores = (service.workflow_store, service.model_store)
    return Traces(
        listed=tuple(service.names()),
        rows=tuple(row["name"] for row in query(service, "SELECT name FROM workflow ORDER BY name")),
        files=frozenset(str(path.relative_to(service.instance)) for store in stores for path in store.rglob("*")),
        kept=frozenset(kept_digests(service.archives) - registered_digests(service) | kept_parts(service.archives)),
        leases=frozenset(path.name for path in (service.run_folder / "leases").iterdir()),
        workers=frozenset(service.worker_pids()),
    )


def registered_digests(service: Service) -> set[str]:
    """Return the digests of all archives that were ever registered, which may be kept for a while."""
    found = set()
    for row in query(service, "SELECT detail FROM audit_event WHERE outcome = 'succeeded' AND action LIKE 'register%'"):
        detail = json.loads(row["detail"])
        found |= {detail["archive_sha256"], *(node["sha256"] for node in detail["nodes"].values())}
    return found


@contextmanager
def nothing_left(service: Service) -> Iterator[None]:
    """Check that the block leaves the deployment as healthy and as tidy as it was."""
    before = traces_of(service)
    yield
    after = traces_of(service)
    assert after == before, f"{before} became {after}"
    wait_until(lambda: health(service) == {"status": "Healthy"}, what="health, as the runtime reported it last")


def assert_json(answer: requests.Response) -> Any:
    """Check the form that every JSON answer has, and return what it says."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert answer.text == json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return body


def assert_error(
    answer: requests.Response, status: int, error_type: str, message: str, *, more: tuple[str, ...] = ()
) -> None:
    """Check an error: its status, its type, how its message starts, and that it gives nothing of the host away."""
    body = assert_json(answer)
    assert list(body) == ["code", "type", "message", *more]
    assert (answer.status_code, body["code"], body["type"]) == (status, status, error_type), body
    assert body["message"].startswith(message), body["message"]
    for internal in ("Traceback", str(CHECKOUT), "/archives/sha256", ".part"):
        assert internal not in body["message"]


def assert_failure_is_audited(service: Service, answer: requests.Response, workflow: str | None = None) -> None:
    """Check that a refused registration left one audit row, which says what the answer says."""
    (row,) = audit_of(service, answer)
    assert (row["action"], row["outcome"], row["actor"]) == ("register", "failed", "anonymous")
    assert row["address"] == "127.0.0.1"
    assert row["detail"]["error"]["message"] == answer.json()["message"]
    if workflow is not None:
        assert row["workflow"] == workflow


def described_with_workers(service: Service, name: str) -> dict[str, Any]:
    """Return a description in which every node has a ready worker; each web worker hears of them in its own time."""

    def described() -> dict[str, Any] | None:
        found = service.describe(name)
        return found if all(node["readyWorkers"] for node in found["nodes"]) else None

    answer: dict[str, Any] = wait_until(described, what=f"the workers of {name}")
    return answer


def ready_workers(service: Service, name: str) -> dict[str, int]:
    """Return the ready workers by node, once all nodes of the workflow have one."""
    return {node["name"]: node["readyWorkers"] for node in described_with_workers(service, name)["nodes"]}


def refused(service: Service, plane: str) -> float:
    """Return how many requests were refused so far."""
    if plane == "inference":
        text = service.inference_metrics()
    else:
        text = requests.get(f"{service.management}/metrics", timeout=10).text
    counts = re.findall(r"^wfmgmt_cross_origin_refused_total{check=\"\w+\"} (\S+)$", text, re.MULTILINE)
    return sum(map(float, counts))


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the values of all metrics by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rows(service: Service, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return what an auditor with a SQL prompt sees."""
    connection = sqlite3.connect(service.database, timeout=10)
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()
