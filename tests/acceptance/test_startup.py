"""How a service that cannot start says so: one line, a telling exit code, nothing touched.

All that its master refuses is in tests/integration/deployment/test_refused_starts.py.
"""

import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.factories import make_mar, make_war
from tests.support.records import fill, make_database
from tests.support.service import CHECKOUT, Service, wait_until

#: How much CPU time a deployment that cannot start takes at most to say so, which is its time on a machine of its own.
REFUSAL_CPU_S = 2.0
#: How long it takes by the clock, pauses included, on a machine that is many times as slow.
REFUSAL_S = 30.0
#: Takes from root what lets it ignore permissions; others cannot ignore them anyway.
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Path:
    """Return a database of several hundred pages in a folder of its own, as the instance would have it."""
    instance = tmp_path / "instance"
    instance.mkdir()
    path = instance / "wfmgmt.db"
    make_database(path)
    fill(f"sqlite:///{path}", 200)
    return path


def refusal(service: Service, exit_code: int) -> str:
    """Return the one line that a deployment which refuses to start says.

    Raises:
        AssertionError: It starts, takes too long, says more or less than that, or leaves something running.
    """
    service.log.unlink(missing_ok=True)
    process = service.launch()
    try:
        assert process.wait(REFUSAL_S) == exit_code, service.text_of_log()
    finally:
        service.kill()
    service.wait_until_gone()
    said = [line for line in service.text_of_log().splitlines() if " INFO " not in line]
    assert len(said) == 1, service.text_of_log()
    assert said[0].startswith("wfmgmt: ")
    return said[0]


def cpu_of_children_s() -> float:
    """Return the CPU time of all processes that this one has waited for, and of those that they have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file that belongs to the database."""
    return {path.name: path.read_bytes() for path in folder.glob("*.db*")}


def test_start_is_refused_when_the_database_is_damaged(database: Path) -> None:
    """Exit code 3 and a line that names the file, whose bytes stay as they are."""
    database.write_bytes(b"not a database, but long enough to be one " * 1000)
    before = contents(database.parent)
    line = refusal(Service(database.parent), 3)
    assert str(database) in line
    assert contents(database.parent).items() >= before.items()


@pytest.mark.parametrize("protected", ["file", pytest.param("folder", marks=pytest.mark.slow)])
def test_start_is_refused_when_the_database_is_read_only(database: Path, tmp_path: Path, protected: str) -> None:
    """Exit code 3 and a line that says so, whether the file or its folder cannot be written."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    moved = database.rename(folder / database.name)
    moved.chmod(0o444 if protected == "file" else 0o644)
    folder.chmod(0o755 if protected == "file" else 0o555)
    before = contents(folder)
    try:
        service = Service(database.parent, prefix=WITHOUT_PRIVILEGES, database_url=f"sqlite:///{moved}")
        line = refusal(service, 3)
        assert "cannot be written" in line
        assert contents(folder) == before
    finally:
        folder.chmod(0o755)


def test_start_is_refused_when_a_setting_is_wrong(tmp_path: Path) -> None:
    """Exit code 2 and a line that names the setting, soon.

    The attempt of three that takes the least CPU time counts: neighbours on the same core slow down even that.
    """
    settings: dict[str, Any] = {"web_worker": "2"}
    for _ in range(3):
        before_s = cpu_of_children_s()
        assert "did you mean WFMGMT_WEB_WORKERS?" in refusal(Service(tmp_path / "instance", **settings), 2)
        cpu_s = cpu_of_children_s() - before_s
        if cpu_s < REFUSAL_CPU_S:
            break
    assert cpu_s < REFUSAL_CPU_S


@pytest.mark.parametrize(
    ("settings", "exit_code"), [({"web_workers": "none"}, 2), ({"database_url": "sqlite:////etc"}, 3)]
)
def test_serve_is_refused_as_gunicorn_is(tmp_path: Path, settings: dict[str, Any], exit_code: int) -> None:
    """`wfmgmt serve` has the same line and the same codes."""
    service = Service(tmp_path / "instance", **settings)
    service.command_line = [sys.executable, "-m", "wfmgmt.cli.main", "serve"]
    assert "wfmgmt: " in refusal(service, exit_code)


def test_start_is_refused_without_a_key_of_signers(tmp_path: Path) -> None:
    """Exit code 2, a line that names the setting and what is expected, and nothing is made."""
    (tmp_path / "signers").mkdir()
    service = Service(tmp_path / "i", signers=tmp_path / "signers")
    assert refusal(service, 2).strip() == (
        f"wfmgmt: WFMGMT_SIGNERS: {tmp_path / 'signers'} has no public key; expected files named *.pub"
    )
    assert not service.database.exists()


@pytest.mark.parametrize("setting", ["nosuch_module", pytest.param("json,broken_module", marks=pytest.mark.slow)])
def test_service_ends_when_a_module_cannot_be_preloaded(tmp_path: Path, setting: str) -> None:
    """Exit code 2 and one line that names the setting, the module and the reason."""
    (tmp_path / "broken_module.py").write_text("raise ImportError('no such library')\n")
    service = Service(tmp_path / "instance", preload=setting)
    make_database(service.database)
    service.environment["PYTHONPATH"] = str(tmp_path)
    process = service.launch()
    try:
        assert process.wait(20) == 2, service.text_of_log()
    finally:
        service.kill()
    module = setting.rpartition(",")[2]
    reason = "ModuleNotFoundError: No module named" if module == "nosuch_module" else "ImportError: no such library"
    said = [line for line in service.text_of_log().splitlines() if line.startswith("wfmgmt: ")]
    assert len(said) == 1, service.text_of_log()
    assert said[0].startswith(f"wfmgmt: WFMGMT_PRELOAD: {module} cannot be imported: {reason}")
    assert not any(sign in service.text_of_log() for sign in ("Traceback", " ERROR "))
    service.wait_until_gone()


def test_service_ends_when_workers_may_have_too_little_memory(tmp_path: Path) -> None:
    """Exit code 2 and one line that names the setting and the least that is enough, and with that it starts."""
    service = Service(tmp_path / "instance", worker_memory_mb=8)
    make_database(service.database)
    try:
        assert service.launch().wait(20) == 2, service.text_of_log()
    finally:
        service.kill()
    found = re.findall(
        r"^wfmgmt: WFMGMT_WORKER_MEMORY_MB: 8 is too little .* at least (\d+) is needed$",
        service.text_of_log(),
        re.MULTILINE,
    )
    assert len(found) == 1, service.text_of_log()
    make_war(service.workflow_store)
    make_mar(service.model_store)
    service.environment["WFMGMT_WORKER_MEMORY_MB"] = found[0]
    with service:
        assert service.register("seq.war").status_code == 200


def test_workflows_are_loaded_once_all_modules_are_preloaded(tmp_path: Path) -> None:
    """Those that are registered come up after a restart, too."""
    service = Service(tmp_path / "instance", preload="json,xml.dom.minidom")
    make_database(service.database)
    make_war(service.workflow_store)
    make_mar(service.model_store)
    with service:
        assert service.register("seq.war").status_code == 200
    with service:
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the models")


def test_start_is_refused_when_a_port_is_taken(tmp_path: Path) -> None:
    """Another process keeps listening there: exit code 2, a line that names the setting, and no database is made."""
    planes = ("management", "inference")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings: list[dict[str, Any]] = [{f"{plane}_address": f"127.0.0.1:{port}"} for plane in planes]
        services = [Service(tmp_path / plane, **each) for plane, each in zip(planes, settings, strict=True)]
        processes = [service.launch() for service in services]
        try:
            assert [process.wait(20) for process in processes] == [2, 2]
        finally:
            for service in services:
                service.kill()
    for plane, service in zip(planes, services, strict=True):
        said = [line for line in service.text_of_log().splitlines() if line.startswith("wfmgmt: ")]
        assert said == [
            f"wfmgmt: WFMGMT_{plane.upper()}_ADDRESS: cannot listen on 127.0.0.1:{port}: Address already in use"
        ]
        assert "Traceback" not in service.text_of_log()
        assert not {"wfmgmt.db", "database.id"} & {path.name for path in service.instance.iterdir()}
        service.wait_until_gone()


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with prepared(tmp_path_factory.mktemp("service") / "instance") as service:
        yield service.start()


def test_second_service_of_an_instance_is_refused_and_the_first_goes_on(service: Service) -> None:
    """Two would fight for the runtime; the second says so and leaves the first one's files alone."""
    addresses = {path: path.read_text() for path in service.run_folder.glob("*.address")}
    command = [sys.executable, "-m", "gunicorn", "app:app"]
    second = subprocess.run(
        command, cwd=CHECKOUT, env=service.environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 2
    assert [line for line in second.stderr.splitlines() if " INFO " not in line] == [
        f"wfmgmt: WFMGMT_INSTANCE: another service runs in {service.instance}"
    ]
    assert {path: path.read_text() for path in service.run_folder.glob("*.address")} == addresses
    assert service.register("seq.war").status_code == 200
    assert service.unregister("seq").status_code == 200


def test_restart_answers_list_and_description_byte_for_byte_the_same(service: Service) -> None:
    """What was answered before the service was stopped or killed is answered after it."""
    for name in ("b", "P3", "p10"):
        assert service.register("seq.war", workflow_name=name).status_code == 200
    before = answers(service)
    for end in (service.stop, service.kill):
        end()
        service.start()
        wait_until(lambda: answers(service) == before, what="the same answers")


def is_ready_everywhere(service: Service, name: str) -> bool:
    """Return whether many answers in a row, by any web worker, have all models of a workflow."""
    return all(service.ready_workers(name) == [1, 1, 1] for _ in range(8))


def answers(service: Service) -> list[bytes]:
    """Return list and descriptions, but for what each new process has of its own, once all models run everywhere."""
    names = service.names()
    assert names == ["P3", "b", "p10"]
    for name in names:
        wait_until(partial(is_ready_everywhere, service, name), what="the models")
    paths = ["workflows", "workflows?limit=2", "models", *(f"workflows/{name}" for name in names)]
    contents = [requests.get(f"{service.management}/{path}", timeout=10).content for path in paths]
    return [re.sub(rb'"(pid|startedAt|pssBytes)": .*', rb'"\1": ', content) for content in contents]
