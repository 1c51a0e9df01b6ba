"""`wfmgmt backup` while the service is used, and `wfmgmt restore`."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.deployments import prepared
from tests.support.evidence import rows
from tests.support.factories import make_war
from tests.support.service import Service, wait_until
from tests.support.small_disk import SmallDisks
from tests.support.web_files import web_files


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a deployment with the workflow `kept`, which is copied; all others come and go."""
    allowed_urls = r"http://127\.0\.0\.1:.*"
    with prepared(tmp_path_factory.mktemp("service") / "instance", allowed_urls=allowed_urls) as service:
        service.start()
        assert service.register("seq.war", workflow_name="kept").status_code == 200
        yield service


@pytest.fixture(name="bereft", scope="module")
def _bereft(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Give an instance that had a database and lost it."""
    service = Service(tmp_path_factory.mktemp("bereft") / "instance")
    assert call(service, "migrate").returncode == 0
    for file in service.instance.glob("wfmgmt.db*"):
        file.unlink()
    return service


def churn(service: Service, url: str, stop: threading.Event, failed: list[str]) -> None:
    """Register and remove workflows whose archives come and go with them."""
    for number in itertools.count():
        if stop.is_set():
            return
        name = f"w{number % 3}-{threading.get_ident()}"
        answers = [service.register(url, workflow_name=name), service.unregister(name)]
        failed.extend(answer.text for answer in answers if answer.status_code not in (200, 503))


def test_backup_under_load_restores_to_what_was_registered(service: Service, tmp_path: Path) -> None:
    """Every copy holds all archives that its database names; what is restored verifies, answers and runs."""
    with web_files() as web:
        url = web.put("/seq.war", make_war(tmp_path))
        stop, failed = threading.Event(), list[str]()
        threads = [threading.Thread(target=churn, args=(service, url, stop, failed)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            copies = [tmp_path / f"{number}.tar" for number in range(2)]
            for copy in copies:
                done = service.command("backup", "--archives", str(copy))
                assert (done.returncode, done.stderr) == (0, ""), done.stderr
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    for copy in copies:
        restored = Service(tmp_path / f"of-{copy.stem}")
        done = call(restored, "restore", str(copy))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        verified = call(restored, "audit", "verify")
        assert verified.returncode == 0, verified.stdout
    with restored:
        wait_until(lambda: restored.ready_workers("kept") == [1, 1, 1], what="the models")
        wait_until(lambda: ready(restored), timeout_s=30, what="all that was registered")
        assert restored.register("seq.war", workflow_name="another").status_code == 200


def ready(service: Service) -> bool:
    """Return whether every registered workflow runs."""
    return all(service.ready_workers(name) == [1, 1, 1] for name in service.names())


@pytest.mark.parametrize("options", [[], ["--archives"]], ids=["database", "archives"])
def test_backup_onto_a_full_disk_is_refused(service: Service, tmp_path: Path, options: list[str]) -> None:
    """One line names the file; nothing of it stays."""
    folder = tmp_path / "copies"
    with SmallDisks(folder, size="64k") as disk:
        done = Service(service.instance, prefix=disk.prefix).command("backup", *options, str(folder / "copy"))
        assert done.returncode == 1
        assert done.stderr.startswith(f"wfmgmt: {folder / 'copy'} cannot be written: ")
        assert done.stderr.count("\n") == 1
        assert disk.files() == set()


@pytest.mark.parametrize("command", [["reconcile"], ["backup", "copy"], ["audit", "verify"]], ids=" ".join)
def test_commands_explain_that_the_database_is_gone(bereft: Service, command: list[str]) -> None:
    """They do not send the operator to another command for it."""
    done = bereft.command(*command) if command == ["reconcile"] else call(bereft, *command)
    assert done.returncode == 3
    assert done.stderr.startswith(f"wfmgmt: the database {bereft.database} is not there, but {bereft.instance} had one")
    assert "restore a backup" in done.stderr
    assert done.stderr.count("\n") == 1


def test_backup_goes_without_archives_and_says_what_is_in_its_way(service: Service, tmp_path: Path) -> None:
    """One line, with exit code 1; nothing is overwritten."""
    copy = tmp_path / "copy.db"
    done = call(service, "backup", str(copy))
    assert (done.returncode, done.stdout) == (0, f"wrote {copy}\n")
    again = call(service, "backup", str(copy))
    assert (again.returncode, again.stderr) == (1, f"wfmgmt: {copy} is there already\n")
    refused = call(service, "restore", str(copy))
    assert refused.returncode == 2, "the service runs"
    other = Service(tmp_path / "other")
    (tmp_path / "text").write_text("not a backup")
    refused = other.command("restore", str(tmp_path / "text"))
    assert refused.returncode in (1, 3)
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("wfmgmt: ")
    assert [path.name for path in other.instance.glob("*.db*")] == ["wfmgmt.db.lock"]
    assert call(other, "restore", str(copy)).returncode == 0


def test_lost_database_is_restored_into_its_instance(service: Service, tmp_path: Path) -> None:
    """Archives that are there already stay; the service starts again."""
    copy = tmp_path / "copy.tar"
    assert call(service, "backup", "--archives", str(copy)).returncode == 0
    ((events,),) = rows(service, "SELECT count(*) FROM audit_event")
    service.stop()
    for file in service.instance.glob("wfmgmt.db*"):
        file.unlink()
    done = service.command("restore", str(copy))
    assert (done.returncode, done.stdout) == (0, f"restored {service.database}; {events} audit rows fit, 2 archives\n")
    service.start()
    assert service.names() == ["kept"]
    (service.model_store / "m1.mar").unlink()
    assert call(service, "backup", "--archives", str(tmp_path / "second.tar")).returncode == 0
    shutil.rmtree(service.archives)
    lacking = call(service, "backup", "--archives", str(tmp_path / "third.tar"))
    assert (lacking.returncode, lacking.stderr) == (1, "wfmgmt: model store: m1.mar is not there\n")
