"""The requests of one node that wait for a worker."""

from collections import deque
from collections.abc import Callable, Sequence

from wfmgmt.serving.models.local.frames import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES
from wfmgmt.serving.models.local.ready_worker import Call

#: A batch is closed before it gets longer than this, so that it fits into one message.
_BATCH_BYTES = MAX_PAYLOAD_BYTES // 2
_BATCH_HEADER_BYTES = MAX_HEADER_BYTES // 2


class WaitingCalls(deque[Call]):
    """Requests in the order in which they came; some of them may have been cancelled meanwhile."""

    def drop_cancelled(self) -> None:
        """Remove requests that were cancelled."""
        if any(call.answer.done() for call in self):
            waiting = [call for call in self if not call.answer.done()]
            self.clear()
            self.extend(waiting)

    def take(self, is_fit: Callable[[Call], bool]) -> Call | None:
        """Remove and return the oldest request that is fit, None when there is none."""
        passed: list[Call] = []
        found = None
        while self and found is None:
            call = self.popleft()
            if call.answer.done():
                continue
            if is_fit(call):
                found = call
            else:
                passed.append(call)
        self.put_back(passed)
        return found

    def put_back(self, calls: Sequence[Call]) -> None:
        """Put requests back to where they were taken from."""
        self.extendleft(reversed(calls))

    def take_batch(self, first: Call, batch_size: int) -> list[Call]:
        """Remove and return requests that form a batch with a first one: as many as it may have and a message holds."""
        batch, size_bytes, header_bytes = [first], first.request.size_bytes, first.request.header_bytes
        while len(batch) < batch_size and (call := self.take(lambda call: not call.is_alone)) is not None:
            size_bytes += call.request.size_bytes
            header_bytes += call.request.header_bytes
            if size_bytes > _BATCH_BYTES or header_bytes > _BATCH_HEADER_BYTES:
                self.put_back([call])
                break
            batch.append(call)
        return batch
