"""A workflow store that is watched: copying is registering."""

from pathlib import Path

from tests.support.deployments import prepared
from tests.support.evidence import rows
from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until

SPEC = "models: {m: {url: m.mar}}\ndag: {m: []}\n"


def registrations(service: Service) -> list[tuple[str, ...]]:
    """Return actor, workflow and outcome of all registrations, as the audit trail has them."""
    return rows(service, "SELECT actor, workflow, outcome FROM v_audit WHERE action LIKE 'register%'")


def versions(service: Service) -> list[str]:
    """Return the versions of the workflow `new`."""
    return [
        row[0] for row in rows(service, "SELECT version FROM v_version WHERE workflow = 'new' AND status = 'ready'")
    ]


def test_what_is_copied_there_is_registered(tmp_path: Path) -> None:
    """Once it is whole; another archive of the name is a version without traffic, and nothing comes back by itself."""
    archive = make_war(tmp_path, name="new", spec=SPEC, handler=None).read_bytes()
    copy = "new.war"
    with prepared(tmp_path / "instance", watch_store="true") as service:
        service.start()
        record = service.run_folder / "store-watch.json"
        wait_until(lambda: record.exists() and "seq.war" in record.read_text(), what="the first look")
        target = service.workflow_store / copy
        target.write_bytes(archive[: len(archive) // 2])
        wait_until(lambda: "not registered yet: new.war: " in service.text_of_log(), what="the half of a copy")
        target.write_bytes(archive)
        wait_until(lambda: "Model not found at: m.mar" in service.text_of_log(), timeout_s=30, what="the model's lack")
        assert registrations(service) == []
        make_mar(service.model_store, name="m")
        wait_until(lambda: versions(service) == ["1.0"], timeout_s=40, what="the workflow")

        make_war(service.workflow_store, name="new", spec=SPEC.replace("url", "max-workers: 2, url"), handler=None)
        wait_until(lambda: versions(service) == ["1.0", "2.0"], timeout_s=40, what="the version")
        assert service.describe("new")["version"] == "1.0"
        assert registrations(service) == [("housekeeping", "new", "succeeded")] * 2
        assert service.unregister("new").status_code == 200
        assert service.stop() == 0

        make_war(service.workflow_store, name="late", spec=SPEC, handler=None)
        service.start()
        wait_until(lambda: "late" in service.names(), timeout_s=40, what="what appeared meanwhile")
        assert service.names() == ["late"]
        assert service.stop() == 0
