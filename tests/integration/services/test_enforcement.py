"""Changes that wait for the runtime, and the threads that are left for others meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.management_api import FakeRuntime
from tests.support.records import make_registry, register
from wfmgmt.control.messages import ReachReport
from wfmgmt.domain.releases import WorkflowTarget
from wfmgmt.errors import RuntimeUnavailable
from wfmgmt.services.enforcement import MOMENT_S, REACH_S, Enforcement
from wfmgmt.services.long_requests import LongRequests


class SlowRuntime(FakeRuntime):
    """A runtime that reaches nothing in the time that it is given, until it was asked often enough."""

    def __init__(self, folder: Path, *, reaches_at: int) -> None:
        super().__init__(folder)
        self.waits_s: list[float] = []
        self._reaches_at = reaches_at

    def reach(
        self, uid: str, revision: int, wait_s: float, *, cancelled: Callable[[], bool] = lambda: False
    ) -> ReachReport:
        """Say how far it is."""
        del uid, revision, cancelled
        self.waits_s.append(wait_s)
        return ReachReport(revision=0, reached=len(self.waits_s) >= self._reaches_at)


@pytest.mark.parametrize(
    ("reaches_at", "slots", "waits_s"),
    [(1, 1, [MOMENT_S]), (2, 1, [MOMENT_S, REACH_S - MOMENT_S]), (9, 0, [MOMENT_S])],
    ids=["at once", "with a slot", "without a slot"],
)
def test_change_waits_for_longer_than_a_moment_only_with_a_slot(
    tmp_path: Path, reaches_at: int, slots: int, waits_s: list[float]
) -> None:
    """A runtime that hangs cannot take all threads."""
    runtime, long_requests = SlowRuntime(tmp_path, reaches_at=reaches_at), LongRequests(slots)
    enforcement = Enforcement(registry=make_registry(tmp_path), runtime=runtime, long_requests=long_requests)
    target = WorkflowTarget(uid="w", name="seq", change=1, revision=2)
    if slots:
        enforcement.reach(target, 2)
    else:
        with pytest.raises(RuntimeUnavailable, match=r"Revision 2 of workflow seq is written.*not there yet"):
            enforcement.reach(target, 2)
    assert runtime.waits_s == waits_s


def test_only_what_is_not_loaded_is_loaded(tmp_path: Path) -> None:
    """And who asks hears of each version before."""
    registry, runtime = make_registry(tmp_path), FakeRuntime(tmp_path)
    register(registry, "seq")
    with registry.read() as reader:
        target = reader.target("seq")
    assert target is not None
    enforcement = Enforcement(registry=registry, runtime=runtime, long_requests=LongRequests(0))
    loading: list[str] = []
    for _ in range(2):
        enforcement.load(
            target,
            ("1.0",),
            cancelled=lambda: False,
            on_loading=lambda request: loading.append(request.version),
        )
    assert (runtime.loads, loading) == (["seq/1.0"], ["1.0"])
    registry.close()
