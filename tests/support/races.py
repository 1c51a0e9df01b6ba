"""Sixteen clients that want the same at the same moment, and what has to hold afterwards."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service, parent_pid, wait_until

CLIENTS = 16
NAME = "contended"


def make_racing_service(instance: Path) -> Service:
    """Return a service with four web workers, with settings as they come, and an archive for each client."""
    service = Service(instance, "-w", "4")
    make_mar(service.model_store)
    for client in range(CLIENTS):
        make_war(service.workflow_store, name=f"w{client}")
    return service


def at_once(act: Callable[[int], requests.Response]) -> list[requests.Response]:
    """Let every client act at the same moment; return the answers in the order of the clients."""
    barrier = threading.Barrier(CLIENTS)

    def wait_and_act(client: int) -> requests.Response:
        barrier.wait()
        return act(client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(wait_and_act, range(CLIENTS)))


def race_for_one_name(service: Service) -> Counter[int]:
    """Register one name from all clients at once; return how often each status was answered.

    Raises:
        AssertionError: The registry or the processes are not the winner's alone.
    """
    answers = at_once(lambda client: service.register(f"w{client}.war", workflow_name=NAME))
    statuses = Counter(answer.status_code for answer in answers)
    winners = [f"w{client}.war" for client, answer in enumerate(answers) if answer.status_code == 200]
    workers = worker_pids(service)
    described = service.describe(NAME)
    assert [described["workflowUrl"]] == winners
    assert service.names() == [NAME]
    wait_until(lambda: service.ready_workers(NAME) == [1, 1, 1], what="the models")
    assert worker_pids(service) == workers, "the losers disturbed the winner's workers"
    return statuses


def race_to_remove_one_name(service: Service) -> Counter[int]:
    """Remove one name from all clients at once; return how often each status was answered.

    Raises:
        AssertionError: Something of the workflow is still there.
    """
    answers = at_once(lambda _: service.unregister(NAME))
    assert service.names() == []
    assert worker_pids(service) == []
    return Counter(answer.status_code for answer in answers)


def worker_pids(service: Service) -> list[int]:
    """Return the workers, which are the children of the forkserver."""
    pids = service.worker_pids()
    return [pid for pid in pids if parent_pid(pid) in pids]
