"""Releases that guards and steps call for, as the runtime has them made."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.records import make_registry, make_workflow, register
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.releases import Guard, Release, ReleaseKind, Route, RoutingTable
from wfmgmt.domain.rollouts import Outcome, Verdict, WindowFigures, judge, next_release
from wfmgmt.registry.registry import Registry
from wfmgmt.runtime_factory import DatabaseView
from wfmgmt.services.release_rules import make_release

GUARDED = RoutingTable(
    routes=(Route(version="2.0", weight=10), Route(version="1.0", weight=90)), guard=Guard(max_error_rate=0.1)
)


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Registry:
    """Return a registry in which `seq` has two versions, and everything goes to the first."""
    registry = make_registry(tmp_path)
    register(registry, "seq")
    further = make_workflow("seq", version="2.0")
    with registry.write() as writer:
        writer.claim_version(further)
        writer.mark_ready(further.uid)
    return registry


def release(registry: Registry, table: RoutingTable) -> Release:
    """Make a release as an operator does."""
    with registry.write() as writer:
        return make_release(writer, "seq", table, kind=ReleaseKind.TRAFFIC, origin=Origin(actor="alice")).release


def trip(registry: Registry, judged: Release) -> Verdict:
    """Have the guard take a release back."""
    verdict = judge(judged.table, WindowFigures(requests=100, failures=20), WindowFigures(requests=900))
    assert verdict.outcome is Outcome.TRIPPED
    following = next_release(judged, verdict, datetime.now(UTC))
    assert following is not None
    DatabaseView(registry).make_release("seq", judged, following, verdict)
    return verdict


def test_guard_makes_a_release_with_its_figures_in_the_audit(registry: Registry) -> None:
    """Release, revision and event belong together."""
    verdict = trip(registry, release(registry, GUARDED))
    with registry.read() as reader:
        made, revision = reader.release("seq"), reader.revision("seq")
    assert made is not None
    assert (made.number, made.kind, made.actor, made.reason) == (3, ReleaseKind.GUARD, "guard", verdict.reason)
    assert (made.table, revision) == (RoutingTable.all_to("1.0"), 4)
    with registry.read() as reader:
        last = reader.last_change("seq")
    assert last is not None
    detail = last.detail
    assert detail["figures"]["candidate"] == {"version": "2.0", "requests": 100, "failures": 20, "p99Ms": None}


def test_release_that_an_operator_made_meanwhile_stays(registry: Registry) -> None:
    """The guard judged another one."""
    judged = release(registry, GUARDED)
    promoted = release(registry, RoutingTable.all_to("2.0"))
    trip(registry, judged)
    with registry.read() as reader:
        assert reader.release("seq") == promoted


def test_table_that_holds_already_makes_no_release(registry: Registry) -> None:
    """Neither is there an event."""
    first = release(registry, GUARDED)
    assert release(registry, GUARDED) == first
