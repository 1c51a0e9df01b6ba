"""The bound on all workers together."""

from collections import Counter


class WorkerBudget:
    """How many workers there may be, of all workflows. A worker keeps its permit while it is being replaced.

    Args:
        max_workers: Workers at most.
    """

    def __init__(self, max_workers: int = 1000) -> None:
        self._max_workers = max_workers
        self._taken: Counter[str] = Counter()

    def take(self, workers: int, workflow: str) -> bool:
        """Take permits for these workers of a workflow; return whether there were as many, else none is taken."""
        if self._taken.total() + workers > self._max_workers:
            return False
        self._taken[workflow] += workers
        return True

    def give_back(self, workers: int, workflow: str) -> None:
        """Return permits of workers that are gone."""
        self._taken[workflow] -= workers
        if not self._taken[workflow]:
            del self._taken[workflow]

    def refusal(self, workers: int, loading: str = "") -> str:
        """Return why there are not so many more, in words for the caller.

        Args:
            workers: Those that there was no room for.
            loading: A workflow that is being loaded: what it has got so far is needed, and does not count as running.
        """
        needed, running = workers + self._taken[loading], self._taken.total() - self._taken[loading]
        return (
            f"{needed} more {'is' if needed == 1 else 'are'} needed, {running} {'runs' if running == 1 else 'run'}, "
            f"WFMGMT_MAX_WORKERS allows {self._max_workers}"
        )
