"""The promise about kills in full: 200 kills, 0 losses."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.campaigns import WHILE_PARTS_DIE, Campaign, kill_parts, run_kills
from tests.support.service import Service
from tests.support.web_files import served_archives


@pytest.fixture(name="downloads")
def _downloads(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    with served_archives(tmp_path) as downloads:
        yield downloads


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "instance", allowed_urls="http://127.0.0.1:.*")
    yield service
    service.kill()


def test_service_loses_nothing_when_it_is_killed_again_and_again(
    service: Service, downloads: tuple[Path, str], rounds: int, seed: int, report: Callable[[str], None]
) -> None:
    """Acknowledged work survives every kill, and nothing is half there afterwards."""
    campaign = Campaign(service, downloads, seed=seed)
    run_kills(campaign, rounds)
    report(f"{rounds} kills of the service, 0 losses: {campaign.figures()}")


def test_service_loses_nothing_when_its_parts_are_killed_again_and_again(
    service: Service, downloads: tuple[Path, str], rounds: int, seed: int, report: Callable[[str], None]
) -> None:
    """Web workers and the runtime come back by themselves, with everything that was registered."""
    campaign = Campaign(service, downloads, seed=seed, tolerated=WHILE_PARTS_DIE)
    with service:
        kill_parts(campaign, rounds)
        report(f"{rounds} kills of its parts, 0 losses: {campaign.figures()}")
