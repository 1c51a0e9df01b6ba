"""Many clients that want the same at once, through four web workers."""

import pytest

from tests.support.races import make_racing_service, race_for_one_name, race_to_remove_one_name


def test_one_of_sixteen_clients_gets_the_name_and_one_removes_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One 200 and fifteen 409, the winner's models intact; then one 200 and fifteen 404."""
    with make_racing_service(tmp_path_factory.mktemp("races") / "instance") as service:
        for _ in range(3):
            assert race_for_one_name(service) == {200: 1, 409: 15}
            assert race_to_remove_one_name(service) == {200: 1, 404: 15}
