"""Read-only queries of the API: which workflows are registered, and how they run."""

from collections import OrderedDict
from dataclasses import dataclass

from wfmgmt.control.messages import WorkflowReport
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import RegistryUnavailable, WorkflowNotFound
from wfmgmt.registry.records import Page, WorkflowDetail, WorkflowKey
from wfmgmt.registry.registry import Registry

#: Workflows whose details are cached.
REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectedWorkflow:
    """A workflow as registered, and as the runtime reported it last; None when it has not yet.

    It stays the same object as long as both stay the same, so what is derived from it can be remembered with it.
    """

    workflow: WorkflowDetail
    report: WorkflowReport | None


class Inspection:
    """Read-only queries over the registry and the runtime's status. Thread-safe.

    Args:
        registry: The registry.
        status: What the runtime reported.
    """

    def __init__(self, *, registry: Registry, status: StatusCache) -> None:
        self._registry = registry
        self._status = status
        self._inspected: OrderedDict[WorkflowKey, InspectedWorkflow] = OrderedDict()

    def page(self, *, limit: int, offset: int) -> Page:
        """Return one page of the list, in name order."""
        with self._registry.read() as reader:
            return reader.page(limit=limit, offset=offset)

    def page_after(self, name: str, *, limit: int) -> Page:
        """Return the page of the list that follows a name."""
        with self._registry.read() as reader:
            return reader.page_after(name, limit=limit)

    def describe(self, name: str) -> InspectedWorkflow:
        """Return one workflow.

        Which registration has the name, and its revision, are read each time; what was read of that one is still right.

        Raises:
            WorkflowNotFound: No ready workflow has the name.
        """
        with self._registry.read() as reader:
            key = reader.key(name)
            known = None if key is None else self._inspected.get(key)
            workflow = known.workflow if known is not None else key and reader.detail(key)
        if workflow is None:
            raise WorkflowNotFound(name)
        report = self._status.report(workflow.key.uid)
        if known is not None and known.report is report:
            return known
        return self._remember(InspectedWorkflow(workflow=workflow, report=report))

    def _remember(self, inspected: InspectedWorkflow) -> InspectedWorkflow:
        self._inspected[inspected.workflow.key] = inspected
        if len(self._inspected) > REMEMBERED:
            self._inspected.popitem(last=False)
        return inspected

    def problem(self) -> str:
        """Return why nothing can be served, an empty text when something can."""
        try:
            with self._registry.read() as reader:
                reader.uid("")
        except RegistryUnavailable as error:
            return str(error)
        return self._status.problem()

    def not_ready(self, limit: int) -> tuple[dict[str, str], int]:
        """Return workflows that are not ready, each with why, and how many there are of them."""
        return self._status.not_ready(limit)

    def awaited(self, limit: int) -> tuple[dict[str, str], int]:
        """Return workflows that were ready before the runtime started and are not again, like `not_ready`."""
        return self._status.awaited(limit)

    def counts(self) -> dict[WorkflowStatus, int]:
        """Return how many workflows stand where."""
        with self._registry.read() as reader:
            return reader.counts()

    def workers(self) -> tuple[int, int]:
        """Return how many worker processes should be up, and how many are."""
        workers = [report.workers for report in self._status.reports()]
        return sum(wanted for wanted, _ in workers), sum(ready for _, ready in workers)
