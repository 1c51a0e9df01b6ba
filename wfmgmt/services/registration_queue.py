"""Registrations that are accepted now and carried out later, by a few threads of each web worker."""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from wfmgmt.archives.urls import is_remote
from wfmgmt.domain.access import Scope
from wfmgmt.domain.operations import HOLDER, Operation, OperationError, OperationState
from wfmgmt.errors import OperationCancelled, TooManyRegistrations, WfmgmtError
from wfmgmt.registry.writing import Writer
from wfmgmt.services.changes import AnyRevision, Change
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations, described_error
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration import Registration
from wfmgmt.services.registration_records import Registered

_log = logging.getLogger("wfmgmt.registration")

#: Registrations that may wait; anybody can send them, and the database is not for that.
MAX_QUEUED = 1000
#: How long the end of a web worker waits for what it breaks off to be undone.
MAX_STOP_S = 4.0
#: What the lease of a process begins with that keeps addresses in its memory.
HOLDER_PREFIX = "holder-"
#: A condition on the revision that every workflow which exists meets, as plain JSON.
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A registration that is carried out later.

    Attributes:
        uid: Identity of its operation.
    """

    uid: str


class RegistrationQueue:
    """Accepts registrations and carries them out in their order. Thread-safe.

    Any web worker carries out what another one has accepted, with one exception: an address with credentials or a query
    is stored nowhere, so such a registration stays with the process that has it in its memory, and ends with that.

    Args:
        registration: Does the work.
        operations: Records it.
        leases: Proof that this process lives.
        long_requests: When work under way has to end.
        size: Registrations that this process carries out at a time.
    """

    def __init__(
        self,
        *,
        registration: Registration,
        operations: Operations,
        leases: Leases,
        long_requests: LongRequests,
        size: int,
    ) -> None:
        self._registration = registration
        self._operations = operations
        self._leases = leases
        self._long_requests = long_requests
        self._size = size
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._addresses: dict[str, str] = {}
        self._held = ExitStack()
        self._holder = ""

    def register(self, request: RegistrationRequest, change: Change) -> Registered | Accepted:
        """Register in the caller's thread, or later once as many threads as allowed are at work on registrations.

        Raises:
            WfmgmtError: As for `Registration.register` and `accept`.
        """
        try:
            return self._registration.register(request, change)
        except TooManyRegistrations:
            return self.accept(request, change)

    def accept(self, request: RegistrationRequest, change: Change) -> Accepted:
        """Check what can be checked at once, and record that the rest is to be done.

        Raises:
            WfmgmtError: What `Registration.register` would refuse at once.
            TooManyRegistrations: Too many wait.
        """
        with self._registration.admitted(request, change) as (new, conflict):
            facts = {**new.request, **_conditions(change)}
            if is_remote(request.url) and request.url != new.url:
                self._addresses[new.uid] = request.url
                facts[HOLDER] = self._own_lease()
            accepted = Accepted(new.uid)

            def on_accepted(writer: Writer) -> None:
                if writer.operations.counts()[OperationState.QUEUED] > MAX_QUEUED:
                    raise TooManyRegistrations(
                        f"As many registrations as allowed wait ({MAX_QUEUED}); try again later."
                    )
                change.on_made(writer, accepted)

            try:
                self._operations.accept(replace(new, request=facts), conflict, on_accepted)
            except BaseException:
                self._addresses.pop(new.uid, None)
                raise
        return accepted

    def _own_lease(self) -> str:
        """Return the lease that lives as long as this process, which is taken when it is first needed."""
        with self._lock:
            self._holder = self._holder or self._held.enter_context(self._leases.take(prefix=HOLDER_PREFIX))
            return self._holder

    def result(self, accepted: Accepted, wait_s: float) -> Accepted | Registered | OperationError:
        """Return what came of a registration, or what was accepted if that is not known after a time."""
        operation = self._operations.wait(accepted.uid, wait_s)
        if operation.state is OperationState.SUCCEEDED and operation.result is not None:
            is_named = operation.request["version"] is not None
            return Registered.from_result(operation.workflow, operation.result, is_named=is_named)
        if operation.state is OperationState.CANCELLED:
            return described_error(OperationCancelled())
        return operation.error or accepted

    def dispatch(self) -> None:
        """Begin with what waits, as far as there are threads for it.

        Raises:
            RegistryUnavailable: The database cannot be read.
            RuntimeError: The system has no room for another thread.
        """
        if self._long_requests.is_stopping() or len(self._threads) >= self._size:
            return
        waiting = self._operations.count_queued(self._may_take, most=self._size)
        with self._lock:
            for _ in range(min(waiting, self._size - len(self._threads))):
                thread = threading.Thread(target=self._work, name="registration", daemon=True)
                thread.start()
                self._threads.add(thread)

    def stop(self) -> None:
        """Wait a moment until what is broken off is undone; `LongRequests.stop` breaks it off.

        What only this process can carry out ends with that.
        """
        deadline = time.monotonic() + MAX_STOP_S
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._held.close()

    def _may_take(self, operation: Operation) -> bool:
        return HOLDER not in operation.request or operation.uid in self._addresses

    def _work(self) -> None:
        try:
            while not self._long_requests.is_stopping() and self._carry_out_next():
                pass
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _carry_out_next(self) -> bool:
        """Carry out what was accepted first of what waits; return False when there is nothing."""
        is_taken = False
        try:
            with self._operations.run_next(self._may_take) as taken:
                if taken is None:
                    return False
                is_taken = True
                operation, running = taken
                address = self._addresses.pop(operation.uid, operation.request["url"])
                self._registration.carry_out(running, _request(operation, address), _change(operation))
        except WfmgmtError as error:  # It is recorded, or begins again; the log is for what is neither.
            _log.debug("a registration that was carried out later ended: %s", error)
        except Exception:  # noqa: BLE001 - it is recorded; one that fails must not keep others from being carried out
            _log.exception("a registration that was carried out later failed")
        return is_taken


def _conditions(change: Change) -> Mapping[str, Any]:
    """Return under which conditions a change may be made, as plain JSON."""
    expected: object = None
    if isinstance(change.expected, AnyRevision):
        expected = _ANY
    elif isinstance(change.expected, frozenset):
        expected = sorted(change.expected)
    return {"plan": change.plan, "expected": expected, "scope": change.scope.patterns}


def _change(operation: Operation) -> Change:
    facts = operation.request
    expected = facts["expected"]
    return Change(
        origin=operation.origin,
        reason=facts.get("reason", ""),
        expected=AnyRevision() if expected == _ANY else None if expected is None else frozenset(expected),
        plan=facts["plan"],
        scope=Scope(None if (patterns := facts.get("scope")) is None else tuple(patterns)),
    )


def _request(operation: Operation, url: str) -> RegistrationRequest:
    facts = operation.request
    return RegistrationRequest(
        url=url,
        workflow_name=facts["workflow_name"],
        version=facts["version"],
        set_default=facts["set_default"],
        response_timeout_s=facts["response_timeout_s"],
        startup_timeout_s=facts["startup_timeout_s"],
    )
