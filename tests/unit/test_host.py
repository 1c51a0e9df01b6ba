"""Systems on which the service cannot run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfmgmt.cli.main import main
from wfmgmt.host import available_cores

REFUSAL = "wfmgmt: Linux is required, and this system is darwin"


def test_commands_refuse_another_system_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before they import what the system may lack."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["serve"]) == 2
    assert capfd.readouterr().err.splitlines() == [REFUSAL]


def test_gunicorn_refuses_another_system_in_one_line() -> None:
    """It has no command of ours in front of it."""
    program = """
import sys
import wfmgmt.logs, wfmgmt.settings  # With all that they import of Python, which asks for the system, too.
sys.platform = "darwin"
import wfmgmt.deployment.gunicorn_config
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (2, [REFUSAL])


@pytest.mark.parametrize(
    ("listing", "files", "cores"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "150000 100000"}, 2),
        ("0::/", {"cpu.max": "10000 100000"}, 1),
        ("0::/", {"cpu.max": "9900000 100000"}, 8),
        ("0::/", {"cpu.max": "malformed"}, 8),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/docker/0123", {"cpu.max": "400000 100000"}, 4),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("3:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("3:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_available_cores_are_those_of_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str, files: dict[str, str], cores: int
) -> None:
    """Both versions of control groups count, those around ours too; a part of a core is one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "listing").write_text(f"{listing}\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert available_cores(tmp_path / "listing", tmp_path) == cores


def test_available_cores_without_control_groups_are_those_of_affinity(tmp_path: Path) -> None:
    """Some sandboxes have none."""
    assert available_cores(tmp_path / "nothing", tmp_path) == len(os.sched_getaffinity(0))
