"""Systems on which the service cannot run."""

import subprocess
import sys

import pytest

from wfmgmt.cli.main import main

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
