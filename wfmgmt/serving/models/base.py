"""What every model server promises, wherever it runs its models."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from wfmgmt.domain.faults import Fault
from wfmgmt.errors import Unavailable, WfmgmtError

#: Headers that belong to one message or connection, whatever a client or a handler says.
FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

#: Bytes that are passed on without being looked at.
Content = bytes | bytearray

#: What the description of a field takes in JSON besides its texts, and what one character of these takes at most.
_FIELD_BYTES, _ESCAPED = 30, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One node, ready to be loaded: a model, or a function of a workflow's handler file.

    Attributes:
        name: What the model server knows it by; chosen by the caller, unique among all that is loaded.
        workflow: Name of the workflow.
        node: Name of the node in the graph.
        archive: The .mar file, or for a function the .war.
        archive_sha256: Digest of that file when it was registered, in lower-case hexadecimal.
        min_workers: Worker processes that are up once it is loaded, >= 0.
        max_workers: Worker processes at most, >= min_workers.
        batch_size: Requests handed to the handler together, >= 1.
        max_batch_delay_ms: Longest wait of a request for others to fill its batch, >= 0.
        timeout_ms: Longest run of one batch, >= 1.
        startup_timeout_s: Time each worker has from its start until its handler is initialised.
        handler: Handler string of a function; None for models, whose manifest has it.
    """

    name: str
    workflow: str
    node: str
    archive: Path
    archive_sha256: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay_ms: int
    timeout_ms: int
    startup_timeout_s: float
    handler: str | None = None


class InputField(NamedTuple):
    """One named value of a request, as it came.

    Attributes:
        name: Its key in the handler's data; `body` for a body that is no form.
        content: The bytes.
        content_type: What the sender called them; JSON and text reach the handler decoded. Empty for bytes.
    """

    name: str
    content: Content
    content_type: str = ""


def described_bytes(fields: Sequence[InputField]) -> int:
    """Return how many bytes the names and content types of fields take at most when they are told to a worker."""
    return sum(_FIELD_BYTES + _ESCAPED * (len(each.name) + len(each.content_type)) for each in fields)


class NodeRequest(NamedTuple):
    """What one node is asked.

    Attributes:
        request_id: Identity of the client's request.
        headers: The client's headers, as a JSON object in UTF-8.
        fields: The values; of several with one name the last wins.
    """

    request_id: str
    headers: bytes
    fields: Sequence[InputField]

    @property
    def size_bytes(self) -> int:
        """Bytes of all values."""
        return sum(len(each.content) for each in self.fields)

    @property
    def header_bytes(self) -> int:
        """Bytes, at most, of what has to be told about the values."""
        return described_bytes(self.fields)


@dataclass(slots=True, kw_only=True)
class NodeAnswer:
    """What one node answered. It is not frozen, since there are several to every request and that doubles their cost.

    Attributes:
        content: The bytes.
        status: HTTP status that the handler set, else 200.
        content_type: Content type that the handler set.
        headers: Other headers that the handler set.
        batch_size: Requests that were handed to the handler together with this one, itself included.
        queued_s: Seconds in which no worker ran: the wait for one, for the batch to fill, and the ways.
        run_s: Seconds that the worker took, as it says.
    """

    content: Content
    status: int = 200
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 1
    queued_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """How many workers there should be, how many there are, and why.

    Attributes:
        wanted: Workers that should be up at least.
        ready: Workers that are up and initialised; more than wanted while load makes it so.
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
        fault: Whose fault it is.
    """

    def __init__(self, node: str, reason: str, fault: Fault = Fault.MODEL) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason
        self.fault = fault


class ModelAlreadyLoaded(WfmgmtError):
    """The name belongs to something that is loaded, being loaded or being unloaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Model {name} is already loaded.")
        self.name = name


class PredictionFailed(WfmgmtError):
    """One try to answer a request failed; another one may succeed.

    Attributes:
        reason: Why, in words for the caller, as for `ModelNotLoaded`.
        worker: Which worker failed, to be avoided by the next try; None when that makes no difference.
        fault: Whose fault it is.
        is_worker_gone: Whether all that is known is that its worker ended.
    """

    def __init__(self, reason: str, worker: int | None = None, fault: Fault = Fault.MODEL) -> None:
        super().__init__(reason)
        self.reason = reason
        self.worker = worker
        self.fault = fault
        self.is_worker_gone = False


class PredictionRefused(WfmgmtError):
    """A handler raised an error with an HTTP status of its choice, which another try would not change.

    Attributes:
        reason: The handler's own message.
        status: HTTP status, 400 to 599.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class NoWorker(Unavailable):
    """The request could not be given to a worker: the queue is full, or no worker comes up; the text says which."""

    retry_after_s = 1


class DriftKind(StrEnum):
    """How a model server differs from what it should hold."""

    #: A model of ours is not there.
    MISSING = "missing"
    #: A model of ours is there that should not be.
    EXTRA = "extra"
    #: It has another number of workers.
    WORKERS = "workers"
    #: It has other settings, or runs from another archive.
    SETTINGS = "settings"
    #: Somebody else's model has its name.
    NAME_TAKEN = "name taken"
    #: Nobody knows what it holds.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference between a model server and what it should hold.

    Attributes:
        server: Address of the server.
        model: What the server knows the model by; empty when it is about the whole server.
        workflow: Name of the workflow; empty for a model whose workflow is not known any more.
        kind: What is different.
        did: What was done about it, or would be; why not, when nothing can be.
        is_repaired: Whether that succeeded.
    """

    server: str
    model: str
    workflow: str
    kind: DriftKind
    did: str
    is_repaired: bool

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.server, self.model, self.kind.value, self.did)))


class ModelServer(Protocol):
    """Loads models, keeps their workers alive and has them answer requests.

    All methods belong to the thread of one event loop. Calls for different names run at the same time and do not wait
    for each other. Whoever starts the process that owns the server loads again; a server that is a process of its own
    may still hold the models then, and takes those up that are as they should be.

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
            ModelAlreadyLoaded: The name is in use here. When it is in use by somebody else, that is a `ModelNotLoaded`.
            ShuttingDown: The server was closed.
        """

    async def scale(self, name: str, workers: int) -> None:
        """Run exactly `workers` (>= 0) workers of a loaded model and return when new ones are up and others gone.

        From then on that is the model's minimum. Idempotent. Workers that stay are not disturbed. When new ones fail
        to come up, the number stays as it was.

        Raises:
            ModelNotLoaded: The model is not loaded, or a new worker did not come up within its startup timeout.
        """

    def infer(self, name: str, request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        """Have a worker answer a request: one try, alone or in a batch with others.

        It never blocks. Cancelling the future withdraws the request if no worker has it yet. What one request does to
        its worker (hanging, crashing, eating its memory) fails no other: those that shared the batch are run again.

        Args:
            name: The model, which is loaded.
            request: What it is asked.
            avoid: The `worker` of a `PredictionFailed`: prefer another one, and share no batch.

        Raises (through the future):
            PredictionFailed: The handler raised or answered wrongly, took longer than `timeout_ms`, or its worker died.
            PredictionRefused: The handler raised an error that carries an HTTP status.
            NoWorker: The queue is full, no worker comes up, or the model is not loaded or is being unloaded.
        """

    async def unload(self, name: str) -> None:
        """Take the model down and return when its processes and files are gone.

        Idempotent: an unknown name is fine. A load under way is cancelled. Once begun it goes on to its end, also when
        the caller is cancelled. Workers that do not leave by themselves are killed after two seconds. What a server
        that cannot be reached still holds is taken down by `check` later.
        """

    def status(self, name: str) -> WorkerStatus:
        """Return the model's workers as known now, without waiting; none wanted and none ready for an unknown name."""

    async def check(self, known: Collection[str], *, dry_run: bool) -> Sequence[Drift]:
        """Compare what the server holds with what was loaded, and mend what is different.

        Args:
            known: Names whose models are to be left alone even if they are not loaded: the part before the first `/`.
            dry_run: Mend nothing.
        """

    async def close(self) -> None:
        """End everything that runs in processes of ours; later loads raise `ShuttingDown`. Idempotent.

        What runs elsewhere stays there, to be taken up by the next start.
        """
