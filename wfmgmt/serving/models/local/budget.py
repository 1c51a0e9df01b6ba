"""The bound on all workers together."""


class WorkerBudget:
    """How many workers there may be, of all workflows. A worker keeps its permit while it is being replaced.

    Args:
        max_workers: Workers at most.
    """

    def __init__(self, max_workers: int = 1000) -> None:
        self._max_workers = max_workers
        self._taken = 0

    def take(self, workers: int) -> bool:
        """Take permits for these workers; return whether there were as many, else none is taken."""
        if self._taken + workers > self._max_workers:
            return False
        self._taken += workers
        return True

    def give_back(self, workers: int) -> None:
        """Return permits of workers that are gone."""
        self._taken -= workers

    @property
    def refusal(self) -> str:
        """Why there are no more, in words for the caller."""
        return f"there are {self._taken} workers, and WFMGMT_MAX_WORKERS allows {self._max_workers}"
