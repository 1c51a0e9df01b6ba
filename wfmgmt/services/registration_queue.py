"""Registrations that are accepted now and carried out later, by a few threads of each web worker."""

from contextlib import ExitStack
from dataclasses import replace

from wfmgmt.archives.urls import is_remote
from wfmgmt.domain.operations import HOLDER, Operation, OperationError, OperationKind
from wfmgmt.errors import TooManyRegistrations
from wfmgmt.services.changes import Change
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operation_queue import OperationQueue
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.operations import Operations
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration import Registration
from wfmgmt.services.registration_records import Registered
from wfmgmt.services.tracking import RunningOperation

#: What the lease of a process begins with that keeps addresses in its memory.
HOLDER_PREFIX = "holder-"
#: Registrations that may wait in one process with archives, or addresses, that only it has.
MAX_OWN = 100


class RegistrationQueue(OperationQueue):
    """Accepts registrations and carries them out in their order. Thread-safe.

    Any web worker carries out what another one has accepted, with two exceptions: an address with credentials or a
    query is stored nowhere, and archives that came with a request go with its process. Such a registration stays with
    the process that has accepted it, and ends with that.

    Args:
        registration: Does the work.
        operations: Records it.
        leases: Proof that this process lives.
        long_requests: When work under way has to end.
        size: Registrations that this process carries out at a time.
    """

    kinds = (OperationKind.REGISTER,)

    def __init__(
        self,
        *,
        registration: Registration,
        operations: Operations,
        leases: Leases,
        long_requests: LongRequests,
        size: int,
    ) -> None:
        super().__init__(operations=operations, long_requests=long_requests, size=size)
        self._registration = registration
        self._leases = leases
        self._own: dict[str, RegistrationRequest] = {}
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
            facts = {**new.request, **change.conditions}
            has_secret = is_remote(request.url) and request.url != new.url
            if has_secret or request.attachments is not None:
                if len(self._own) >= MAX_OWN:
                    raise TooManyRegistrations(
                        f"As many registrations as allowed wait in this process with what came along ({MAX_OWN}); "
                        "try again later."
                    )
                facts[HOLDER] = self._own_lease()
                self._own[new.uid] = request.handed_over()
            accepted = Accepted(new.uid)
            try:
                self._operations.accept(
                    replace(new, request=facts), conflict, lambda writer: change.on_made(writer, accepted)
                )
            except BaseException:
                self._drop(new.uid)
                raise
        return accepted

    def _drop(self, uid: str) -> RegistrationRequest | None:
        """Forget what only this process has of a registration."""
        request = self._own.pop(uid, None)
        if request is not None and request.attachments is not None:
            request.attachments.held.close()
        return request

    def dispatch(self) -> None:
        """Likewise; what was cancelled while it waited is forgotten."""
        if self._own:
            for uid in self._operations.ended(list(self._own)):
                self._drop(uid)
        super().dispatch()

    def _own_lease(self) -> str:
        """Return the lease that lives as long as this process, which is taken when it is first needed."""
        with self._lock:
            self._holder = self._holder or self._held.enter_context(self._leases.take(prefix=HOLDER_PREFIX))
            return self._holder

    def result(self, accepted: Accepted, wait_s: float) -> Accepted | Registered | OperationError:
        """Return what came of a registration, or what was accepted if that is not known after a time."""
        return self._operations.result(accepted, wait_s, Registered.of_operation)

    def stop(self) -> None:
        """Likewise; what only this process can carry out ends with that."""
        super().stop()
        for uid in list(self._own):
            self._drop(uid)
        self._held.close()

    def may_take(self, operation: Operation) -> bool:
        """Return whether this process has all that it takes."""
        return HOLDER not in operation.request or operation.uid in self._own

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Register."""
        request = self._own.get(operation.uid) or _request(operation)
        try:
            self._registration.carry_out(running, request, Change.of_operation(operation))
        finally:
            self._drop(operation.uid)


def _request(operation: Operation) -> RegistrationRequest:
    facts = operation.request
    return RegistrationRequest(
        url=facts["url"],
        workflow_name=facts["workflow_name"],
        version=facts["version"],
        set_default=facts["set_default"],
        response_timeout_s=facts["response_timeout_s"],
        startup_timeout_s=facts["startup_timeout_s"],
        sha256=facts.get("sha256", ""),
    )
