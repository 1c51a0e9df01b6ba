"""Where the service listens: on its own sockets or on those that it is given, and what it says of them."""

import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.passed_sockets import pass_sockets
from tests.support.service import START_S, Service, wait_until


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "instance")
    make_war(service.workflow_store)
    make_mar(service.model_store)
    yield service
    service.kill()


@pytest.mark.parametrize("name", ["inference", pytest.param("wfmgmt.socket", marks=pytest.mark.slow)])
def test_one_passed_socket_is_for_one_plane(service: Service, name: str) -> None:
    """It is for management unless it is called inference; the other plane listens on a socket of its own."""
    with socket.create_server(("127.0.0.1", 0)) as passed:
        service.command_line = [sys.executable, "-m", "wfmgmt.cli.main", "serve"]
        pass_sockets(service, passed, names=name)
        service.start()
        on_passed = service.inference if name == "inference" else service.management
        assert on_passed.endswith(f":{passed.getsockname()[1]}")
        assert service.register("seq.war").status_code == 200
        assert service.predicts()
        assert service.stop() == 0
    service.wait_until_gone()


def test_unix_sockets_are_named_by_their_paths(service: Service, tmp_path: Path) -> None:
    """In the files that say where the service listens, and in the log."""
    paths = {plane: tmp_path / f"{plane}.sock" for plane in ("management", "inference")}
    with socket.socket(socket.AF_UNIX) as management, socket.socket(socket.AF_UNIX) as inference:
        for sock, path in zip((management, inference), paths.values(), strict=True):
            sock.bind(str(path))
            sock.listen()
        pass_sockets(service, management, inference, names="management:inference")
        service.launch()
        wait_until(service.has_addresses, timeout_s=START_S, what="the start")
        for plane, path in paths.items():
            assert (service.run_folder / f"{plane}.address").read_text() == f"unix:{path}\n"
        wait_until(lambda: "runtime is up, inference at unix:" in service.text_of_log(), timeout_s=START_S)
        assert ask(paths["management"], "POST", "/workflows?url=seq.war") == 200
        assert ask(paths["inference"], "POST", "/wfpredict/seq") == 200
        assert service.stop() == 0
    assert f"management at unix:{paths['management']}\n" in service.text_of_log()


def ask(path: Path, method: str, target: str) -> int:
    """Send a request over a Unix socket and return the status of the answer."""
    connection = HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request(method, target)
        return connection.getresponse().status
    finally:
        connection.close()
