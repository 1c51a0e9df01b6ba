"""gunicorn's master, which goes on when the system refuses something for now."""

import logging
from typing import Any

from gunicorn.arbiter import Arbiter

from wfmgmt.deployment.shared_state import SharedState

_log = logging.getLogger("wfmgmt.deployment")


class ResilientArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, which lets web workers know why they end and survives a fork that fails.

    gunicorn sends web workers SIGTERM when the service stops, when it is reloaded and when there are too many of them,
    without the reason, and its hooks come too late for that. A fork that fails ends its own master.

    Attributes:
        shared: Read by the web workers.
        last_age_before_reload: gunicorn numbers web workers in the order of their start; those up to this one are being
            replaced, and finish what their clients wait for.
        has_spawned: Whether a web worker was started.
    """

    shared: SharedState
    last_age_before_reload = 0
    has_spawned = False

    @classmethod
    def adopt(cls, arbiter: Arbiter, shared: SharedState) -> None:
        """Make gunicorn's own master one of ours; it has no setting for that."""
        arbiter.__class__ = cls
        arbiter.shared = shared

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - as in the base class
        """Stop the service."""
        self.shared.begin_to_stop()
        super().stop(graceful)

    def reload(self) -> None:
        """Replace all web workers."""
        self.last_age_before_reload = self.worker_age
        super().reload()

    def manage_workers(self) -> None:
        """Start web workers until as many serve as should; those that are being replaced do not count."""
        serving = [worker for worker in self.WORKERS.values() if worker.age > self.last_age_before_reload]
        if len(serving) < min(self.num_workers, len(self.WORKERS)):
            self.spawn_worker()
        super().manage_workers()

    def spawn_worker(self) -> Any:  # noqa: ANN401 - gunicorn's own value
        """Start a web worker; when the system refuses for now, the next attempt comes after a second."""
        try:
            pid = super().spawn_worker()
        except (OSError, RuntimeError) as error:  # RuntimeError: the folder of gunicorn's own files is gone.
            if not self.has_spawned:
                raise
            _log.error("a web worker cannot be started yet: %s", error)
            return None
        self.has_spawned = True
        return pid
