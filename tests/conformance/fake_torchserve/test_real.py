"""The real TorchServe of the tests starts, restarts and ends as they need it."""

from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar
from tests.support.model_servers import is_running
from tests.support.real_torchserve import SMALL, VENV, TorchServe, children
from tests.support.service import wait_until

pytestmark = pytest.mark.torchserve


def register(server: TorchServe) -> None:
    """Register the model m1 with one worker."""
    parameters: dict[str, str | int] = {"url": "m1.mar", "initial_workers": 1}
    answer = requests.post(f"{server.management}/models", params=parameters, timeout=30)
    assert answer.status_code == 200, answer.text


def test_it_restarts_empty_on_its_ports_and_leaves_no_process(tmp_path: Path) -> None:
    """A killed server comes back without models, and takes its workers with it when it goes."""
    store = tmp_path / "store"
    store.mkdir()
    make_mar(store)
    with TorchServe(VENV, tmp_path / "run", store, settings=SMALL) as server:
        register(server)
        before = (server.management, server.inference)
        server.restart()
        assert (server.management, server.inference) == before
        assert requests.get(f"{server.management}/models", timeout=10).json() == {"models": []}
        register(server)
        java = server.frontend_pid()
        assert java is not None
        pids = [java, *children(java)]
        assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids), what="the end of all processes")
