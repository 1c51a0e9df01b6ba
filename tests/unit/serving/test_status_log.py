"""The numbered changes of loaded workflows."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import NodeReport, StatusChanges, WorkflowReport, decode, encode
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.serving.status_log import StatusLog


def in_loop(work: Callable[[StatusLog], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop, with a status log of its own."""

    async def run() -> None:
        await work(StatusLog())

    asyncio.run(run())


def make_report(uid: str, *, ready: int = 1, state: LoadState = LoadState.LOADED) -> WorkflowReport:
    """Return the report of a workflow with one model."""
    nodes = {"m1": NodeReport(kind=NodeKind.MODEL, wanted=1, ready=ready)}
    return WorkflowReport(uid=uid, workflow=f"name-{uid}", state=state, nodes=nodes)


def test_a_new_client_gets_everything() -> None:
    """Another epoch means that what the client knows is void."""

    async def work(log: StatusLog) -> None:
        log.publish(make_report("a"))
        log.publish(make_report("b"))
        changes = await log.changes(epoch="", since=0, wait_s=0)
        assert changes.is_whole
        assert {report.uid for report in changes.workflows} == {"a", "b"}

    in_loop(work)


def test_a_known_client_gets_only_what_changed() -> None:
    """A report is sent again when it says something new, and a removal once."""

    async def work(log: StatusLog) -> None:
        log.publish(make_report("a"))
        log.publish(make_report("b"))
        first = await log.changes(epoch="", since=0, wait_s=0)
        log.publish(make_report("a"))
        log.publish(make_report("b", ready=0))
        second = await log.changes(epoch=first.epoch, since=first.sequence, wait_s=0)
        assert [report.uid for report in second.workflows] == ["b"]
        assert not second.is_whole
        log.forget("a")
        third = await log.changes(epoch=second.epoch, since=second.sequence, wait_s=0)
        assert (third.workflows, third.gone) == ((), ("a",))

    in_loop(work)


def test_a_question_waits_for_news() -> None:
    """The answer comes with the change, long before the time is over."""

    async def work(log: StatusLog) -> None:
        known = await log.changes(epoch="", since=0, wait_s=0)
        asyncio.get_running_loop().call_later(0.01, log.publish, make_report("a"))
        async with asyncio.timeout(10):
            changes = await log.changes(epoch=log.epoch, since=known.sequence, wait_s=60)
        assert [report.uid for report in changes.workflows] == ["a"]

    in_loop(work)


def test_a_question_without_news_is_answered_after_its_time() -> None:
    """Nothing new is an answer, too."""

    async def work(log: StatusLog) -> None:
        changes = await log.changes(epoch=log.epoch, since=0, wait_s=0.01)
        assert changes.workflows == ()

    in_loop(work)


def test_the_catalog_is_complete_after_its_first_success() -> None:
    """A database that fails later is an error, and not a reason to call the start unfinished."""

    async def work(log: StatusLog) -> None:
        log.record_catalog("locked")
        assert not log.is_complete
        log.record_catalog("")
        log.record_catalog("locked")
        assert (log.is_complete, log.catalog_error) == (True, "locked")

    in_loop(work)


def test_changes_survive_the_socket() -> None:
    """What one side sends is what the other side reads."""

    async def work(log: StatusLog) -> None:
        log.publish(make_report("a", ready=0, state=LoadState.FAILED))
        changes = await log.changes(epoch="", since=0, wait_s=0)
        assert decode(StatusChanges, encode(changes)) == changes

    in_loop(work)


def test_workers_of_all_nodes_are_summed() -> None:
    """Each node has workers of its own, functions too."""
    nodes = {
        "pre": NodeReport(kind=NodeKind.FUNCTION, wanted=1, ready=1),
        "m1": NodeReport(kind=NodeKind.MODEL, wanted=2, ready=1),
        "post": NodeReport(kind=NodeKind.FUNCTION, wanted=1, ready=1),
    }
    report = WorkflowReport(uid="a", workflow="a", state=LoadState.SERVING, nodes=nodes)
    assert report.workers == (4, 3)
    assert report.is_missing
    assert report.problem == "m1: 1 of 2 workers ready"


def test_many_reports_come_in_pages_that_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that goes on from each page has seen every report and every removal at the end."""
    monkeypatch.setattr("wfmgmt.serving.status_log.MAX_PAGE", 3)

    async def work(log: StatusLog) -> None:
        for number in range(10):
            log.publish(make_report(str(number)))
        known: set[str] = set()
        changes = await log.changes(epoch="", since=0, wait_s=0)
        log.forget("9")
        log.publish(make_report("1", ready=0))
        pages = 1
        while changes.workflows or changes.gone:
            assert len(changes.workflows) <= 3
            known = (known | {report.uid for report in changes.workflows}) - set(changes.gone)
            changes = await log.changes(epoch=changes.epoch, since=changes.sequence, wait_s=0)
            assert not changes.is_whole
            pages += 1
        assert known == {str(number) for number in range(9)}
        assert pages >= 4

    in_loop(work)
