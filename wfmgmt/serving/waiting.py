"""Requests that wait until their workflow can answer, which cost nothing but a slot each."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wfmgmt.errors import Saturated


class WaitingRequests:
    """Bounds and wakes the requests that wait for workflows, by the workflow's name. For the event loop only.

    Args:
        max_waiting: Requests that may wait for one workflow.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting: Counter[str] = Counter()
        self._changed: dict[str, asyncio.Event] = {}

    @contextmanager
    def admit(self, name: str) -> Iterator[None]:
        """Give one request a slot among those that wait for a workflow.

        Raises:
            Saturated: As many as may wait for it do.
        """
        if self._waiting[name] >= self._max_waiting:
            raise Saturated(
                f"{self._max_waiting} requests wait for workflow {name} to be loaded already (WFMGMT_QUEUE_SIZE); "
                "try again later."
            )
        self._waiting[name] += 1
        try:
            yield
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
                self._changed.pop(name, None)

    async def wait(self, name: str, timeout_s: float) -> None:
        """Return when something changed about the workflow, or after the time."""
        changed = self._changed.setdefault(name, asyncio.Event())
        await wait_for_event(changed, timeout_s)

    def wake(self, name: str) -> None:
        """Have the requests for a workflow look at it again, in the order in which they came."""
        if (changed := self._changed.pop(name, None)) is not None:
            changed.set()

    def wake_all(self) -> None:
        """Have all requests look again."""
        for name in list(self._changed):
            self.wake(name)


async def wait_for_event(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return when an event is set, or after the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
