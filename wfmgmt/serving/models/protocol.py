"""The Protocols that every model server, and each model loaded on it, satisfies."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from wfmgmt.domain.workflow import NodeSettings
from wfmgmt.serving.models.base import Drift, Model, NodeAnswer, NodeRequest, WorkerFacts, WorkerStatus


class LoadedModel(Protocol):
    """A model that a `ModelServer` has loaded, until it is unloaded.

    All methods belong to the thread of one event loop. None of them waits for other models.
    """

    @property
    def status(self) -> WorkerStatus:
        """Its workers as known now, without waiting; none wanted and none ready once it is unloaded."""

    @property
    def workers(self) -> Sequence[WorkerFacts]:
        """The worker processes of this machine that are ready; none when they are another server's."""

    @property
    def queued(self) -> int:
        """Requests that no worker has begun."""

    @property
    def busy_s(self) -> float | None:
        """For how many seconds no worker has been idle; None when one is, there is none, or that is not known."""

    def infer(self, request: NodeRequest, *, avoid: int | None = None) -> "asyncio.Future[NodeAnswer]":
        """Have a worker answer a request: one attempt, alone or in a batch with others.

        It never blocks. Cancelling the future withdraws the request if no worker has it yet. What one request does to
        its worker (hanging, crashing, exhausting its memory) fails no other: those that shared the batch are run again.

        Args:
            request: The request.
            avoid: The `worker` of a `PredictionFailed`: prefer another one, and share no batch.

        Raises (through the future):
            PredictionFailed: The handler raised or answered wrongly, took longer than `timeout_ms`, or its worker died.
            PredictionRefused: The handler raised an error that carries an HTTP status.
            NoWorker: The queue is full, no worker comes up, or the model is being unloaded or was.
        """

    async def scale(self, minimum: int, maximum: int) -> None:
        """Keep from `minimum` to `maximum` workers, 0 <= minimum <= maximum, from now on.

        Returns when the minimum is up and those beyond the maximum are gone, which takes `startup_timeout_s` and the
        longest run of a batch at most. Idempotent. Workers in between stay while requests need them, and leave when
        they have been idle. When new ones fail to come up, or this is cancelled, both numbers stay as they were.
        Lasts until the model is unloaded; the next load begins with the numbers of its `Model`.

        Raises:
            ModelNotLoaded: The model is unloaded, or a new worker did not come up.
        """

    async def change(self, settings: NodeSettings) -> None:
        """Use another batch size, delay and time-out from the next batch on; batches that a worker has keep theirs.

        Idempotent. No request fails and no worker is restarted: a handler reads the new batch size from its context
        only in workers that start later. Lasts as long as the numbers of `scale`, which alone change those of workers.

        Raises:
            ModelNotChanged: The model server cannot do that while the model is loaded; nothing has changed. The same
                settings as before never raise it.
            ModelNotLoaded: The model is unloaded.
        """

    async def unload(self) -> None:
        """Take the model down and return when its processes and files are gone.

        Idempotent. Once begun it goes on to its end, also when the caller is cancelled. Workers that do not leave by
        themselves are killed after two seconds. What a server that cannot be reached still holds is removed by `check`
        later.
        """


class ModelServer(Protocol):
    """Loads models and keeps their workers alive.

    All methods belong to the thread of one event loop. Calls for different models run at the same time and do not wait
    for each other. A restart of the process that owns the server loads again; a server that is a process of its own may
    still hold the models then, and keeps those that are as they should be.

    Attributes:
        check_wanted: Set by the server when it found a model missing, so that `check` should not wait for its turn; the
            one who calls `check` clears it before.
    """

    check_wanted: asyncio.Event

    async def load(self, model: Model, *, on_change: Callable[[], None]) -> LoadedModel:
        """Bring up `model.settings.min_workers` workers and return when all of them are initialised.

        Not idempotent. When it raises, and when it is cancelled, nothing of the model is left and its key is
        free. It takes as long as unpacking plus, at most, `model.startup_timeout_s` and a second to clean up.

        Args:
            model: What to load.
            on_change: Called in the event loop whenever the status of the model may have changed, during the load
                already and for the last time when it is unloaded. It neither blocks nor raises.

        Raises:
            ModelNotLoaded: The archive is missing, changed or damaged, or a worker did not come up in time. Where
                reading or unpacking failed on an OSError, that is its cause.
            ModelAlreadyLoaded: The key is in use here. When the name is in use on a server that others use too, that is
                a `ModelNotLoaded`.
            ShuttingDown: The server was closed.
        """

    async def check(self, known: Callable[[], Awaitable[Collection[str]]], *, dry_run: bool) -> Sequence[Drift]:
        """Compare what the server holds with what was loaded, and repair what is different.

        Args:
            known: Returns the identities of registrations whose models are left alone even if they are not loaded. They
                are not `ModelKey`s, since the nodes of registrations that are not loaded are nowhere in memory. It
                reads the whole registry, so a server that nothing else can change does not call it.
            dry_run: Repair nothing.

        Raises:
            WfmgmtError: What `known` raised; nothing was compared.
        """

    async def close(self) -> None:
        """Stop everything that runs in processes of ours; later loads raise `ShuttingDown`. Idempotent.

        What runs elsewhere stays there, for the next start to find. Handles are as if unloaded either way.
        """
