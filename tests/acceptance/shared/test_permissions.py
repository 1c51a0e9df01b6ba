"""Who may read what the service writes, and who may talk to its runtime."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service

WRITES = """
import os
def handle(data, context):
    if data is None:
        with open(FILE, "w"):
            return
    return [b"x"]
"""
USER = 61_234
ASK = """
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("runtime.sock")
    sock.sendall(b"GET /status HTTP/1.0\\r\\n\\r\\n")
    print(sock.recv(4096).split(b"\\r\\n")[0].decode())
"""


@pytest.mark.parametrize("umask", [0o000, 0o027])
def test_files_of_the_instance_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    """Nobody else can read what the service writes, while handlers write with the operator's umask."""
    written = tmp_path / "written"
    archives = tmp_path / "archives"
    archives.mkdir()
    before = make_war(archives), make_mar(archives, source=WRITES.replace("FILE", repr(str(written))))
    instance = tmp_path / "instance"
    service = Service(instance, prefix=("bash", "-c", f'umask {umask:03o}; exec "$@"', "bash"))
    for folder in (service.workflow_store, service.model_store, instance):
        folder.rmdir()
    service.log = tmp_path / "service.log"
    try:
        service.start()
        for archive, store in zip(before, (service.workflow_store, service.model_store), strict=True):
            archive.rename(store / archive.name)
        assert service.register("seq.war").status_code == 200
        assert requests.get(f"{service.inference}/wfpredict/seq", timeout=20).status_code == 200
        modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (instance, *instance.rglob("*"))}
    finally:
        service.kill()
    # What a handler's imports write is the handler's, in a folder that is private.
    own = {
        path: mode
        for path, mode in modes.items()
        if path.suffix not in {".war", ".mar"} and "__pycache__" not in path.parts
    }
    assert {f"{path} {mode:o}" for path, mode in own.items() if mode & 0o077 and not path.is_symlink()} == set()
    assert {path.name for path in own} >= {"wfmgmt.db", "wfmgmt.db-wal", "wfmgmt.db-shm", "management.address"}
    assert stat.S_IMODE(written.stat().st_mode) == 0o666 & ~umask


def test_control_socket_serves_no_other_user(service: Service) -> None:
    """Even when the modes of folders and socket let somebody in."""
    if os.geteuid() != 0:
        pytest.skip("only root can ask as another user")
    folder = os.open(service.run_folder, os.O_RDONLY)
    modes = {path: path.stat().st_mode for path in (service.run_folder, service.run_folder / "runtime.sock")}
    try:
        for path in modes:
            path.chmod(0o777)
        said = {user: ask_as(user, folder) for user in (0, USER)}
    finally:
        os.close(folder)
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
    assert said[0].endswith("200 OK")
    assert said[USER].endswith("403 Forbidden")
    assert f"refused user {USER} on the control socket" in service.text_of_log()


def ask_as(user: int, folder: int) -> str:
    """Return the status line of the runtime's answer to a user; the folder is open already."""
    code = f"import os, socket; os.fchdir({folder}); os.setgroups([]); os.setgid({user}); os.setuid({user})\n{ASK}"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, pass_fds=(folder,), capture_output=True, text=True, check=True).stdout.strip()


def test_running_as_root_is_warned_of(service: Service) -> None:
    """Handlers would own the machine."""
    is_warned = "WARNING wfmgmt.deployment: the service runs as root" in service.text_of_log()
    assert is_warned is (os.geteuid() == 0)
