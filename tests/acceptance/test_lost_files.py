"""Files that are taken from under a running service, and what a start makes of what is left."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.processes import reload
from tests.support.service import Service, pids_of, wait_until

#: As root it takes this to be refused a folder.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with prepared(tmp_path / "instance", prefix=WITHOUT_PRIVILEGES) as service:
        service.start()
        assert service.register("seq.war").status_code == 200
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the models")
        yield service


def status(service: Service, method: str, path: str) -> int:
    """Return the status of an answer of the management address."""
    return requests.request(method, f"{service.management}/{path}", timeout=20).status_code


def test_nothing_is_acknowledged_without_the_database(service: Service) -> None:
    """All is refused with 503 and a reason, models go on answering, and a restart makes no empty database."""
    for file in service.instance.glob("wfmgmt.db*"):
        file.unlink()
    changes = [("POST", "workflows?url=seq.war&workflow_name=b"), ("DELETE", "workflows/seq")]
    for method, path in (*changes, ("GET", "workflows"), ("GET", "workflows/seq"), ("GET", "ping")):
        for _ in range(4):  # Every web worker.
            assert status(service, method, path) == 503
    assert "removed or replaced" in requests.get(f"{service.management}/ping", timeout=10).json()["message"]
    assert requests.post(f"{service.inference}/wfpredict/seq", data=b"x", timeout=10).status_code == 200
    wait_until(lambda: "removed or replaced while the service runs" in service.text_of_log(), what="a line in the log")
    assert not service.database.exists()
    assert service.stop() == 0
    code, said = service.refusal()
    assert code == 3
    assert f"the database {service.database} is not there, but {service.instance} had one" in said
    assert not service.database.exists()
    assert service.command("migrate").returncode == 3
    assert service.command("migrate", "--adopt").returncode == 0
    service.start()
    assert service.names() == []
    assert "Traceback" not in service.text_of_log()


def test_database_of_another_instance_is_refused(service: Service, tmp_path: Path) -> None:
    """It would have other workflows, and other models on shared servers."""
    service.stop()
    shutil.copyfile(service.database, tmp_path / "copy.db")
    with Service(tmp_path / "other") as other:
        assert f"made a new database: {other.database}" in other.text_of_log()
    before = other.database.read_bytes()
    shutil.copyfile(tmp_path / "copy.db", other.database)
    code, said = other.refusal()
    assert code == 3
    assert "is not the one that" in said
    assert other.database.read_bytes() == (tmp_path / "copy.db").read_bytes()
    other.database.write_bytes(before)
    other.start()
    other.stop()


def test_log_without_its_database_is_refused(tmp_path: Path) -> None:
    """SQLite would throw away what is in it."""
    service = Service(tmp_path / "instance")
    log = tmp_path / "instance/wfmgmt.db-wal"
    log.write_bytes(b"x" * 100)
    code, said = service.refusal()
    assert (code, log.read_bytes()) == (3, b"x" * 100)
    assert "its write-ahead log is" in said


def remove_run(service: Service) -> None:
    """Remove sockets and locks."""
    shutil.rmtree(service.run_folder)


def rename_run(service: Service) -> None:
    """Move them away."""
    service.run_folder.rename(service.instance / "elsewhere")


def rename_instance(service: Service) -> None:
    """Move everything away."""
    service.instance.rename(service.instance.with_name("elsewhere"))


def replace_run(service: Service) -> None:
    """Put a file in its place."""
    rename_run(service)
    service.run_folder.touch()


def close_run(service: Service) -> None:
    """Leave nobody a permission on it."""
    service.run_folder.chmod(0)


_LOST = "was removed or renamed while the service runs"


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        (remove_run, 75, _LOST),
        (rename_run, 75, _LOST),
        (rename_instance, 3, _LOST),
        (replace_run, 75, "was replaced while the service runs"),
        (close_run, 75, "cannot be used: Permission denied"),
    ],
    ids=["run removed", "run renamed", "instance renamed", "run replaced", "run without permissions"],
)
def test_service_ends_without_its_folder(
    service: Service, change: Callable[[Service], None], expected: int, reason: str, tmp_path: Path
) -> None:
    """It says so in one line, ends with all its processes, and answers what arrives meanwhile with 503."""
    process = service.process
    assert process is not None
    log = service.log.rename(tmp_path / "service.log")
    service.log = log
    change(service)
    while process.poll() is None:
        try:
            answered = status(service, "POST", "workflows?url=seq.war&workflow_name=b")
            metrics = status(service, "GET", "metrics")
            removed = status(service, "DELETE", "workflows/seq")
        except requests.ConnectionError:
            break
        assert answered in (503, 404)  # The store went, too.
        assert removed == 503
        assert metrics in (200, 503)  # What the web workers have open already they go on with.
    assert process.wait(60) == expected, service.text_of_log()
    assert pids_of(service.instance) == []
    said = service.text_of_log()
    assert f"{service.run_folder} {reason}; ending it" in said
    assert "Traceback" not in said
    if service.run_folder.is_file():
        service.run_folder.unlink()
    if expected == 75:
        service.start()
        assert service.names() == ["seq"]


@pytest.mark.parametrize("name", ["leases", "metrics", "unpacked", "working"])
def test_folder_that_was_removed_is_made_again(service: Service, name: str) -> None:
    """Something that removes what nobody used for long may take it; web workers and models that come later need it."""
    shutil.rmtree(service.run_folder / name)
    assert status(service, "GET", "metrics") == 200
    assert service.register("seq.war", workflow_name="b").status_code == 200
    assert service.unregister("b").status_code == 200
    reload(service, timeout_s=60)
    assert service.register("seq.war", workflow_name="b").status_code == 200
    assert "wfmgmt_requests_total{" in requests.get(f"{service.management}/metrics", timeout=10).text
    assert (service.run_folder / name).stat().st_mode & 0o777 == 0o700
    assert service.stop() == 0
    assert "Traceback" not in service.text_of_log()


def test_only_a_clean_end_spares_the_search_for_damage(service: Service) -> None:
    """It is recorded by a service that stops, and holds until the next one starts."""
    record = service.run_folder / "clean-end"
    assert not record.exists()
    service.kill()
    assert not record.exists()
    service.start()
    assert service.stop() == 0
    assert record.exists()
    service.start()
    assert not record.exists()
