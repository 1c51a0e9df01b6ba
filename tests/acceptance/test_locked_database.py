"""Another program that holds the database's write lock: writers wait a while and get a 503, readers notice nothing."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.evidence import rows
from tests.support.service import Service, wait_until

#: How long writers wait, and what else an answer may take.
LOCK_WAIT_S, SLACK_S = 5.0, 2.0


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with prepared(tmp_path_factory.mktemp("locked") / "instance") as service:
        service.start()
        assert service.register("seq.war", workflow_name="kept").status_code == 200
        wait_until(lambda: all(ping(service) == "Healthy" for _ in range(20)), what="every web worker's report")
        yield service


@pytest.fixture(name="lock")
def _lock(service: Service) -> Iterator[sqlite3.Connection]:
    """Return a connection in another process's place, which holds the write lock."""
    connection = sqlite3.connect(service.database, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def ping(service: Service) -> str:
    """Return what one of the web workers says of the whole."""
    return str(requests.get(f"{service.management}/ping", timeout=10).json()["status"])


def test_changes_wait_for_the_lock_and_then_answer_503_while_reads_go_on(
    service: Service, lock: sqlite3.Connection
) -> None:
    """Both get a 503 after five seconds, nothing changed, and the failure is recorded as soon as it can be."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        register = pool.submit(service.register, "seq.war", workflow_name="seq")
        changes = [register, pool.submit(service.unregister, "kept")]
        slowest_read_s = 0.0
        while not all(change.done() for change in changes):
            asked = time.monotonic()
            assert service.names() == ["kept"]
            assert requests.get(f"{service.management}/workflows/kept", timeout=10).status_code == 200
            assert ping(service) == "Healthy"
            slowest_read_s = max(slowest_read_s, time.monotonic() - asked)
        took_s = time.monotonic() - began
    for change in changes:
        answer = change.result()
        assert (answer.status_code, answer.json()["type"]) == (503, "ServiceUnavailableException"), answer.text
        assert int(answer.headers["Retry-After"]) > 0
    assert LOCK_WAIT_S * 0.9 < took_s < LOCK_WAIT_S + SLACK_S
    assert slowest_read_s < LOCK_WAIT_S * 0.9  # None of them waited for the lock.
    lock.execute("ROLLBACK")
    assert service.register("seq.war").status_code == 200
    assert service.unregister("seq").status_code == 200
    failed = (
        "SELECT action, workflow FROM audit_event "
        "WHERE outcome = 'failed' AND detail LIKE '%RegistryUnavailable%' ORDER BY action"
    )
    both = [("register", "seq"), ("unregister", "kept")]
    wait_until(lambda: rows(service, failed) == both, what="the record of what could not be recorded at once")


def test_changes_wait_for_a_lock_that_is_given_back_in_time(service: Service, lock: sqlite3.Connection) -> None:
    """A short backup by another program delays a registration, and does not fail it."""
    with ThreadPoolExecutor(1) as pool:
        change = pool.submit(service.register, "seq.war")
        wait_until(lambda: list((service.run_folder / "leases").iterdir()), what="a registration under way")
        lock.execute("ROLLBACK")
        assert change.result(10).status_code == 200
    assert service.unregister("seq").status_code == 200
    assert rows(service, "SELECT name FROM workflow") == [("kept",)]
