"""Leases in a real folder: what tells work that goes on from work whose process is dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wfmgmt.errors import FolderUnavailable
from wfmgmt.services import leases
from wfmgmt.services.leases import Leases

#: Takes a lease, says so, and waits to be killed.
HOLDER = """
import pathlib, sys
from wfmgmt.services.leases import Leases
with Leases(pathlib.Path(sys.argv[1])).take() as lease:
    print(lease, flush=True)
    sys.stdin.read()
"""


def test_lease_is_alive_until_its_block_ends(tmp_path: Path) -> None:
    """Others see it alive meanwhile, and no file of it stays."""
    held = Leases(tmp_path)
    with held.take() as lease:
        assert Leases(tmp_path).is_alive(lease)
    assert not held.is_alive(lease)
    assert list(tmp_path.iterdir()) == []


def test_lease_dies_with_its_process(tmp_path: Path) -> None:
    """Nobody has to clean up after a kill for the lease to be dead, and a sweep removes its file."""
    held = Leases(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        lease = holder.stdout.readline().strip()
        held.sweep()
        assert held.is_alive(lease)
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(10)
    assert not held.is_alive(lease)
    held.sweep()
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_a_file_whose_process_did_not_live_to_name_it(tmp_path: Path) -> None:
    """A kill between creating the file and giving it its name leaves a hidden one."""
    (tmp_path / ".0123456789abcdef").touch()
    Leases(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []


def test_take_is_not_disturbed_by_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that takes a file which is just being made for a dead process's costs nothing but another file."""
    create, swept = leases._open_new, list[Path]()  # noqa: SLF001 - the moment in between can be had here only

    def create_and_sweep(path: Path) -> int:
        descriptor = create(path)
        if not swept:
            swept.append(path)
            Leases(tmp_path).sweep()
        return descriptor

    monkeypatch.setattr(leases, "_open_new", create_and_sweep)
    with Leases(tmp_path).take() as lease:
        assert not swept[0].exists()
        assert Leases(tmp_path).is_alive(lease)


def test_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """As private as it was; the sweep has nothing to do without it."""
    held = Leases(tmp_path / "leases")
    held.sweep()
    with held.take() as lease:
        assert held.is_alive(lease)
    assert (tmp_path / "leases").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_folder_around_it_is_not_made_again(tmp_path: Path, what: str) -> None:
    """Others may use its path then; meanwhile it is unknown which leases live."""
    run = tmp_path / "run"
    if what == "replaced":
        run.touch()
    held = Leases(run / "leases")
    with pytest.raises(FolderUnavailable, match=f"was {what}"), held.take():
        pass
    if what == "replaced":
        with pytest.raises(FolderUnavailable, match="was replaced"):
            held.is_alive("lease")
    assert not run.is_dir()
