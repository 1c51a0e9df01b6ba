"""A PostgreSQL server of a test's own, on a Unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
#: The server refuses to run as root.
_UNPRIVILEGED = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"] if os.geteuid() == 0 else []


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server with an empty database, and give that one's URL."""
    on_path = shutil.which("initdb")
    binaries = _BINARIES[-1] if _BINARIES else Path(on_path).parent if on_path else None
    if binaries is None or find_spec("psycopg") is None:
        pytest.skip("needs the server programs of PostgreSQL and the package psycopg")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # Paths of sockets are short.
    if _UNPRIVILEGED:
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [*_UNPRIVILEGED, str(binaries / program), *arguments]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, timeout=60, check=False)
        assert done.returncode == 0, command

    data = ["-D", str(folder / "data")]
    try:
        run("initdb", *data, "-U", "wfmgmt", "--auth=trust", "-E", "UTF8", "--no-sync")
        run("pg_ctl", *data, "-w", "-l", str(folder / "log"), "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            run("createdb", "-h", str(folder), "-U", "wfmgmt", "registry")
            yield f"postgresql://wfmgmt@/registry?host={folder}"
        finally:
            run("pg_ctl", *data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
