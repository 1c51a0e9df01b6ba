"""The process that makes a virtual environment and installs libraries into it.

The runtime starts it as `python -m wfmgmt.serving.models.local.installer_process FOLDER`, in a process group of its
own. FOLDER becomes the environment, and has its `requirements.txt` already. The environment sees the packages of the
service behind its own, also when the service runs in an environment itself; then pip installs, and the exit code is
that of pip. What was started meanwhile ends with this process, also what has left its group. On SIGTERM,
and when the runtime dies, that is at once.
"""

import importlib.util
import os
import signal
import site
import subprocess
import sys
import venv
from pathlib import Path

from wfmgmt.domain.requirements import FILE_NAME
from wfmgmt.serving.models.local.hardening import adopt_orphans, die_with_parent, kill_descendants

_IMPORT_ROOT = Path(__file__).parents[4]
#: Makes packages of the service visible, and what their own path configuration files add.
_PATH_LINE = "import site; site.addsitedir({folder!r})\n"


def main() -> None:
    """Make the environment, and run pip in it."""
    signal.signal(signal.SIGTERM, _end)
    adopt_orphans()
    die_with_parent(signal.SIGTERM)
    folder = Path(sys.argv[1])
    has_pip = importlib.util.find_spec("pip") is not None
    venv.EnvBuilder(symlinks=True, with_pip=not has_pip).create(folder)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    lines = [_PATH_LINE.format(folder=each) for each in _service_folders()]
    (packages / "wfmgmt.pth").write_text("".join(lines), encoding="utf-8")
    pip: list[str | Path] = [folder / "bin" / "python", "-P", "-m", "pip", "install"]
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-warn-script-location"]
    done = subprocess.run([*pip, *options, "-r", folder / FILE_NAME], check=False)  # noqa: S603 - of our own making
    kill_descendants()
    sys.exit(done.returncode)


def _end(*_: object) -> None:
    kill_descendants()
    os._exit(1)


def _service_folders() -> list[str]:
    """Return the folders that this interpreter has packages in, in their order, and the one with our own."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return [*(each for each in folders if each in sys.path), str(_IMPORT_ROOT)]


if __name__ == "__main__":
    main()
