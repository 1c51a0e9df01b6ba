"""What is registered and how it runs: the questions of the API, none of which changes anything."""

from dataclasses import dataclass

from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import StoreUnavailable, WorkflowNotFound
from wfmgmt.serving.control import WorkflowReport
from wfmgmt.serving.view import RuntimeView
from wfmgmt.store.records import DescribedWorkflow, Page
from wfmgmt.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A workflow as registered, and as the runtime reported it last; None when it has not yet."""

    workflow: DescribedWorkflow
    report: WorkflowReport | None


class Inspection:
    """The use cases. Thread-safe.

    Args:
        store: The registry.
        view: What the runtime reported.
    """

    def __init__(self, *, store: Store, view: RuntimeView) -> None:
        self._store = store
        self._view = view

    def page(self, *, limit: int, offset: int) -> Page:
        """Return one page of the list, in name order."""
        with self._store.read() as reader:
            return reader.page(limit=limit, offset=offset)

    def page_after(self, name: str, *, limit: int) -> Page:
        """Return the page of the list that follows a name."""
        with self._store.read() as reader:
            return reader.page_after(name, limit=limit)

    def describe(self, name: str) -> Described:
        """Return one workflow.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
        """
        with self._store.read() as reader:
            workflow = reader.describe(name)
        if workflow is None:
            raise WorkflowNotFound(name)
        return Described(workflow=workflow, report=self._view.report(workflow.uid))

    def health(self) -> tuple[str, dict[str, str]]:
        """Return why nothing can be served, empty if something can, and the workflows that are not ready, with why."""
        try:
            with self._store.read() as reader:
                reader.uid("")
        except StoreUnavailable as error:
            return str(error), {}
        return self._view.problem(), self._view.not_ready()

    def counts(self) -> dict[WorkflowStatus, int]:
        """Return how many workflows stand where."""
        with self._store.read() as reader:
            return reader.counts()

    def workers(self) -> tuple[int, int]:
        """Return how many worker processes should be up, and how many are."""
        workers = [report.workers for report in self._view.reports()]
        return sum(wanted for wanted, _ in workers), sum(ready for _, ready in workers)
