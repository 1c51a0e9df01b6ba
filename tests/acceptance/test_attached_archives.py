"""Archives that come with a registration, through real web workers: from curl, the command, and who breaks off."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.processes import web_workers
from tests.support.service import Service, wait_until
from tests.support.slow_workflow import make_slow_workflow
from tests.support.uploading import connected, in_stores, nothing_left, parts

SPEC = "models: {m1: {url: m1.mar}}\ndag: {m1: []}\n"
MODEL = "def handle(data, context):\n    return None if data is None else ['hello']\n"


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("a")) as service:
        yield service


@pytest.fixture(name="war")
def _war(tmp_path: Path) -> Path:
    """An archive of a workflow here, beside that of its model."""
    make_mar(tmp_path, source=MODEL)
    return make_war(tmp_path, spec=SPEC, handler=None)


def test_curl_registers_what_it_sends(service: Service, war: Path) -> None:
    """In one call, as the README has it; nothing is left after the workflow."""
    with nothing_left(service):
        form = ["-F", f"archive=@{war}", "-F", f"model=@{war.parent / 'm1.mar'}", "-F", "version=2.0"]
        done = subprocess.run(
            ["curl", "-sf", *form, f"{service.management}/workflows"], capture_output=True, text=True, check=False
        )
        assert '"version": "2.0"' in done.stdout, done.stderr
        answer = requests.post(f"{service.inference}/wfpredict/seq", data=b"x", timeout=30)
        assert (answer.status_code, answer.text) == (200, "hello")
        assert service.unregister("seq").status_code == 200


def test_command_registers_files_of_its_own_machine(service: Service, war: Path) -> None:
    """A path with a slash is one; what would be sent is shown for curl, too."""
    arguments = ["register", str(war), "--model", str(war.parent / "m1.mar"), "--url", service.management]
    with nothing_left(service):
        shown = service.command(*arguments, "--curl")
        assert f"-F model=@{war.parent / 'm1.mar'} -F archive=@{war}" in shown.stdout
        assert service.command(*arguments, "--dry-run").returncode == 5
        done = service.command(*arguments)
        assert (done.returncode, done.stdout) == (0, "Workflow seq has been registered and scaled successfully.\n")
        assert service.unregister("seq").status_code == 200
    absent = service.command("register", "./nosuch.war", "--url", service.management)
    assert (absent.returncode, "nosuch.war" in absent.stderr) == (1, True), absent.stderr


def test_of_many_at_once_one_registers(service: Service, war: Path) -> None:
    """The others get a 409, at once or at the end of their operation, and nothing of what they sent is left."""
    content = {name: (war.parent / name).read_bytes() for name in ("seq.war", "m1.mar")}

    def register(_: int) -> int:
        form = [("archive", ("seq.war", content["seq.war"])), ("model", ("m1.mar", content["m1.mar"]))]
        answer = requests.post(f"{service.management}/workflows", files=form, timeout=60)
        if answer.status_code != 202:  # As many as may hold a thread are under way.
            return answer.status_code
        operation = f"{service.management}{answer.json()['operation']}"
        wait_until(lambda: requests.get(operation, timeout=60).json()["endedAt"], timeout_s=60, what="its end")
        error = requests.get(operation, timeout=60).json()["error"]
        return 200 if error is None else int(error["code"])

    with nothing_left(service):
        with ThreadPoolExecutor(12) as clients:
            statuses = list(clients.map(register, range(12)))
        assert sorted(statuses) == [200] + [409] * 11
        assert service.unregister("seq").status_code == 200


def test_form_that_breaks_off_leaves_nothing(service: Service) -> None:
    """In the middle of a file."""
    head = b"POST /workflows HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="archive"; filename="seq.war"\r\n\r\n' + os.urandom(600_000)
    with nothing_left(service), connected(service) as client:
        client.sendall(head + b"Content-Length: 1000000\r\n\r\n" + part)
        wait_until(lambda: any(name.endswith(".part") for name in in_stores(service)), what="the part")


def test_archives_go_with_the_web_worker_that_has_them(tmp_path: Path, war: Path) -> None:
    """A registration that waits ends with the reason when its process is killed, and its archives are removed."""
    with deployed(tmp_path / "s", operations=1, web_workers=1) as service:
        gate = make_slow_workflow(service, tmp_path / "gate")
        assert service.register("slow.war", synchronous="false").status_code == 202
        form = {"archive": ("seq.war", war.read_bytes()), "model": ("m1.mar", (war.parent / "m1.mar").read_bytes())}
        accepted = requests.post(
            f"{service.management}/workflows", files=form, data={"synchronous": "false"}, timeout=30
        )
        assert accepted.status_code == 202
        assert parts(service)
        (holder,) = web_workers(service)
        os.kill(holder, signal.SIGKILL)
        path = accepted.json()["operation"]

        def ended() -> bool:
            try:
                answer = requests.get(f"{service.management}{path}", timeout=10)
            except requests.ConnectionError:
                return False
            return bool(answer.status_code == 200 and answer.json()["state"] == "failed")

        wait_until(ended, timeout_s=60, what="the end of the operation")
        wait_until(lambda: not parts(service), timeout_s=60, what="the end of the parts")
        gate.unlink()
