"""What it is like with 100,000 workflows in the database.

Their archives do not exist, since so many worker processes fit no machine: the management plane is what is measured.
"""

import statistics
import time
from pathlib import Path

import requests

from benchmarks.figures import Figure
from benchmarks.load import median_of_rounds
from benchmarks.processes import memory_mb, web_workers
from tests.support.records import add_versions, fill
from tests.support.service import Service, wait_until
from wfmgmt.registry.schema import upgrade

MANY, SOME = 100_000, 1_000
_LIMIT = 100
_ROUNDS = 20
_VERSIONS = 5
#: After the start, until descriptions are measured.
_SETTLE_S = 20


def _filled_service(folder: Path, count: int) -> Service:
    service = Service(folder, web_workers=2)
    url = f"sqlite:///{service.database}"
    upgrade(url)
    fill(url, count)
    return service


def _start(service: Service) -> float:
    """Start a service and return the seconds until its list answered."""
    began = time.perf_counter()
    service.launch()
    address = service.run_folder / "management.address"
    wait_until(address.exists, timeout_s=30, what="the start")
    service.management = f"http://{address.read_text(encoding='ascii').strip()}"
    wait_until(lambda: _lists(service), timeout_s=30, what="an answer")
    return time.perf_counter() - began


def _lists(service: Service) -> bool:
    try:
        return requests.get(f"{service.management}/workflows", timeout=10).ok
    except requests.ConnectionError:
        return False


def _median_ms(session: requests.Session, url: str) -> float:
    spent_ms = []
    for _ in range(_ROUNDS):
        answer = session.get(url, timeout=10)
        assert answer.ok, answer.text
        spent_ms.append(answer.elapsed.total_seconds() * 1000)
    return statistics.median(spent_ms)


def growing(folder: Path) -> list[Figure]:
    """Start with many workflows; ask for pages and descriptions; look at the memory."""
    figures = []
    for count, at_most in ((SOME, 2), (MANY, 5)):
        service = _filled_service(folder / str(count), count)
        try:
            what = f"start with {count:,} workflows until management answers"
            figures.append(Figure(what=what, value=_start(service), unit="s", at_most=at_most))
            if count == MANY:
                figures += _ask(service, count)
        finally:
            service.kill()
    return figures


def with_versions(folder: Path) -> list[Figure]:
    """Start with 1,000 workflows of five versions each; ask for a page, and for descriptions."""
    service = _filled_service(folder, SOME)
    add_versions(f"sqlite:///{service.database}", _VERSIONS)
    what = f"{SOME:,} workflows of {_VERSIONS} versions"
    try:
        figures = [
            Figure(what=f"start with {what} until management answers", value=_start(service), unit="s", at_most=2)
        ]
        with requests.Session() as session:
            spent_ms = _median_ms(session, f"{service.management}/workflows?limit={_LIMIT}&next_page_token={SOME // 2}")
        figures.append(
            Figure(what=f"page of {_LIMIT} of {what}, median of {_ROUNDS}", value=spent_ms, unit="ms", at_most=50)
        )
        time.sleep(_SETTLE_S)  # The first loads, which all fail, are over then; nothing says when.
        url = f"{service.management}/workflows/bulk{SOME // 2:06}"
        return [*figures, *median_of_rounds(f"describe one of {what}", url, seconds=10)]
    finally:
        service.kill()


def _ask(service: Service, count: int) -> list[Figure]:
    figures = []
    base = f"{service.management}/workflows"
    with requests.Session() as session:
        for place, offset in (("start", 0), ("middle", count // 2), ("end", count - _LIMIT)):
            spent_ms = _median_ms(session, f"{base}?limit={_LIMIT}&next_page_token={offset}")
            what = f"page of {_LIMIT} at the {place} of {count:,}, median of {_ROUNDS}"
            figures.append(Figure(what=what, value=spent_ms, unit="ms", at_most=50))
        spent_ms = _median_ms(session, f"{base}/bulk{count // 2:06}")
        what = f"describe one of {count:,}, median of {_ROUNDS}"
        figures.append(Figure(what=what, value=spent_ms, unit="ms", at_most=20))
    largest_mb = max(memory_mb([pid], "Rss") for pid in web_workers(service))
    what = f"memory of the larger web worker with {count:,}, RSS"
    figures.append(Figure(what=what, value=largest_mb, unit="MB", at_most=200))
    return figures
