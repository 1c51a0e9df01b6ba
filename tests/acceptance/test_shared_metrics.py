"""The counters that web workers share, while web workers come and go."""

import os
import signal
from pathlib import Path

import requests

from tests.support.evidence import samples
from tests.support.processes import web_workers
from tests.support.service import Service, wait_until

WORKERS = 2
COUNTED = (
    "wfmgmt_requests_total",
    (("method", "GET"), ("route", "/workflows/<name>"), ("status", "404")),
)


def ask(service: Service) -> None:
    """Send a request of the kind that is counted; one that meets the end of a web worker is sent again."""

    def is_answered() -> bool:
        try:
            return requests.get(f"{service.management}/workflows/nosuch", timeout=10).status_code == 404
        except requests.ConnectionError:
            return False

    wait_until(is_answered, what="an answer")


def counted(service: Service) -> float:
    """Return how many were counted."""
    return samples(requests.get(f"{service.management}/metrics", timeout=10).text)[COUNTED]


def files(service: Service) -> list[Path]:
    """Return the files of counters."""
    return list((service.run_folder / "metrics").glob("*.db"))


def kill_web_worker(service: Service) -> None:
    """Kill the only one, and wait for its end."""
    (worker,) = web_workers(service)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in web_workers(service), what="its end")


def test_counters_outlive_web_workers_in_files_that_do_not_pile_up(tmp_path: Path) -> None:
    """Web workers that end after a few requests leave their counts to the next ones."""
    # The old worker of a slot may still be ending when the new one starts.
    max_files = 2 * 2 * WORKERS
    with Service(tmp_path / "i", "--max-requests", "5", web_workers=WORKERS) as service:
        before = 0.0
        for _ in range(6):
            for _ in range(10):
                ask(service)
            after = wait_until(lambda: counted(service), what="the metrics")
            assert after >= before + 10
            assert len(files(service)) <= max_files
            before = after


def test_counters_outlive_a_web_worker_that_was_killed(tmp_path: Path) -> None:
    """What it counted last is not lost, and its files are used again."""
    with Service(tmp_path / "i", web_workers=1) as service:
        for _ in range(3):
            for _ in range(10):
                ask(service)
            assert counted(service) % 10 == 0
            kill_web_worker(service)
            for _ in range(10):
                ask(service)
        assert counted(service) == 60
        assert len(files(service)) == 2
