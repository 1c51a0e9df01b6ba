"""What the management plane says of the runtime when it gets no more news of it."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.service import wait_until
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import StatusChanges, WorkflowReport
from wfmgmt.control.status_cache import MAX_NEWS_AGE_S, StatusCache
from wfmgmt.errors import RuntimeUnavailable

NEWS = StatusChanges(
    epoch="e", sequence=1, catalog_error="", is_complete=True, is_whole=True, workflows=(), gone=()
)  # fmt: skip


class Client(RuntimeClient):
    """A client whose calls can be made to hang or to fail."""

    def __init__(self) -> None:
        super().__init__(Path("unused"))
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.error: Exception | None = None
        self.waits: list[float] = []
        self.hangs = False
        self.news = NEWS

    def changes(self, *, epoch: str, since: int, wait_s: float) -> StatusChanges:
        """Answer, fail or hang."""
        del epoch, since
        self.waits.append(wait_s)
        if self.error is not None:
            raise self.error
        news = self.news
        if wait_s:
            self.hangs = not self.may_answer.is_set()
            self.may_answer.wait()
        return news


def test_cache_says_so_when_there_has_been_no_news_for_long() -> None:
    """The thread that asks may hang or have ended: what it said last is not believed for ever."""
    client, late_s = Client(), [0.0]
    status = StatusCache(client, clock=lambda: late_s[0])
    wait_until(lambda: status.problem() == "", what="news")
    client.may_answer.clear()
    assert status.problem() == ""
    late_s[0] += MAX_NEWS_AGE_S + 1
    wait_until(lambda: "no news from the runtime for 9 s" in status.problem(), what="the problem")
    client.may_answer.set()
    wait_until(lambda: status.problem() == "", what="news")


def test_cache_catches_up_with_a_change_once() -> None:
    """What the runtime reported before is there at once; an answer to an earlier question does not undo it."""
    client = Client()
    status = StatusCache(client)
    wait_until(lambda: status.problem() == "", what="news")
    client.may_answer.clear()
    wait_until(lambda: client.hangs, what="the earlier question")
    report = WorkflowReport(uid="w", workflow="w", state=LoadState.SERVING)
    client.news = replace(NEWS, sequence=2, is_whole=False, workflows=(report,))
    asked = client.waits.count(0)
    for change in (7, 7, 3):
        status.catch_up(change)
    assert status.report("w") == report
    assert client.waits.count(0) == asked + 1
    client.news = replace(NEWS, sequence=3, is_whole=False)
    seen = len(client.waits)
    client.may_answer.set()
    wait_until(lambda: len(client.waits) > seen, what="the answers")
    assert status.report("w") == report


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), RuntimeUnavailable("down")], ids=repr)
def test_cache_goes_on_after_an_error(error: Exception) -> None:
    """Foreseen ones are the problem that it tells; others are counted."""
    client, counted = Client(), [""]
    status = StatusCache(client, on_failure=counted.append)
    wait_until(lambda: status.problem() == "", what="news")
    client.error = error
    wait_until(lambda: status.problem() == "down" or counted[-1] == "status-cache", what="the error")
    client.error = None
    wait_until(lambda: status.problem() == "", what="news")


def test_cache_says_so_when_its_thread_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A health check at the limit of processes gets an answer, and the next one may find the thread running."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    status = StatusCache(Client())
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        assert status.problem() == "The runtime cannot be asked: can't start new thread."
    wait_until(lambda: status.problem() == "", what="news")
