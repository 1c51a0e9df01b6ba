"""Local model servers over a folder of their own, and the processes they start."""

import asyncio
import hashlib
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wfmgmt.archives.verified import open_verified
from wfmgmt.serving.models.local.launcher import Forkserver, Surroundings
from wfmgmt.serving.models.local.server import FunctionGroup, LocalFunctions, LocalModelServer, LocalParts


@dataclass(frozen=True)
class UnpackedMar:
    """What a model archive says about itself."""

    handler: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class LocalServers:
    """A forkserver and what uses it.

    Attributes:
        forkserver: Starts the workers.
        models: Runs models.
        functions: Runs functions.
        folder: Where archives are unpacked.
    """

    forkserver: Forkserver
    models: LocalModelServer
    functions: LocalFunctions
    folder: Path

    @property
    def unpacked(self) -> list[Path]:
        """The folders of archives that are unpacked now."""
        return list(self.folder.iterdir()) if self.folder.exists() else []


def unpack(content: BinaryIO, folder: Path) -> None:
    """Unpack an archive that can be trusted."""
    with zipfile.ZipFile(content) as archive:
        archive.extractall(folder)


def unpack_mar(content: BinaryIO, folder: Path) -> UnpackedMar:
    """Unpack a model archive that can be trusted."""
    unpack(content, folder)
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    return UnpackedMar(handler=manifest["model"]["handler"], manifest=manifest)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@asynccontextmanager
async def open_servers(
    folder: Path,
    on_change: Callable[[str], None] = lambda _: None,
    *,
    surroundings: Surroundings | None = None,
    **overrides: Any,
) -> AsyncIterator[LocalServers]:
    """Open servers that unpack below this folder, and close them in the end."""
    forkserver = Forkserver(surroundings)
    parts = LocalParts(
        forkserver=forkserver, folder=folder, open_archive=open_verified, on_change=on_change, **overrides
    )
    models = LocalModelServer(parts, unpack=unpack_mar)
    functions = LocalFunctions(parts, unpack=unpack)
    try:
        yield LocalServers(forkserver=forkserver, models=models, functions=functions, folder=folder)
    finally:
        await models.close()
        await functions.close()
        await forkserver.close()


def make_group(archive: Path, *functions: str, **overrides: Any) -> FunctionGroup:
    """Return functions of a workflow archive as `make_war` writes it."""
    values = {
        "name": "w",
        "workflow": "w",
        "archive": archive,
        "archive_sha256": digest(archive),
        "handler": "handler.py",
        "functions": functions,
        "max_workers": len(functions),
        "timeout_ms": 10_000,
        "startup_timeout_s": 30.0,
    }
    return FunctionGroup(**{**values, **overrides})


def is_running(pid: int) -> bool:
    """Tell whether a process exists and has not ended; one that nobody has waited for has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - only their number is of interest


async def until(condition: Callable[[], bool], *, timeout_s: float = 10.0, what: str = "the condition") -> None:
    """Let the event loop run until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        await asyncio.sleep(0.005)
