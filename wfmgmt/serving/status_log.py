"""Changes of the loaded workflows, numbered, so that a client fetches only what it has not seen."""

import asyncio
import itertools
import uuid
from collections import OrderedDict, deque

from wfmgmt.control.messages import StatusChanges, WorkflowReport
from wfmgmt.serving.waiting import wait_for_event

#: Unloaded workflows that are remembered; a client that is further behind starts anew.
_GONE_REMEMBERED = 10_000
#: Reports in one answer, so that a large one does not keep the event loop from everything else.
MAX_PAGE = 1000


class StatusLog:
    """The newest report of every workflow, in the order of their last changes. For the event loop only."""

    def __init__(self) -> None:
        self.epoch = uuid.uuid4().hex
        self.catalog_error = ""
        self.is_complete = False
        self._sequence = 0
        self._reports: OrderedDict[str, tuple[int, WorkflowReport]] = OrderedDict()
        self._gone: deque[tuple[int, str]] = deque(maxlen=_GONE_REMEMBERED)
        self._changed = asyncio.Event()

    def publish(self, report: WorkflowReport) -> None:
        """Make a report the newest of its workflow, unless it says nothing new."""
        known = self._reports.get(report.uid)
        if known is not None and known[1] == report:
            return
        self._reports[report.uid] = (self._next(), report)
        self._reports.move_to_end(report.uid)

    def forget(self, uid: str) -> None:
        """Publish that a workflow was unloaded."""
        if self._reports.pop(uid, None) is not None:
            self._gone.append((self._next(), uid))

    def record_catalog(self, error: str) -> None:
        """Record whether the database could be read; after the first success all its workflows are being loaded."""
        is_complete = self.is_complete or not error
        if (error, is_complete) != (self.catalog_error, self.is_complete):
            self.catalog_error, self.is_complete = error, is_complete
            self._next()

    @property
    def problem(self) -> str:
        """Why nothing is known of the workflows in the database; empty when something is."""
        return self.catalog_error or ("" if self.is_complete else "The runtime has not read the database yet.")

    def reports(self) -> list[WorkflowReport]:
        """Return the newest report of every workflow."""
        return [report for _, report in self._reports.values()]

    def report(self, uid: str) -> WorkflowReport | None:
        """Return the newest report of one workflow."""
        known = self._reports.get(uid)
        return None if known is None else known[1]

    def _next(self) -> int:
        self._sequence += 1
        self._changed.set()
        self._changed = asyncio.Event()
        return self._sequence

    async def wait(self, wait_s: float) -> None:
        """Return after the next change, or after `wait_s`."""
        await wait_for_event(self._changed, wait_s)

    async def changes(self, *, epoch: str, since: int, wait_s: float) -> StatusChanges:
        """Return what changed after `since`, or all there is for a client of another epoch; a page of it at a time."""
        if epoch == self.epoch and since >= self._sequence:
            await self.wait(wait_s)
        forgotten = len(self._gone) == _GONE_REMEMBERED and since < self._gone[0][0]
        if epoch != self.epoch or since > self._sequence or forgotten:
            since = 0
        page, sequence = self._page_after(since)
        return StatusChanges(
            epoch=self.epoch,
            sequence=sequence,
            catalog_error=self.catalog_error,
            is_complete=self.is_complete,
            is_whole=since == 0,
            workflows=tuple(page),
            gone=tuple(uid for at, uid in self._gone if since < at <= sequence),
        )

    def _page_after(self, since: int) -> tuple[list[WorkflowReport], int]:
        """Return the oldest reports after a sequence number, and the number up to which they are complete."""
        newest_first = list(itertools.takewhile(lambda each: each[0] > since, reversed(self._reports.values())))
        page = newest_first[-MAX_PAGE:]
        sequence = self._sequence if len(page) == len(newest_first) else page[0][0]
        return [report for _, report in page], sequence
