"""`wfmgmt audit` beside a running service, and exports whose clients are slow."""

import csv
import io
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.processes import resident_bytes, web_workers
from tests.support.service import Service, wait_until

MIB = 1024 * 1024
#: Rows that make an export larger than what memory may grow by.
MANY = 60_000


def test_commands_read_what_the_service_records(tmp_path: Path) -> None:
    """By the same filters; what is exported can be read again."""
    with deployed(tmp_path) as service:
        make_war(service.workflow_store, spec="dag: {pre_processing: []}\n")
        assert service.register("seq.war", reason="first").status_code == 200
        assert service.register("nosuch.war").status_code == 404
        listed = service.command("audit", "list", "--outcome", "failed")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["ID", "2"]
        shown = service.command("audit", "show", "1")
        assert '"reason": "first"' in shown.stdout
        assert (service.command("audit", "show", "9").returncode, service.command("audit", "show", "x").returncode) == (
            1,
            2,
        )
        lines = service.command("audit", "export").stdout.splitlines()
        assert [json.loads(line)["id"] for line in lines] == [1, 2]
        rows = list(csv.DictReader(io.StringIO(service.command("audit", "export", "--format", "csv").stdout)))
        assert [row["action"] for row in rows] == ["register", "register"]
        assert service.command("audit", "verify").returncode == 0


def test_archived_events_are_named_and_stay_verified(tmp_path: Path) -> None:
    """By commands and over HTTP, while the service runs; a file that is gone is named, and a backup brings it back."""
    with deployed(tmp_path / "instance") as service:
        for _ in range(3):
            assert service.register("nosuch.war").status_code == 404
        archive = ("audit", "archive", "--before", "2100-01-01")
        assert service.command(*archive, "--dry-run").stdout == "would archive events 1 to 2\n"
        done = service.command(*archive)
        name = "audit-0000000001-0000000002.ndjson.gz"
        file = service.instance / "audit" / name
        assert done.stdout.startswith(f"archived events 1 to 2 in {file}, SHA-256 "), done.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        listed = service.command("audit", "list")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["ID", "4", "3"]
        assert listed.stderr == f"wfmgmt: events 1 to 2 were archived: {name}\n"
        assert service.command("audit", "export").stderr == listed.stderr
        shown = service.command("audit", "show", "1")
        assert (shown.returncode, name in shown.stderr) == (1, True)
        answer = requests.get(f"{service.management}/audit/1", timeout=5)
        assert (answer.status_code, name in answer.json()["message"]) == (404, True)
        page = requests.get(f"{service.management}/audit", timeout=5).json()
        assert ([each["id"] for each in page["events"]], page["total"], page["archived"]) == ([4, 3], 2, 2)
        lines = requests.get(f"{service.management}/audit", headers={"Accept": "text/csv"}, timeout=5)
        assert lines.headers["x-wfmgmt-archived"] == "2"
        assert service.register("nosuch.war").status_code == 404
        assert service.command("backup", "--archives", str(tmp_path / "copy.tar")).returncode == 0
        assert service.command("backup", str(tmp_path / "copy.db")).returncode == 0
        file.unlink()
        lacking = service.command("audit", "verify")
        assert (lacking.returncode, f"{name}, which has the rows 1 to 2, is missing" in lacking.stdout) == (1, True)
        again = service.command("backup", "--archives", str(tmp_path / "second.tar"))
        assert (again.returncode, again.stderr) == (1, f"wfmgmt: audit trail: {name} is not there\n")
    for copy, code in (("copy.tar", 0), ("copy.db", 1)):
        restored = Service(tmp_path / f"of-{copy}")
        done = restored.command("restore", str(tmp_path / copy))
        assert (done.returncode, f"{name}, which has" in done.stderr) == (code, code == 1), done.stderr
        assert restored.command("audit", "verify").returncode == code


def add_rows(service: Service) -> None:
    """Write many rows into the trail; their hashes do not fit, which nothing here looks at."""
    with closing(sqlite3.connect(service.database, timeout=30)) as connection, connection:
        connection.executemany(
            "INSERT INTO audit_event (id, at, actor, address, request_id, action, workflow, outcome, detail, "
            "previous_hash, hash) VALUES (?, '2026-11-27', 'a', '', '', 'scale', 'w', 'succeeded', ?, ?, ?)",
            ((n, json.dumps({"text": "x" * 1000}), f"{n - 1:064}", f"{n:064}") for n in range(1, MANY + 1)),
        )


@pytest.mark.slow  # A large table takes seconds to make; that one export is made at a time has a quick test.
def test_export_takes_no_memory_and_ends_when_its_client_stops_reading(tmp_path: Path) -> None:
    """A reader gets all of it; one that reads nothing is left after ten seconds, and the next export goes on."""
    with deployed(tmp_path, web_workers=1) as service:
        add_rows(service)
        (worker,) = web_workers(service)
        before, accept = resident_bytes(worker), {"Accept": "application/x-ndjson"}
        peak = count = 0
        with requests.get(f"{service.management}/audit", headers=accept, stream=True, timeout=60) as answer:
            for count, _ in enumerate(answer.iter_lines(), start=1):
                if count % 5000 == 0:
                    peak = max(peak, resident_bytes(worker))
        assert count == MANY
        assert peak - before < 24 * MIB
        address = urlsplit(service.management)
        with socket.create_connection((address.hostname, address.port)) as silent:
            silent.sendall(b"GET /audit HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\r\n")

            def is_refused() -> bool:
                return (
                    requests.get(f"{service.management}/audit", headers={"Accept": "text/csv"}, timeout=60).status_code
                    == 503
                )

            wait_until(is_refused, what="the export that nobody reads")
            assert requests.get(f"{service.management}/ping", timeout=5).status_code == 200
            wait_until(lambda: not is_refused(), timeout_s=60, what="the end of the export that nobody reads")
