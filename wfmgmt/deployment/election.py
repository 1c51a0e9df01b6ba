"""Which web worker looks after the runtime and the registry."""

import logging
import os
import signal

from wfmgmt.deployment.locks import LockFile
from wfmgmt.deployment.shared_state import SharedState

_log = logging.getLogger("wfmgmt.housekeeping")

#: Looks of another web worker at an unchanged heartbeat, a few a second, after which its owner counts as stopped.
MAX_UNCHANGED_LOOKS = 20


class Election:
    """The holder of a locked file is elected as long as it runs.

    The system frees the lock of a process that ended. One that was stopped (SIGSTOP, a debugger, a frozen cgroup) keeps
    it; the first other web worker that has seen its heartbeat unchanged for a few seconds kills it. Nothing less leaves
    no doubt about who acts when the stopped one goes on, and gunicorn replaces it at once. Looks are counted instead of
    seconds, so that no web worker is killed after a pause of the whole machine.

    Args:
        lock: Held by the elected web worker.
        shared: Has the heartbeat.
    """

    def __init__(self, lock: LockFile, shared: SharedState) -> None:
        self._lock = lock
        self._shared = shared
        self._seen = b""
        self._unchanged_looks = 0
        self.is_won = False

    def take_part(self) -> bool:
        """Return whether this web worker is elected, after trying to be; for one thread, a few times a second."""
        if not self.is_won:
            self.is_won = self._lock.acquire()
            if self.is_won:
                self._shared.beat()
            else:
                self._watch_elected()
        return self.is_won

    def beat(self) -> None:
        """Show that this web worker runs; for its main loop, once a second at least."""
        if self.is_won:
            self._shared.beat()

    def resign(self) -> None:
        """Let another web worker be elected."""
        self.is_won = False
        self._lock.release()

    def _watch_elected(self) -> None:
        heartbeat = self._shared.heartbeat
        self._unchanged_looks = self._unchanged_looks + 1 if heartbeat == self._seen else 0
        self._seen = heartbeat
        if self._unchanged_looks < MAX_UNCHANGED_LOOKS:
            return
        self._unchanged_looks = 0
        holder = self._lock.holder()
        if holder is not None and self._shared.heartbeat == heartbeat:
            os.kill(holder, signal.SIGKILL)
            _log.error("the web worker %d, which looked after the service, was stopped; killed it", holder)
