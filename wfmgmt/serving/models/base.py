"""What every model server promises, wherever it runs its models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wfmgmt.errors import WfmgmtError


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model node, ready to be loaded.

    Attributes:
        name: What the model server knows it by; chosen by the caller, unique among all that is loaded.
        workflow: Name of the workflow.
        node: Name of the node in the graph.
        archive: The .mar file.
        archive_sha256: Digest of that file when it was registered, in lower-case hexadecimal.
        min_workers: Worker processes that are up once it is loaded, >= 0.
        max_workers: Worker processes at most, >= min_workers.
        batch_size: Requests handed to the handler together, >= 1.
        startup_timeout_s: Time each worker has from its start until its handler is initialised.
    """

    name: str
    workflow: str
    node: str
    archive: Path
    archive_sha256: str
    min_workers: int
    max_workers: int
    batch_size: int
    startup_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """How many workers there should be, how many there are, and why.

    Attributes:
        wanted: Workers that should be up.
        ready: Workers that are up and initialised.
        error: Why workers are missing, as last known; None when none is missing or the first ones still start.
    """

    wanted: int
    ready: int
    error: str | None = None


class ModelNotLoaded(WfmgmtError):
    """A model or function is not, or not any more, where it can run.

    Attributes:
        node: The node at fault, as in the graph.
        reason: Why, in words for the caller: the handler's own error, an exit code, a time-out. Never a host path.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason


class ModelAlreadyLoaded(WfmgmtError):
    """The name belongs to something that is loaded, being loaded or being unloaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model {name} is already loaded.")
        self.name = name


class ModelServer(Protocol):
    """Loads models and keeps their workers alive.

    All methods belong to the thread of one event loop. Calls for different names run at the same time and do not wait
    for each other. Nothing survives a restart of the process that owns the server: whoever starts it loads again.

    Constructors take `on_change: Callable[[str], None]`, which is called in the event loop with a model's name whenever
    its status may have changed. It must neither block nor raise.
    """

    async def load(self, model: Model) -> None:
        """Bring up `model.min_workers` workers and return when all of them are initialised.

        Not idempotent. Whatever it raises, and also when it is cancelled, nothing of the model is left and the name
        is free. It takes as long as unpacking plus, at most, `model.startup_timeout_s` and a second to clean up.

        Raises:
            ModelNotLoaded: The archive is missing, changed or broken, a worker did not come up in time, or `unload`
                was called meanwhile. Where reading or unpacking failed on an OSError, that is its cause.
            ModelAlreadyLoaded: The name is in use.
            ShuttingDown: The server was closed.
        """

    async def scale(self, name: str, workers: int) -> None:
        """Run exactly `workers` (>= 0) workers of a loaded model and return when new ones are up and others gone.

        Idempotent. Workers that stay are not disturbed. When new ones fail to come up, the number stays as it was.

        Raises:
            ModelNotLoaded: The model is not loaded, or a new worker did not come up within its startup timeout.
        """

    async def unload(self, name: str) -> None:
        """Take the model down and return when its processes and files are gone.

        Idempotent: an unknown name is fine. A load under way is cancelled. Once begun it goes on to its end, also when
        the caller is cancelled. Workers that do not leave by themselves are killed after two seconds.
        """

    def status(self, name: str) -> WorkerStatus:
        """Return the model's workers as known now, without waiting; none wanted and none ready for an unknown name."""

    async def close(self) -> None:
        """Unload everything; later loads raise `ShuttingDown`. Idempotent."""
