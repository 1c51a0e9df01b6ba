"""`wfmgmt backup` while the service is used, and `wfmgmt restore`."""

import itertools
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import prepared
from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until
from tests.support.small_disk import SmallDisks
from tests.support.web_files import web_files


@pytest.fixture(name="service")
def _service(prepared: Service) -> Service:
    service = prepared.start()
    assert service.register("seq.war", workflow_name="kept").status_code == 200
    return service


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a deployment with the workflow `kept` that several tests copy and none changes."""
    with prepared(tmp_path_factory.mktemp("shared") / "instance") as service:
        service.start()
        assert service.register("seq.war", workflow_name="kept").status_code == 200
        yield service


@pytest.fixture(name="bereft", scope="module")
def _bereft(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Give a deployment that has ended and lost its database."""
    with prepared(tmp_path_factory.mktemp("bereft") / "instance") as service:
        service.start()
        assert service.stop() == 0
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
        done = restored.command("restore", str(copy))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        verified = restored.command("audit", "verify")
        assert verified.returncode == 0, verified.stdout
    with restored:
        wait_until(lambda: restored.ready_workers("kept") == [1, 1, 1], what="the models")
        wait_until(lambda: ready(restored), timeout_s=30, what="all that was registered")
        assert restored.register("seq.war", workflow_name="another").status_code == 200


def ready(service: Service) -> bool:
    """Return whether every registered workflow runs."""
    return all(service.ready_workers(name) == [1, 1, 1] for name in service.names())


@pytest.mark.parametrize("options", [[], ["--archives"]], ids=["database", "archives"])
def test_backup_is_private_and_says_why_it_cannot_be_written(
    shared: Service, tmp_path: Path, options: list[str]
) -> None:
    """Nobody else reads it; what is in the way of one is said in a line, and nothing stays."""
    folder = tmp_path / "copies"
    folder.mkdir(0o755)
    assert shared.command("backup", *options, str(folder / "copy")).returncode == 0
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    for target, reason in (
        (folder / "nosuch" / "copy", "cannot be written: No such file or directory"),
        (folder / "copy" / "within", "cannot be written: Not a directory"),
        (folder, "is there already"),
    ):
        done = shared.command("backup", *options, str(target))
        assert (done.returncode, done.stderr) == (1, f"wfmgmt: {target} {reason}\n")
    assert [path.name for path in folder.iterdir()] == ["copy"]


@pytest.mark.parametrize("options", [[], ["--archives"]], ids=["database", "archives"])
def test_backup_onto_a_full_disk_is_refused(shared: Service, tmp_path: Path, options: list[str]) -> None:
    """One line names the file; nothing of it stays."""
    folder = tmp_path / "copies"
    with SmallDisks(folder, size="64k") as disk:
        done = Service(shared.instance, prefix=disk.prefix).command("backup", *options, str(folder / "copy"))
        assert done.returncode == 1
        assert done.stderr.startswith(f"wfmgmt: {folder / 'copy'} cannot be written: ")
        assert done.stderr.count("\n") == 1
        assert disk.files() == set()


def test_backup_without_archives_is_a_database(shared: Service, tmp_path: Path) -> None:
    """One file, private, of one state; nothing is overwritten."""
    copy = tmp_path / "copy.db"
    assert shared.command("backup", str(copy)).returncode == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sqlite3.connect(f"file:{copy}?mode=ro", uri=True).execute("SELECT name FROM workflow").fetchall() == [
        ("kept",)
    ]
    again = shared.command("backup", str(copy))
    assert (again.returncode, again.stderr) == (1, f"wfmgmt: {copy} is there already\n")
    restored = Service(tmp_path / "other")
    assert restored.command("restore", str(copy)).returncode == 0


def test_restore_is_refused_where_something_is(service: Service, tmp_path: Path) -> None:
    """Neither a running service, nor a database, nor another archive of the same name is touched."""
    copy = tmp_path / "copy.tar"
    assert service.command("backup", "--archives", str(copy)).returncode == 0
    assert service.command("restore", str(copy)).returncode == 2
    service.stop()
    refused = service.command("restore", str(copy))
    assert refused.returncode == 1
    assert f"{service.database} is there already" in refused.stderr
    other = Service(tmp_path / "other")
    other_archive = make_mar(other.model_store, source="other = 1\n")
    content = other_archive.read_bytes()
    refused = other.command("restore", str(copy))
    assert (refused.returncode, refused.stderr) == (1, "wfmgmt: the model store has another m1.mar; move it away\n")
    assert other_archive.read_bytes() == content
    assert not other.database.exists()


def test_lost_database_is_restored_into_its_instance(service: Service, tmp_path: Path) -> None:
    """Archives that are there already stay; the service starts again."""
    copy = tmp_path / "copy.tar"
    assert service.command("backup", "--archives", str(copy)).returncode == 0
    service.stop()
    for file in service.instance.glob("wfmgmt.db*"):
        file.unlink()
    done = service.command("restore", str(copy))
    assert (done.returncode, done.stdout) == (0, f"restored {service.database}; 1 audit rows fit, 2 archives\n")
    service.start()
    assert service.names() == ["kept"]


def test_archives_that_are_not_what_was_registered_are_named(service: Service, tmp_path: Path) -> None:
    """The backup is written, and exit code 1 says that it lacks something."""
    (service.model_store / "m1.mar").unlink()
    (service.workflow_store / "seq.war").write_bytes(b"something else")
    done = service.command("backup", "--archives", str(tmp_path / "copy.tar"))
    assert done.returncode == 1
    assert sorted(done.stderr.splitlines()) == [
        "wfmgmt: model store: m1.mar is not there",
        "wfmgmt: workflow store: seq.war is not what was registered",
    ]


@pytest.mark.parametrize("command", [["reconcile"], ["backup", "copy"], ["audit", "verify"]], ids=" ".join)
def test_commands_explain_that_the_database_is_gone(bereft: Service, command: list[str]) -> None:
    """They do not send the operator to another command for it."""
    done = bereft.command(*command)
    assert done.returncode == 3
    assert done.stderr.startswith(f"wfmgmt: the database {bereft.database} is not there, but {bereft.instance} had one")
    assert "restore a backup" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("damage", ["text", "tar without database", "truncated", "no file"])
def test_what_is_no_backup_is_refused(tmp_path: Path, damage: str) -> None:
    """One line, and nothing stays."""
    file = tmp_path / "file"
    if damage == "text":
        file.write_text("not a backup")
    elif damage == "tar without database":
        with tarfile.open(file, "w") as tar:
            tar.add(__file__, "other")
    elif damage == "truncated":
        with Service(tmp_path / "whole") as whole:
            assert whole.command("backup", str(file)).returncode == 0
        with file.open("r+b") as stream:
            stream.truncate(file.stat().st_size // 2)
        shutil.rmtree(tmp_path / "whole")
    service = Service(tmp_path / "instance")
    done = service.command("restore", str(file))
    assert done.returncode in (1, 3)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("wfmgmt: ")
    assert [path.name for path in service.instance.glob("*.db*")] == ["wfmgmt.db.lock"]
