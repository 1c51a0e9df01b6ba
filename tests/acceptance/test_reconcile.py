"""The command that finishes or undoes what a dead process left, with and without a running service."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.evidence import rows
from tests.support.factories import make_mar, make_war
from tests.support.records import make_registry, make_workflow
from tests.support.service import Service


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    """Return a service that is not running, over an instance with two changes that nobody finishes."""
    service = Service(tmp_path / "instance")
    make_war(service.workflow_store)
    make_mar(service.model_store)
    registry = make_registry(service.instance)
    removed = make_workflow("removed", lease="dead1")
    with registry.write() as writer:
        writer.claim_name(make_workflow("begun", lease="dead2"))
        writer.claim_name(removed)
        writer.mark_ready(removed.uid)
        writer.mark_unregistering(removed.uid, "dead1")
    registry.close()
    yield service
    service.kill()


def test_dry_run_says_what_would_be_done_and_does_nothing(service: Service) -> None:
    """One sentence for each, exit code 0, and the database as before."""
    before = rows(service, "SELECT * FROM workflow")
    done = service.command("reconcile", "--dry-run")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["undo the unfinished registration of begun", "finish the unfinished removal of removed", "2 to do"],
    ), done.stderr
    assert rows(service, "SELECT * FROM workflow") == before
    assert rows(service, "SELECT * FROM audit_event") == []


def test_reconcile_finishes_and_undoes_what_was_abandoned(service: Service) -> None:
    """Both names are free afterwards, with a row each that names who did it; a second run finds nothing."""
    done = service.command("reconcile")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 done"
    assert rows(service, "SELECT name FROM workflow") == []
    events = rows(service, "SELECT action, workflow, outcome, actor LIKE 'cli:%' FROM audit_event ORDER BY workflow")
    assert events == [("reconcile", "begun", "succeeded", 1), ("reconcile", "removed", "succeeded", 1)]
    assert service.command("reconcile").stdout.splitlines() == ["0 done"]
    assert service.command("audit", "verify").returncode == 0


def test_reconcile_fails_when_the_runtime_hangs(service: Service) -> None:
    """What could be done without it is done; only one that is down is known to have nothing that is out of step."""
    service.run_folder.mkdir()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(service.run_folder / "runtime.sock"))
        hanging.listen()
        done = service.command("reconcile")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "2 done"
    assert done.stderr.splitlines() == ["wfmgmt: The runtime does not answer."]


def test_start_reconciles_by_itself_and_leaves_what_is_under_way(service: Service) -> None:
    """The service needs no command for it, and the names can be registered."""
    service.start()
    for name in ("begun", "removed"):
        answer = service.register("seq.war", workflow_name=name)
        while answer.status_code == 409:  # Until its housekeeping has come to it.
            answer = service.register("seq.war", workflow_name=name)
        assert answer.status_code == 200
    assert service.names() == ["begun", "removed"]
