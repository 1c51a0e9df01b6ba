"""The counters that web workers share, while web workers come and go."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.evidence import samples
from tests.support.processes import web_workers
from tests.support.service import Service, wait_until

WORKERS = 2
#: A client waits while all web workers are being replaced, each of which imports the application first.
TIMEOUT_S = 60
COUNTED = (
    "wfmgmt_requests_total",
    (("method", "GET"), ("route", "/workflows/<name>"), ("status", "404")),
)


def get(service: Service, path: str) -> requests.Response:
    """Send a request; one that meets the end of a web worker is sent again."""

    def answers() -> list[requests.Response]:
        try:
            return [requests.get(f"{service.management}{path}", timeout=TIMEOUT_S)]
        except requests.ConnectionError:
            return []

    answer: requests.Response = wait_until(answers, timeout_s=TIMEOUT_S, what="an answer")[0]
    return answer


def ask(service: Service) -> None:
    """Send a request of the kind that is counted."""
    assert get(service, "/workflows/nosuch").status_code == 404


def counted(service: Service) -> float:
    """Return how many were counted."""
    answer = get(service, "/metrics")
    assert answer.status_code == 200
    return samples(answer.text).get(COUNTED, 0.0)


def files(service: Service) -> list[Path]:
    """Return the files of counters."""
    return list((service.run_folder / "metrics").glob("*.db"))


def kill_web_worker(service: Service) -> None:
    """Kill the only one, and wait for its end."""
    (worker,) = web_workers(service)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in web_workers(service), timeout_s=TIMEOUT_S, what="its end")


def test_counters_outlive_web_workers_in_files_that_do_not_pile_up(tmp_path: Path) -> None:
    """Web workers that end after a few requests leave their counts to the next ones."""
    # The old worker of a slot may still be ending when the new one starts.
    max_files = 2 * 2 * WORKERS
    # So many that the questions whether it has started do not end one web worker after the other.
    with deployed(tmp_path / "i", "--max-requests", "25", web_workers=WORKERS) as service:
        before = 0.0
        for _ in range(3):
            for _ in range(50):
                ask(service)
            after = wait_until(lambda: counted(service), timeout_s=TIMEOUT_S, what="the metrics")
            assert after >= before + 50
            assert len(files(service)) <= max_files
            before = after


def test_counters_outlive_a_web_worker_that_was_killed(tmp_path: Path) -> None:
    """What it counted last is not lost, and its files are used again."""
    with deployed(tmp_path / "i", web_workers=1) as service:
        for _ in range(3):
            for _ in range(10):
                ask(service)
            assert counted(service) % 10 == 0
            kill_web_worker(service)
            for _ in range(10):
                ask(service)
        assert counted(service) == 60
        assert len(files(service)) == 2


def overwrite(file: Path, content: bytes) -> None:
    """Change a file in place, as what maps it sees it, too."""
    with file.open("r+b") as opened:
        opened.write(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: overwrite(file, b"\xff" * 4096), marks=pytest.mark.slow),
        lambda file: overwrite(file, b"\x00\x10\x00\x00" + b"damaged!" * 500),
        pytest.param(lambda file: overwrite(file, bytes(4096)), marks=pytest.mark.slow),
        Path.unlink,
        lambda file: os.truncate(file, 100),
    ],
    ids=["ones", "damaged", "zeros", "removed", "cut off"],
)
def test_damaged_files_of_counters_are_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """No request fails for that, metrics go on without what was lost, and the same web worker counts again."""
    with deployed(tmp_path / "i", web_workers=1) as service:
        for _ in range(10):
            ask(service)
        for file in files(service):
            damage(file)

        def counts() -> bool:
            before = counted(service)  # What maps a file that is cut off ends when it looks there.
            ask(service)
            return counted(service) == before + 1

        wait_until(counts, timeout_s=TIMEOUT_S, what="counting")
        assert len(files(service)) == 2
        for _ in range(10):
            ask(service)
        assert counted(service) >= 11
