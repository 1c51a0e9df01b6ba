"""Values that cross the border between the runtime and its model servers; `protocol` has the two Protocols."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.errors import Unavailable, WfmgmtError

#: Headers that belong to one message or connection, and are never passed on.
FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

#: Bytes that are passed on without being looked at.
Content = bytes | bytearray

#: What the description of a field takes in JSON besides its texts, and what one character of these takes at most.
_FIELD_BYTES, _ESCAPED = 30, 12


class ModelKey(NamedTuple):
    """Identity of a model: no two registrations share one, even of the same name.

    Attributes:
        uid: Identity of the registration.
        node: Name of the node in the graph.
    """

    uid: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One node, ready to be loaded: a model, or a function of a workflow's handler file.

    Attributes:
        key: Its identity.
        workflow: Name of the workflow.
        version: Which version of the workflow it belongs to.
        archive: The .mar file, or for a function the .war.
        archive_sha256: Digest of that file when it was registered, in lower-case hexadecimal.
        settings: How many workers it has and how requests reach them; retries are the caller's business.
        startup_timeout_s: Time each worker has from its start until its handler is initialised.
        handler: Handler string of a function; None for models, whose manifest has it.
        threads: Threads that libraries in each worker are to use; None when the spec does not say.
        request_id: The request that has it loaded; empty when none has.
    """

    key: ModelKey
    workflow: str
    version: str = FIRST_VERSION
    archive: Path
    archive_sha256: str
    settings: NodeSettings
    startup_timeout_s: float
    handler: str | None = None
    threads: int | None = None
    request_id: str = ""

    @property
    def node(self) -> str:
        """Name of the node in the graph."""
        return self.key.node

    @property
    def log_fields(self) -> dict[str, str]:
        """What lines of the log about its load belong to."""
        return {
            "workflow": self.workflow,
            "version": self.version,
            "node": self.node,
            "request_id": self.request_id,
        }


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
    """Return how many bytes the names and content types of fields take at most in a message to a worker."""
    return sum(_FIELD_BYTES + _ESCAPED * (len(each.name) + len(each.content_type)) for each in fields)


class NodeRequest(NamedTuple):
    """A request to one node.

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
        """Bytes, at most, that describe the values."""
        return described_bytes(self.fields)


@dataclass(slots=True, kw_only=True)
class NodeAnswer:
    """The answer of one node. It is not frozen, since there are several to every request and that doubles their cost.

    Attributes:
        content: The bytes.
        status: HTTP status that the handler set, else 200.
        content_type: Content type that the handler set.
        headers: Other headers that the handler set.
        batch_size: Requests that were handed to the handler together with this one, itself included.
        queued_s: Seconds in which no worker ran: the wait for one, for the batch to fill, and the transport.
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


class WorkerUsage(NamedTuple):
    """What one worker takes of its host; None for what the system does not say.

    Attributes:
        pss_bytes: Its memory, with its part of what it shares with other processes.
        threads: Its threads.
    """

    pss_bytes: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class WorkerFacts:
    """One worker process that is up; the same object for as long as it is.

    Attributes:
        pid: Its process id.
        started_at: When it was started.
        read_usage: Reads what it takes now. It blocks for a millisecond, or for longer with much memory, and may be
            called in any thread.
    """

    pid: int
    started_at: datetime
    read_usage: Callable[[], WorkerUsage]


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


class ModelNotChanged(WfmgmtError):
    """A loaded model cannot get other settings where it runs; it goes on with those that it has.

    Attributes:
        node: The node, as in the graph.
        reason: Why, in words for the caller.
    """

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"{node}: {reason}")
        self.node = node
        self.reason = reason


class ModelAlreadyLoaded(WfmgmtError):
    """A model of this identity is loaded, being loaded or being unloaded."""

    def __init__(self, key: ModelKey) -> None:
        super().__init__(f"{key.node} of registration {key.uid} is already loaded.")
        self.key = key


class PredictionFailed(WfmgmtError):
    """One attempt to answer a request failed; another one may succeed.

    Attributes:
        reason: Why, in words for the caller, as for `ModelNotLoaded`.
        worker: Which worker failed, to be avoided by the next attempt; None when that makes no difference.
        fault: Whose fault it is.
        is_worker_gone: Whether its worker ended, or was killed since it took too long; the handler said nothing.
        traceback: The handler's, for the log; empty when it did not raise.
        pid: The worker's process, where it is one of this machine.
        lacks_module: Whether an import failed for want of a module; None when it was no import.
    """

    def __init__(
        self,
        reason: str,
        worker: int | None = None,
        fault: Fault = Fault.MODEL,
        *,
        traceback: str = "",
        lacks_module: bool | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.worker = worker
        self.fault = fault
        self.is_worker_gone = False
        self.traceback = traceback
        self.pid: int | None = None
        self.lacks_module = lacks_module


class PredictionRefused(WfmgmtError):
    """A handler raised an error with an HTTP status of its choice, which another attempt would not change.

    Attributes:
        reason: The handler's own message.
        status: HTTP status, 400 to 599.
        traceback: The handler's, for the log; empty for a status below 500, which is no failure of the handler.
        pid: The worker's process, where it is one of this machine.
    """

    def __init__(self, reason: str, status: int, *, traceback: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.traceback = traceback
        self.pid: int | None = None


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
    #: A model that is not ours has its name.
    NAME_TAKEN = "name taken"
    #: What it holds could not be read.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference between a model server and what it should hold.

    Attributes:
        server: Address of the server.
        model: Its name on the server; empty when it is about the whole server.
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
