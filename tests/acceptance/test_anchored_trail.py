"""Checkpoints of the audit trail of a running service, and what they show once rows are gone."""

import time
from contextlib import closing
from pathlib import Path

import requests
from sqlalchemy import delete

from tests.support.checkpoints import make_keys
from tests.support.commands import call
from tests.support.deployments import prepared
from tests.support.records import make_event
from tests.support.scripted_server import ScriptedServer, stall
from tests.support.service import Service, wait_until
from wfmgmt.domain.checkpoints import Checkpoint
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import locked_connection
from wfmgmt.registry.tables import audit_event


def add_rows(service: Service, count: int) -> None:
    """Add rows as a command does beside the service."""
    with closing(Registry(service.database)) as registry, registry.write() as writer:
        for _ in range(count):
            writer.record(make_event())


def ids(anchor: Path) -> list[int]:
    """Return the rows that an anchor names."""
    return [Checkpoint.parse(line).id for line in anchor.read_text().splitlines()] if anchor.exists() else []


def attempts(service: Service, outcome: str) -> int:
    """Return how many attempts to write a checkpoint ended so."""
    name = f'wfmgmt_audit_checkpoints_total{{outcome="{outcome}"}}'
    text = requests.get(f"{service.management}/metrics", timeout=10).text
    return next((int(float(line.split()[1])) for line in text.splitlines() if line.startswith(name)), 0)


def test_checkpoints_go_on_after_trouble_and_show_a_tail_that_was_cut(tmp_path: Path) -> None:
    """A folder that is gone for a while, a crash, a restart and an orderly end leave a chain that fits."""
    private, public = make_keys(tmp_path)
    folder, aside = tmp_path / "elsewhere", tmp_path / "aside"
    folder.mkdir()
    anchor = folder / "anchor"
    with prepared(tmp_path / "i", audit_anchor=anchor, audit_key=private) as service:
        service.start()
        assert service.register("missing.war").status_code == 404
        wait_until(lambda: ids(anchor) == [1], what="the first checkpoint")
        folder.rename(aside)
        add_rows(service, 100)
        wait_until(lambda: ids(aside / "anchor") == [1] and attempts(service, "failed"), what="a failure")
        assert service.register("missing.war").status_code == 404
        said = f"anchor failed; it is tried again: the audit anchor {anchor} cannot be written: No such file"
        assert said in service.text_of_log()
        add_rows(service, 99)
        aside.rename(folder)
        wait_until(lambda: ids(anchor) == [1, 101, 201], timeout_s=60, what="the next checkpoints")
        assert attempts(service, "written") == 3
        add_rows(service, 50)
        service.kill()
        service.start()
        assert service.register("missing.war").status_code == 404
        assert service.stop() == 0
        assert ids(anchor) == [1, 101, 201, 252]
        verify = ("audit", "verify", "--against", str(anchor), "--key", str(public))
        fits = call(service, *verify)
        assert (fits.returncode, fits.stdout[:33]) == (0, "252 rows fit, and 4 checkpoints; "), fits.stderr
        with locked_connection(service.database) as connection:
            connection.exec_driver_sql("DROP TRIGGER audit_event_refuses_delete")
            connection.execute(delete(audit_event).where(audit_event.c.id > 240))
        assert call(service, "audit", "verify").returncode == 0
        cut = call(service, *verify)
        assert (cut.returncode, cut.stdout[:34]) == (1, "row 252 does not fit: it was there")


def test_address_that_does_not_answer_holds_up_nothing(tmp_path: Path) -> None:
    """Neither requests nor the end of the service."""
    with (
        ScriptedServer(stall) as collector,
        prepared(tmp_path / "i", audit_anchor=collector.url("/a"), allowed_urls=".*", web_workers=1) as service,
    ):
        service.start()
        add_rows(service, 1)
        wait_until(lambda: collector.requests, what="the first checkpoint")
        assert service.register("seq.war").status_code == 200
        assert service.predicts()
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 20
        assert "the last rows of the audit trail are in no checkpoint: the audit anchor" in service.text_of_log()
