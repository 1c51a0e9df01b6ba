"""The promises about races in full: 200 rounds each."""

from collections.abc import Callable
from pathlib import Path

from tests.support.races import make_racing_service, race_for_one_name, race_to_remove_one_name


def test_one_of_sixteen_clients_wins_every_race(tmp_path: Path, rounds: int, report: Callable[[str], None]) -> None:
    """In every round one client registers the name, and one removes it."""
    with make_racing_service(tmp_path / "instance") as service:
        for _ in range(rounds):
            assert race_for_one_name(service) == {200: 1, 409: 15}
            assert race_to_remove_one_name(service) == {200: 1, 404: 15}
        assert service.command("audit", "verify").returncode == 0
    report(f"{rounds} races for one name: 1 x 200, 15 x 409 each; {rounds} to remove it: 1 x 200, 15 x 404 each")
