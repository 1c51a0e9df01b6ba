"""A workflow that is changed while clients use it: no request fails, and none gets a version without a share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.campaigns import kill_again_and_again
from tests.support.change_kills import make_campaign
from tests.support.changing import NAME, Changer, clients_at_work, make_version
from tests.support.deployments import deployed
from tests.support.evidence import query
from tests.support.service import Service


@pytest.fixture(name="changed", scope="module")
def _changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment with two versions of a workflow; the one that has no share is parked as soon as may be."""
    with deployed(tmp_path_factory.mktemp("changed") / "instance", web_workers=2, standby_s=0) as service:
        assert service.register(make_version(service, "1.0")).status_code == 200
        assert service.register(make_version(service, "2.0"), version="2.0").status_code == 200
        yield service


def test_no_request_fails_while_a_workflow_is_changed_in_every_way(changed: Service) -> None:
    """Default version, rollback, a growing share, workers and batches; `tests/chaos/test_changes.py` takes a minute."""
    with clients_at_work(changed, 8, pause_s=0.01) as clients:
        changer = Changer(service=changed, clients=clients)
        changer.look()
        changer.sequence()
        changer.back()
    changer.check()
    assert set(changer.answers()) == {"1.0", "2.0"}
    history = query(
        changed,
        "SELECT version, weight FROM v_serving_history WHERE workflow = ? ORDER BY release, weight DESC",
        NAME,
    )
    assert [(row["version"], row["weight"]) for row in history] == [
        pair for each in changer.history for pair in sorted(each.weights.items(), key=lambda pair: -pair[1])
    ]


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_service_keeps_the_changes_that_it_acknowledged(tmp_path: Path, rounds: int) -> None:
    """Release and settings are those last answered or under way, and are served; `make chaos` kills 200 times."""
    service = Service(tmp_path / "instance", web_workers=2)
    try:
        kill_again_and_again(make_campaign(service), rounds=rounds)
    finally:
        service.kill()
