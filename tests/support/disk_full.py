"""A service on disks that fill up, and what has to hold whenever one is full."""

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.factories import make_mar, make_war
from tests.support.kept import kept_digests, kept_parts
from tests.support.service import Service, parent_pid, wait_until
from tests.support.small_disk import FILLER, SmallDisks
from tests.support.web_files import served

#: Makes each archive need several writes.
PADDING = {"padding.bin": random.Random(1).randbytes(64 * 1024)}
_QUERY = """
import json, sqlite3, sys
print(json.dumps(sqlite3.connect(sys.argv[1], timeout=10).execute(sys.argv[2]).fetchall()))
"""


@dataclass(frozen=True, kw_only=True)
class FullDiskCase:
    """A running service, its small disks, the address of a workflow whose archives are all downloaded, and an archive.

    Attributes:
        service: The service.
        disks: Its small disks.
        url: The address of the workflow.
        archive: A model for uploads.
        database: The file of the database, where the disks are mounted.
    """

    service: Service
    disks: SmallDisks
    url: str
    archive: bytes
    database: Path

    def register(self) -> requests.Response:
        """Register the workflow."""
        return self.service.register(self.url)

    def unregister(self) -> requests.Response:
        """Unregister it."""
        return self.service.unregister("near")

    def upload(self) -> requests.Response:
        """Put an archive into the model store, in chunks: a declared size would be compared with the space first."""
        return requests.put(self._uploaded, data=iter([self.archive]), timeout=60)

    def remove_upload(self) -> requests.Response:
        """Remove it there."""
        return requests.delete(self._uploaded, timeout=60)

    @property
    def _uploaded(self) -> str:
        return f"{self.service.management}/archives/models/up.mar"

    def workflows(self) -> list[list[str]]:
        """Return name and status of every workflow in the database."""
        return self._query("SELECT name, status FROM v_workflow")

    def empty_log(self) -> None:
        """Make the write-ahead log empty, so that every write needs space."""
        wait_until(lambda: self._query("PRAGMA wal_checkpoint(TRUNCATE)")[0][:2] == [0, 0], what="an empty log")

    def _query(self, statement: str) -> list[list[Any]]:
        """Return the rows of a statement that is run where the disks are mounted."""
        command = [*self.disks.prefix, sys.executable, "-c", _QUERY, str(self.database), statement]
        found: list[list[Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return found

    def traces(self) -> tuple[object, ...]:
        """Return everything that a change which failed must leave as it was."""
        service = self.service
        folders = (service.workflow_store, service.model_store, service.run_folder / "leases")
        files = {path.name for folder in folders for path in folder.iterdir()} - {FILLER}
        kept = {name for name in self.disks.files() if not name.endswith(("-wal", "-shm", ".address", ".unfinished"))}
        archives = kept_digests(service.archives) | kept_parts(service.archives)
        workers = [pid for pid in service.worker_pids() if parent_pid(pid) in service.worker_pids()]
        return service.names(), self.workflows(), files, kept, archives, workers


@contextlib.contextmanager
def full_disk_case(tmp_path: Path, *disks: str, size: str = "8m") -> Iterator[FullDiskCase]:
    """Start a service some of whose folders lie on small disks.

    Args:
        tmp_path: For everything.
        disks: Which folders below `tmp_path`, each on a disk of its own.
        size: Of each disk.
    """
    remote = tmp_path / "remote"
    remote.mkdir()
    database = tmp_path / "instance" / "database" / "wfmgmt.db"
    with SmallDisks(*(tmp_path / disk for disk in disks), size=size) as small, served(remote) as address:
        spec = (
            f"models: {{far: {{url: '{address}/far.mar'}}}}\ndag: {{pre_processing: [far], far: [post_processing]}}\n"
        )
        make_war(remote, name="near", spec=spec, extra_files=PADDING)
        archive = make_mar(remote, name="far", extra_files=PADDING).read_bytes()
        service = Service(
            tmp_path / "instance",
            prefix=small.prefix,
            visible_root=small.root,
            allowed_urls="http://127.0.0.1:.*",
            database_url=f"sqlite:///{database}",
            web_workers=1,
        )
        service.log = tmp_path / "service.log"
        small.outside(database.parent).mkdir(exist_ok=True)
        try:
            service.start()
            url = f"{address}/near.war"
            yield FullDiskCase(service=service, disks=small, url=url, archive=archive, database=database)
        finally:
            service.kill()


def assert_works(case: FullDiskCase) -> None:
    """Show that a registration and its removal work, as they do when there is space.

    Raises:
        AssertionError: They do not.
    """
    wait_until(lambda: case.workflows() == [], what="the end of what could not be undone")
    answer = case.register()
    assert answer.status_code == 200, answer.text
    wait_until(lambda: case.service.ready_workers("near") == [1, 1, 1], what="the models")
    assert case.service.unregister("near").status_code == 200


def step_through_space(
    case: FullDiskCase,
    disk: Path,
    change: Callable[[], requests.Response],
    undo: Callable[[], requests.Response],
    *,
    step_bytes: int,
) -> int:
    """Make a change with more and more space left, until it works, and undo it; return how many were refused.

    Raises:
        AssertionError: One was refused otherwise than with 507, or left something.
    """
    before = case.traces()
    for refused in range(1000):
        case.empty_log()
        case.disks.fill(disk, leave_bytes=refused * step_bytes)
        answer = change()
        if answer.ok:
            case.disks.free(disk)
            assert undo().status_code == 200
            return refused
        assert answer.status_code == 507, f"{refused * step_bytes} bytes left: {answer.text}"
        assert case.service.names() == []
        case.disks.free(disk)
        wait_until(lambda: case.traces() == before, what="the state before")
    message = "it never worked"
    raise AssertionError(message)
