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

from tests.support.service import PATIENCE_S, parent_pid
from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.serving.models.base import Model
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.local.model import WORKING, LocalModel, LocalParts
from wfmgmt.serving.models.local.server import LocalModelServer
from wfmgmt.serving.models.local.trees import ArchiveKind
from wfmgmt.testing import ignore, make_model

#: Folder of the archives that are kept, below that of the servers.
KEPT = "archives"


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
        folder: Where workers work, and archives are kept.
    """

    forkserver: ForkserverClient
    models: LocalModelServer
    functions: LocalModelServer
    folder: Path

    @property
    def unpacked(self) -> list[Path]:
        """The folders of archives that are unpacked."""
        return list((self.folder / KEPT).glob("sha256/*/*/tree"))

    @property
    def working(self) -> list[Path]:
        """The folders of workers."""
        return entries(self.folder / WORKING)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing when it does not exist."""
    return list(folder.iterdir()) if folder.exists() else []


def unpack(content: BinaryIO, folder: Path | None) -> None:
    """Unpack an archive that can be trusted."""
    with zipfile.ZipFile(content) as archive:
        archive.extractall(folder)


def describe_mar(folder: Path) -> UnpackedMar:
    """Return what a model archive says that is unpacked in a folder."""
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    return UnpackedMar(handler=manifest["model"]["handler"], manifest=manifest)


def unpack_mar(content: BinaryIO, folder: Path) -> UnpackedMar:
    """Unpack a model archive that can be trusted."""
    unpack(content, folder)
    return describe_mar(folder)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept_below(folder: Path) -> KeptArchives:
    """Return the archives that are kept below a folder of servers."""
    return KeptArchives(folder / KEPT, owner=RUNTIME)


@asynccontextmanager
async def open_servers(
    folder: Path,
    *,
    worker_environment: WorkerEnvironment | None = None,
    **overrides: Any,
) -> AsyncIterator[LocalServers]:
    """Open servers that unpack below this folder, and close them in the end."""
    forkserver = ForkserverClient(worker_environment)
    parts = LocalParts(forkserver=forkserver, folder=folder, kept=kept_below(folder), **overrides)
    models = LocalModelServer(parts, ArchiveKind(name="Model", unpack=unpack, describe=describe_mar))
    functions = LocalModelServer(parts, ArchiveKind(name="Workflow archive", unpack=unpack, describe=lambda _: None))
    try:
        yield LocalServers(forkserver=forkserver, models=models, functions=functions, folder=folder)
    finally:
        await models.close()
        await functions.close()
        await forkserver.close()


def make_function(archive: Path, function: str, **overrides: Any) -> Model:
    """Return a function of a workflow archive as `make_war` writes it."""
    values = {"node": function, "handler": f"handler.py:{function}"}
    return make_model(archive, **{**values, **overrides})


async def load_functions(servers: LocalServers, archive: Path, *functions: str, **overrides: Any) -> list[LocalModel]:
    """Load functions of one workflow at the same time, and raise what goes wrong first."""
    models = [make_function(archive, name, **overrides) for name in functions]
    return await asyncio.gather(*(servers.functions.load(model, on_change=ignore) for model in models))


def forkserver_of(worker: int) -> int:
    """Return the process that a worker was forked from."""
    parent = parent_pid(worker)
    assert parent is not None
    return parent


def is_running(pid: int) -> bool:
    """Tell whether a process exists and has not ended; one that nobody has waited for has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone."""
    return not is_running(pid)


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - only their number is of interest


async def until(condition: Callable[[], bool], *, timeout_s: float = PATIENCE_S, what: str = "the condition") -> None:
    """Let the event loop run until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        await asyncio.sleep(0.005)
