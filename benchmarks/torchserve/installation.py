"""TorchServe's own virtual environment, and the programs that have to be there already."""

import subprocess
import sys
from pathlib import Path

from benchmarks import wrk
from tests.support.real_torchserve import missing_java

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv-torchserve"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


class Missing(Exception):
    """Something is missing that the comparison cannot do without; the text says what and where it comes from."""


def check_programs() -> None:
    """Look for wrk and Java.

    Raises:
        Missing: One of them is not installed.
    """
    try:
        wrk.program()
    except wrk.WrkMissing as error:
        raise Missing(str(error)) from error
    if (reason := missing_java()) is not None:
        raise Missing(reason)


def install() -> Path:
    """Return the virtual environment with TorchServe, made when it is not there with these requirements yet.

    Raises:
        Missing: The packages could not be installed.
    """
    wanted = _REQUIREMENTS.read_text(encoding="utf-8")
    stamp = VENV / ".torchserve"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return VENV
    print(f"installing TorchServe into {VENV.name}, once", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "--quiet", "--requirement", _REQUIREMENTS], check=True)
    except subprocess.CalledProcessError as error:
        raise Missing(f"TorchServe could not be installed into {VENV.name}, see above") from error
    stamp.write_text(wanted, encoding="utf-8")
    return VENV


def versions(venv: Path) -> str:
    """Return the versions of TorchServe and of what it runs on."""
    ask = 'from importlib.metadata import version as v; print(f\'TorchServe {v("torchserve")}, torch {v("torch")}\')'
    packages = _first_line(venv / "bin" / "python", "-c", ask)
    return f"{packages}, {_first_line('java', '-version')}, {' '.join(_first_line(wrk.program(), '-v').split()[:2])}"


def _first_line(*command: str | Path) -> str:
    """Return the first line that a command prints, to stdout or stderr: Java prints its version to stderr."""
    # wrk tells its version with its usage, as if something had gone wrong.
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return next(iter(finished.stdout.splitlines()), "")
