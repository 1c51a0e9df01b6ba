"""The promises about changes in full: `CHAOS_SECONDS` (60) of them, with 64 clients, and 200 kills."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.campaigns import kill_again_and_again
from tests.support.change_kills import make_campaign
from tests.support.changing import Changer, clients_at_work, make_version
from tests.support.service import Service

CLIENTS = 64


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "instance", web_workers=2) as service:
        assert service.register(make_version(service, "1.0")).status_code == 200
        assert service.register(make_version(service, "2.0"), version="2.0").status_code == 200
        yield service


def test_no_request_fails_while_a_workflow_is_changed_in_every_way(
    service: Service, report: Callable[[str], None]
) -> None:
    """Default version, rollback, a growing share, workers and batches, again and again."""
    until = time.monotonic() + float(os.environ.get("CHAOS_SECONDS", "60"))
    with clients_at_work(service, CLIENTS) as clients:
        changer = Changer(service=service, clients=clients)
        changer.look()
        while time.monotonic() < until:
            changer.sequence()
            changer.back()
    changer.check()
    report(f"{CLIENTS} clients: {dict(changer.answers())} answers of versions, {len(changer.history)} releases")


def test_killed_service_keeps_the_changes_that_it_acknowledged(
    tmp_path: Path, rounds: int, seed: int, report: Callable[[str], None]
) -> None:
    """Release and settings are those of the last answer or of the change under way, and all of it is served."""
    service = Service(tmp_path / "instance", web_workers=2)
    try:
        campaign = make_campaign(service, seed)
        kill_again_and_again(campaign, rounds)
        report(f"{rounds} kills, 0 losses: {campaign.figures()}")
    finally:
        service.kill()
