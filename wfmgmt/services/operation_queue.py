"""Operations that were accepted for later, carried out by a few threads of each web worker."""

import logging
import threading
import time
from collections.abc import Sequence

from wfmgmt.domain.operations import Operation, OperationKind
from wfmgmt.errors import WfmgmtError
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import Operations
from wfmgmt.services.tracking import RunningOperation

_log = logging.getLogger("wfmgmt.operations")

#: How long the end of a web worker waits for what it breaks off to be undone.
MAX_STOP_S = 4.0


class OperationQueue:
    """Carries out operations of some kinds in their order; a base of those that do the work. Thread-safe.

    Any web worker carries out what another one has accepted.

    Args:
        operations: Records them.
        long_requests: When work under way has to end.
        size: Operations that this process carries out at a time.
    """

    kinds: Sequence[OperationKind] = ()

    def __init__(self, *, operations: Operations, long_requests: LongRequests, size: int) -> None:
        self._operations = operations
        self._long_requests = long_requests
        self._size = size
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def may_take(self, operation: Operation) -> bool:
        """Return whether this process can carry an operation out."""
        del operation
        return True

    def carry_out(self, operation: Operation, running: RunningOperation) -> None:
        """Do the work of an operation."""
        raise NotImplementedError

    def dispatch(self) -> None:
        """Begin with what waits, as far as there are threads for it.

        Raises:
            RegistryUnavailable: The database cannot be read.
            RuntimeError: The system has no room for another thread.
        """
        if self._long_requests.is_stopping() or len(self._threads) >= self._size:
            return
        waiting = self._operations.count_queued(self.kinds, self.may_take, most=self._size)
        with self._lock:
            for _ in range(min(waiting, self._size - len(self._threads))):
                thread = threading.Thread(target=self._work, name="operation", daemon=True)
                thread.start()
                self._threads.add(thread)

    def stop(self) -> None:
        """Wait a moment until what is broken off is undone; `LongRequests.stop` breaks it off."""
        deadline = time.monotonic() + MAX_STOP_S
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

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
            with self._operations.run_next(self.kinds, self.may_take) as taken:
                if taken is None:
                    return False
                is_taken = True
                self.carry_out(*taken)
        except WfmgmtError as error:  # It is recorded, or begins again; the log is for what is neither.
            _log.debug("an operation that was carried out later ended: %s", error)
        except Exception:  # noqa: BLE001 - it is recorded; one that fails must not keep others from being carried out
            _log.exception("an operation that was carried out later failed")
        return is_taken
