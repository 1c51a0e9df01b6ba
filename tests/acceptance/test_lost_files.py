"""Files that are taken from under a running service, and what a start makes of what is left."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deployments import prepared, serving
from tests.support.processes import reload
from tests.support.records import make_registry
from tests.support.service import Service, wait_until

#: As root it takes this to be refused a folder.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with prepared(tmp_path / "instance", prefix=WITHOUT_PRIVILEGES) as service:
        service.start()
        assert service.register("seq.war").status_code == 200
        yield service


@pytest.fixture(name="repaired", scope="module")
def _repaired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that goes on when its folders are removed."""
    with serving(tmp_path_factory.mktemp("repaired") / "instance") as service:
        yield service
        log = service.text_of_log()
    assert "Traceback" not in log


@pytest.fixture(name="ending", scope="module")
def _ending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that ends in each test, which starts it again; its log lies where it can go nowhere."""
    folder = tmp_path_factory.mktemp("ending")
    with prepared(folder / "instance", prefix=WITHOUT_PRIVILEGES) as service:
        service.log = folder / "service.log"
        service.start()
        assert service.register("seq.war").status_code == 200
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


@pytest.mark.slow
def test_database_of_another_instance_is_refused(tmp_path: Path) -> None:
    """It would have other workflows, and other models on shared servers.

    The quick case is in tests/integration/deployment/test_refused_starts.py.
    """
    (tmp_path / "another").mkdir()
    registry = make_registry(tmp_path / "another")
    with registry.write() as writer:
        writer.identity()
    registry.close()
    another = (tmp_path / "another" / "wfmgmt.db").read_bytes()
    with Service(tmp_path / "instance") as service:
        assert f"made a new database: {service.database}" in service.text_of_log()
    before = service.database.read_bytes()
    service.database.write_bytes(another)
    code, said = service.refusal()
    assert code == 3
    assert "is not the one that" in said
    assert service.database.read_bytes() == another
    service.database.write_bytes(before)
    with service:
        assert service.stop() == 0


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
        pytest.param(rename_run, 75, _LOST, marks=pytest.mark.slow),
        (replace_run, 75, "was replaced while the service runs"),
        (close_run, 75, "cannot be used: Permission denied"),
        (rename_instance, 3, _LOST),
    ],
    ids=["run removed", "run renamed", "run replaced", "run without permissions", "instance renamed"],
)
def test_service_ends_without_its_folder(
    ending: Service, change: Callable[[Service], None], expected: int, reason: str
) -> None:
    """It says so in one line, ends with all its processes, and answers what arrives meanwhile with 503."""
    process, logged = ending.process, len(ending.text_of_log())
    assert process is not None
    wait_until(lambda: ending.ready_workers("seq") == [1, 1, 1], what="the models")
    change(ending)
    while process.poll() is None:
        try:
            answered = status(ending, "POST", "workflows?url=seq.war&workflow_name=b")
            metrics = status(ending, "GET", "metrics")
            removed = status(ending, "DELETE", "workflows/seq")
        except requests.ConnectionError:
            break
        assert answered in (503, 404)  # The store went, too.
        assert removed == 503
        assert metrics in (200, 503)  # What the web workers have open already they go on with.
    assert process.wait(60) == expected, ending.text_of_log()
    ending.wait_until_gone()
    said = ending.text_of_log()[logged:]
    assert f"{ending.run_folder} {reason}; ending it" in said
    assert "Traceback" not in said
    put_back(ending)
    ending.start()
    assert ending.names() == ["seq"]


def put_back(service: Service) -> None:
    """Put an instance that was renamed where it was, and remove what is in the way of its run folder."""
    renamed = service.instance.with_name("elsewhere")
    if renamed.exists():
        renamed.rename(service.instance)
    shutil.rmtree(service.instance / "elsewhere", ignore_errors=True)
    if service.run_folder.is_file():
        service.run_folder.unlink()


@pytest.mark.parametrize("name", ["run/leases", "run/metrics", "run/working", "archives"])
def test_folder_that_was_removed_is_made_again(repaired: Service, name: str) -> None:
    """Something that removes what nobody used for long may take it; web workers and models that come later need it."""
    shutil.rmtree(repaired.instance / name)
    assert status(repaired, "GET", "metrics") == 200
    assert repaired.register("seq.war", workflow_name="b").status_code == 200
    assert repaired.unregister("b").status_code == 200
    reload(repaired, timeout_s=60)
    assert repaired.register("seq.war", workflow_name="b").status_code == 200
    assert "wfmgmt_requests_total{" in requests.get(f"{repaired.management}/metrics", timeout=10).text
    assert (repaired.instance / name).stat().st_mode & 0o777 == 0o700
    assert repaired.unregister("b").status_code == 200


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
