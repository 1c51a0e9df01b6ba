"""How many connections may wait on the inference address."""

import subprocess
from pathlib import Path

from tests.support.service import Service
from wfmgmt.domain.limits import LISTEN_BACKLOG


def test_inference_address_has_room_for_many_waiting_connections(service: Service) -> None:
    """The runtime keeps the backlog that the master asked for, as far as the kernel grants it."""
    port = service.inference.rpartition(":")[2]
    granted = min(LISTEN_BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii")))
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert [int(line.split()[2]) for line in listed.splitlines()] == [granted]
