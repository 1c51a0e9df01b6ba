"""Leases in a real folder, with a real process that dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.service import CHECKOUT, wait_until
from wfmgmt.services.leases import Leases

HOLD = """
import sys, time, pathlib
from wfmgmt.services.leases import Leases
with Leases(pathlib.Path(sys.argv[1])).take() as name:
    print(name, flush=True)
    time.sleep(60)
"""


def test_lease_is_alive_until_its_block_ends(tmp_path: Path) -> None:
    """Whoever asks sees a lease as long as the work goes on, also in the same process."""
    leases = Leases(tmp_path)
    with leases.take() as name:
        assert leases.is_alive(name)
        leases.sweep()
        assert leases.is_alive(name)
    assert not leases.is_alive(name)
    assert list(tmp_path.iterdir()) == []


def test_lease_ends_with_its_process(tmp_path: Path) -> None:
    """A process that is killed leaves a file, but nobody takes it for alive, and a sweep removes it."""
    leases = Leases(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert leases.is_alive(name)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not leases.is_alive(name), what="the end of the lease")
    assert (tmp_path / name).exists()
    leases.sweep()
    assert not (tmp_path / name).exists()


def test_unknown_lease_is_not_alive(tmp_path: Path) -> None:
    """A name without a file belongs to nobody."""
    assert not Leases(tmp_path).is_alive("unknown")
