"""Operations of the management plane: each has a row from the moment it is accepted until after it is done."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.operations import (
    HOLDER,
    NewOperation,
    NodeProgress,
    Operation,
    OperationError,
    OperationKind,
    OperationState,
)
from wfmgmt.errors import (
    OperationCancelled,
    OperationNotFound,
    RegistryUnavailable,
    TooManyRegistrations,
    WfmgmtError,
)
from wfmgmt.registry.registry import LAST_RECEIPT, Registry, timestamp, utc_now
from wfmgmt.registry.writing import Writer
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_records import (
    NOUNS,
    Accepted,
    described_error,
    end_abandoned,
    end_interrupted,
    recovery_of,
)
from wfmgmt.services.tracking import RunningOperation

_log = logging.getLogger("wfmgmt.operations")

T = TypeVar("T")

#: How often the progress of an operation is written, at most.
PROGRESS_INTERVAL_S = 0.5
#: How long operations that are done are kept, at most.
KEPT = timedelta(days=30)
#: Operations of a kind that may wait; anybody can send them, and the database is not for that.
MAX_QUEUED = 1000
#: How long a request may wait for the end of an operation.
MAX_WAIT_S = 300
#: How often a client that waits for the end of an operation has it looked at.
WAIT_INTERVAL_S = 0.1

#: Counts an operation that ended, with its kind, how it ended, and the seconds since it was accepted.
EndCounter = Callable[[OperationKind, OperationState, float], None]


class Operations:
    """The operations of a service; those of this process with their progress. Thread-safe.

    Args:
        registry: Has their rows.
        leases: Proof that an operation is still under way.
        status: What the runtime reported, for the workers that are up.
        long_requests: How many requests may wait for an operation, and when they have to end.
        kept: Operations that are kept, at most.
        on_ended: Counts one that ended.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        leases: Leases,
        status: StatusCache,
        long_requests: LongRequests,
        kept: int,
        on_ended: EndCounter = lambda _kind, _state, _seconds: None,
    ) -> None:
        self._registry = registry
        self._leases = leases
        self._status = status
        self._long_requests = long_requests
        self._kept = kept
        self._on_ended = on_ended
        self._lock = threading.Lock()
        self._running: set[RunningOperation] = set()

    def refuse_second(self, new: NewOperation, conflict: WfmgmtError) -> str:
        """Refuse an operation early when another one is at work on the same; `run` decides for good.

        Returns:
            The lease of one that nobody is at work on any more; empty when there is none.

        Raises:
            WfmgmtError: The conflict, which names the other operation.
        """
        with self._registry.read() as reader:
            other = None if new.key is None else reader.operations.with_key(new.key)
        if other is None:
            return ""
        if other.lease is None or self._leases.is_alive(other.lease):
            conflict.operation = other.uid
            raise conflict
        return other.lease

    @contextmanager
    def run(self, new: NewOperation, conflict: WfmgmtError) -> Iterator[RunningOperation]:
        """Record that an operation is under way until the block ends, and then how it ended.

        An error of the block is why it failed, unless what it was to make is made by then. Otherwise it succeeded, with
        the result that the block recorded.

        Args:
            new: The operation.
            conflict: Raised, naming the other one, when another operation is at work on the same.
        """
        with self._leases.take() as lease:
            self._begin(new, lease, conflict)
            running = RunningOperation(uid=new.uid, kind=new.kind, lease=lease)
            running.tracker.workflow = new.workflow
            with self._recorded(running):
                yield running

    def accept(self, new: NewOperation, conflict: WfmgmtError, on_accepted: Callable[[Writer], None]) -> None:
        """Record that an operation is to be carried out, by any process of the service.

        Args:
            new: The operation.
            conflict: As for `run`.
            on_accepted: Called in the transaction that records it.

        Raises:
            TooManyRegistrations: Too many wait.
        """

        def on_begun(writer: Writer) -> None:
            if writer.operations.count_queued(new.kind) > MAX_QUEUED:
                what = f"{NOUNS[new.kind]}s"
                raise TooManyRegistrations(f"As many {what} as allowed wait ({MAX_QUEUED}); try again later.")
            on_accepted(writer)

        self._begin(new, None, conflict, on_begun)

    @contextmanager
    def run_next(
        self, kinds: Collection[OperationKind], may_take: Callable[[Operation], bool]
    ) -> Iterator[tuple[Operation, RunningOperation] | None]:
        """Take the first operation of some kinds that waits and may be taken, if there is one, and do as `run` does.

        It begins again later when the service stops before the block has made what it was to make.
        """
        with self._leases.take() as lease:
            with self._registry.write() as writer:
                taken = writer.operations.take_next(lease, may_take, kinds)
            if taken is None:
                yield None
                return
            running = RunningOperation(uid=taken.uid, kind=taken.kind, lease=lease, may_resume=True)
            running.tracker.workflow = taken.workflow
            with self._recorded(running):
                yield taken, running

    @contextmanager
    def _recorded(self, running: RunningOperation) -> Iterator[None]:
        """Show the progress of an operation until the block ends, and record how it ended."""
        with self._lock:
            self._running.add(running)
        try:
            yield
        except Exception as error:
            if isinstance(error, WfmgmtError):
                error.ended = running.uid
            if running.is_made:
                self._end(running, OperationState.SUCCEEDED)
            elif isinstance(error, OperationCancelled):
                self._end(running, OperationState.CANCELLED)
            elif running.resumes_after(error):
                with self._registry.write() as writer:
                    writer.operations.requeue(running.uid, is_counted=False)
            elif not isinstance(error, RegistryUnavailable):  # The client has waited for the database already.
                self._end(running, OperationState.FAILED, described_error(error))
            raise
        else:
            self._end(running, OperationState.SUCCEEDED)
        finally:
            with self._lock:
                self._running.discard(running)

    def _begin(
        self,
        new: NewOperation,
        lease: str | None,
        conflict: WfmgmtError,
        on_begun: Callable[[Writer], None] = lambda _: None,
    ) -> None:
        # What waits was acknowledged, and has to survive a power cut. Of what runs, a client hears when it is done.
        is_durable = lease is None
        with self._registry.write(is_durable=is_durable) as writer:
            if writer.operations.begin(new, lease):
                on_begun(writer)
                return
        self.refuse_second(new, conflict)
        self.recover()  # The process that was at work on the same is gone.
        self.refuse_second(new, conflict)  # It may begin again.
        with self._registry.write(is_durable=is_durable) as writer:
            if not writer.operations.begin(new, lease):
                raise conflict
            on_begun(writer)

    def _end(self, running: RunningOperation, state: OperationState, error: OperationError | None = None) -> None:
        """Record how an operation of this process ended; when that cannot be, housekeeping will, by its lease."""
        try:
            if state is not OperationState.SUCCEEDED or not running.has_ended:
                with self._registry.write() as writer:
                    workflow, progress = running.state(self._status)
                    writer.operations.advance(running.uid, progress, workflow=workflow)
                    writer.operations.end(running.uid, state, error=error)
        except WfmgmtError as failure:
            _log.warning("could not record the end of operation %s yet: %s", running.uid, failure)
        self._on_ended(running.kind, state, time.monotonic() - running.began)

    def write_progress(self) -> None:
        """Record how far the operations of this process are, all those that got further in one transaction.

        Those that somebody has cancelled are broken off.

        Raises:
            RegistryUnavailable, InsufficientStorage: The database cannot be written.
        """
        with self._lock:
            running = list(self._running)
        if not running:
            return
        with self._registry.read() as reader:
            cancelled = reader.operations.cancelled()
        for each in running:
            each.tracker.is_cancelled |= each.uid in cancelled
        running = [each for each in running if each.state(self._status) != each.written]
        if not running:
            return
        with self._registry.write(is_durable=False) as writer:
            # Looked at again, since what has waited for the lock may be older than what the work itself has recorded.
            for each in running:
                each.written = each.state(self._status)
                writer.operations.advance(each.uid, each.written[1], workflow=each.written[0])

    def recover(self) -> list[str]:
        """End the operations whose process died before it had claimed a version, or let them begin again; say which.

        Those that have claimed one do when that is undone. Of those that wait, it is those that another process
        cannot carry out.

        Raises:
            RegistryUnavailable, InsufficientStorage, FolderUnavailable: It cannot be done now.
        """
        dead = self._abandoned()
        if not dead:
            return []
        with self._registry.write() as writer:
            # Read again, since a process may have claimed a version in between, and then died.
            unfinished = (*writer.operations.running(), *writer.operations.held())
            found = [each for each in unfinished if each.uid in dead]
            for operation in found:
                self._count_end(operation, end_abandoned(writer, operation))
        return [recovery_of(each) for each in found]

    def abandoned(self) -> list[str]:
        """Return what `recover` would do."""
        return [recovery_of(each) for each in self._abandoned().values()]

    def _abandoned(self) -> dict[str, Operation]:
        with self._registry.read() as reader:
            unfinished = (*reader.operations.running(), *reader.operations.held())
        leases = {each.uid: each.lease or each.request.get(HOLDER) for each in unfinished}
        return {
            each.uid: each
            for each in unfinished
            if (lease := leases[each.uid]) is not None and not self._leases.is_alive(lease)
        }

    def end_undone(self, writer: Writer, lease: str) -> None:
        """End the operation with a lease, or let it begin again, in the transaction that has undone what it did."""
        operation = writer.operations.with_lease(lease)
        if operation is not None:
            ended = end_interrupted(writer, operation)
            if ended is not None and writer.receipt is not None:
                writer.operations.attest(operation.uid, writer.receipt)
            self._count_end(operation, ended)

    def succeed(self, uid: str, nodes: Mapping[str, NodeProgress], result: Mapping[str, Any]) -> None:
        """Record that what an operation waits for is there, as another thread has seen than the one that follows it."""
        with self._registry.write(is_durable=False) as writer:
            found = writer.operations.succeed(uid, nodes, result)
        if found is not None and found.state is OperationState.QUEUED:  # Else the thread that follows it counts it.
            self._count_end(found, OperationState.SUCCEEDED)

    def cancel(self, writer: Writer, operation: Operation, actor: str) -> None:
        """Record that somebody wants an operation to end, which it does at once if it waits."""
        writer.operations.cancel(operation, actor)
        if operation.state is OperationState.QUEUED:  # Else the thread that carries it out counts it.
            self._count_end(operation, OperationState.CANCELLED)

    def _count_end(self, operation: Operation, state: OperationState | None) -> None:
        """Count how an operation ended that this process does not carry out; None when it begins again."""
        if state is None:
            return
        began = datetime.fromisoformat(operation.created_at)
        self._on_ended(operation.kind, state, (utc_now() - began).total_seconds())

    def under_way(self, workflow: str, version: str | None = None) -> str:
        """Return the newest unfinished registration of a workflow, or of one version of it; empty without one."""
        with self._registry.read() as reader:
            return reader.operations.under_way(workflow, version)

    def count_queued(
        self, kinds: Collection[OperationKind], may_take: Callable[[Operation], bool], *, most: int
    ) -> int:
        """Return how many operations of some kinds wait that may be taken, counting no further than that matters."""
        with self._registry.read() as reader:
            return sum(1 for _ in islice(filter(may_take, reader.operations.queued(kinds)), most))

    def ended(self, uids: Collection[str]) -> set[str]:
        """Return those of some operations that are done."""
        with self._registry.read() as reader:
            return reader.operations.ended(uids)

    def get(self, uid: str, *, scope: Scope = EVERYTHING, actor: str = "") -> Operation:
        """Return an operation.

        Args:
            uid: Its identity.
            scope: The workflows that exist for the client.
            actor: The client, whose own operations it sees before the name of their workflow is known.

        Raises:
            OperationNotFound: There is none with this identity, or it is not kept any more.
        """
        with self._registry.read() as reader:
            operation = reader.operations.get(uid)
        if operation is None or not operation.is_visible(scope, actor):
            raise OperationNotFound(uid)
        return operation

    def wait(self, uid: str, wait_s: float, *, scope: Scope = EVERYTHING, actor: str = "") -> Operation:
        """Return an operation once it is done, or as it is after a time, or at once when too many requests wait.

        Raises:
            OperationNotFound: As for `get`.
        """
        if not wait_s:
            return self.get(uid, scope=scope, actor=actor)
        deadline = time.monotonic() + wait_s
        with self._long_requests.wait_slot() as may_wait:
            while True:
                operation = self.get(uid, scope=scope, actor=actor)
                is_over = time.monotonic() >= deadline or self._long_requests.is_stopping()
                if operation.state.is_done or is_over or not may_wait:
                    if operation.receipt is not None:
                        LAST_RECEIPT.set(operation.receipt)  # The answer has it, as if the work were done here.
                    return operation
                time.sleep(WAIT_INTERVAL_S)

    def result(
        self, accepted: Accepted, wait_s: float, of_operation: Callable[[Operation, Mapping[str, Any]], T]
    ) -> Accepted | T | OperationError:
        """Return what came of a request, or what was accepted if that is not known after a time.

        Args:
            accepted: What was accepted.
            wait_s: How long to wait.
            of_operation: Makes the result of one that succeeded, with what was kept of it.
        """
        operation = self.wait(accepted.uid, wait_s)
        if operation.state is OperationState.SUCCEEDED and operation.result is not None:
            return of_operation(operation, operation.result)
        if operation.state is OperationState.CANCELLED:
            return described_error(OperationCancelled())
        return operation.error or accepted

    def page(
        self,
        *,
        limit: int,
        before: int | None,
        state: OperationState | None,
        kind: OperationKind | None,
        workflow: str | None,
        scope: Scope = EVERYTHING,
        actor: str = "",
    ) -> list[Operation]:
        """Return operations, the newest first, as `OperationReader.page` does."""
        with self._registry.read() as reader:
            return reader.operations.page(
                limit=limit, before=before, state=state, kind=kind, workflow=workflow, scope=scope, actor=actor
            )

    def clean(self) -> None:
        """Remove operations whose time is over, and the oldest ones of those that are too many.

        Raises:
            RegistryUnavailable, InsufficientStorage: The database cannot be written.
        """
        with self._registry.write() as writer:
            writer.operations.forget_older(timestamp(utc_now() - KEPT), most=self._kept)
