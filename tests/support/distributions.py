"""Tiny packages for pip to install, made without a network and without any tool."""

import base64
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

#: A build backend that needs nothing; what it does first is the test's.
_BACKEND = """\
{first}
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    raise SystemExit("there is nothing to build")
"""


def pip_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which pip finds what lies in a folder, and nothing else."""
    return {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def make_wheel(folder: Path, name: str, version: str, *, source: str = "", script: str | None = None) -> Path:
    """Write a wheel with one module of the package's name, which knows its version, and return its path.

    Args:
        folder: Where it goes.
        name: Of the package.
        version: Its version.
        source: More of the module.
        script: Name of a script that calls the module's function `main`.
    """
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"__version__ = {version!r}\n{source}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script is not None:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return path


def make_sdist(folder: Path, name: str, version: str, *, first: str) -> Path:
    """Write a source distribution whose build runs this code first, and return its path."""
    root = f"{name}-{version}"
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": _BACKEND.format(first=first),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{root}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            entry = tarfile.TarInfo(f"{root}/{member}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def hanging_build(report: Path) -> str:
    """Return code that leaves its process group, writes its process id to a file and then waits for ever."""
    begin = f"import os, time\nos.setsid()\nopen({str(report)!r}, 'w').write(str(os.getpid()))\n"
    return f"{begin}while True:\n    time.sleep(60)\n"


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
