"""The servers that take part, and the workflows that each of them gets."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.torchserve.contest import Server, Wfmgmt
from benchmarks.torchserve.server import TorchServe
from examples.build import archive
from examples.real.build import build

DEFAULT, ONE_THREAD, WFMGMT = SERVERS = (
    "TorchServe 0.12.0",
    "TorchServe 0.12.0, OMP_NUM_THREADS=1",
    "wfmgmt",
)
#: The longest wait for the rest of a batch, as in the example.
_DELAY_MS = 5
_SPEC = """\
models:
  min-workers: {workers}
  max-workers: {workers}
  batch-size: {batch_size}
  max-batch-delay: {delay_ms}
  retry-attempts: 1
  timeout-ms: 30000

  embed:
    url: embed.mar

dag:
  embed: []
"""


class Stores:
    """The archives that all servers share.

    Args:
        folder: Where they are built.
    """

    def __init__(self, folder: Path) -> None:
        self.folders: dict[str, Any] = {
            "workflow_store": folder / "workflow_store",
            "model_store": folder / "model_store",
        }
        self._sources = folder / "sources"
        self._sources.mkdir()
        build(**self.folders)

    def add(self, workers: int, batch_size: int) -> str:
        """Build a workflow of the embedding model alone, and return its name."""
        name = f"embed-{workers}-{batch_size}"
        spec, functions = self._sources / f"{name}.yaml", self._sources / "no_functions.py"
        spec.write_text(_SPEC.format(workers=workers, batch_size=batch_size, delay_ms=_DELAY_MS), encoding="utf-8")
        functions.touch()  # The archiver fails without one, though this graph has no functions.
        file = self.folders["workflow_store"] / f"{name}.war"
        archive("torch-workflow-archiver", "--workflow-name", name, "--spec-file", spec, functions, file)
        return name


@contextlib.contextmanager
def run(names: list[str], stores: Stores, folder: Path) -> Iterator[Mapping[str, Server]]:
    """Run the servers, without any workflow; all of them in the environment of this program."""
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for number, name in enumerate(names):
            own = folder / f"server-{number}"
            if name == WFMGMT:
                servers[name] = stack.enter_context(Wfmgmt(own, web_workers=2, **stores.folders))
            else:
                environment = {"OMP_NUM_THREADS": "1"} if name == ONE_THREAD else {}
                server = TorchServe(Path(sys.prefix), own, **stores.folders, environment=environment)
                servers[name] = stack.enter_context(server)
        yield servers
