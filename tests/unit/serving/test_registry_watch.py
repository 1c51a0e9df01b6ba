"""What a look at the registry finds."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.support.runtime_parts import FakeRegistry
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import RegistryUnavailable
from wfmgmt.serving import registry_watch
from wfmgmt.serving.registry_watch import COMPARE_INTERVAL_S, Look, RegistryWatch

READY, REGISTERING = WorkflowStatus.READY, WorkflowStatus.REGISTERING


class Rig:
    """A watch over a fake registry, with a clock of its own."""

    def __init__(self, *uids: str) -> None:
        self.registry = FakeRegistry()
        for uid in uids:
            self.registry.put(uid)
        self.known: set[str] = set()
        self.now = 0.0
        self.watch = RegistryWatch(self.registry, lambda: self.known, clock=lambda: self.now)

    def look(self) -> Look:
        """Look once."""
        return asyncio.run(self.watch.look())

    def looks_without_news(self, count: int) -> Iterable[Look]:
        """Look again and again, a second after each other."""
        for _ in range(count):
            self.now += 1
            yield self.look()


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_watch, "SLICE_ROWS", 2)


def test_first_look_finds_everything() -> None:
    """It finds what was there before the watch, and what is known but gone."""
    rig = Rig("a", "b", "c")
    rig.registry.put("d", REGISTERING)
    rig.known = {"a", "old"}
    look = rig.look()
    assert look.statuses == {"a": READY, "b": READY, "c": READY, "d": REGISTERING}
    assert look.removed == {"old"}


def test_later_looks_find_what_changed_and_nothing_else() -> None:
    """Without any change nothing is read but the revision."""
    rig = Rig("a", "b", "c")
    rig.look()
    read = rig.registry.slices_read
    assert rig.look() == Look(statuses={}, removed=set())
    rig.registry.put("d")
    rig.registry.remove("a")
    assert rig.look() == Look(statuses={"d": READY}, removed={"a"})
    assert rig.look() == Look(statuses={}, removed=set())
    assert rig.registry.slices_read == read


def test_everything_is_compared_in_slices_once_a_minute() -> None:
    """What was changed without a revision is found; each look reads one slice."""
    rig = Rig("a", "b", "c", "d", "e")
    rig.look()
    rig.known = {"a", "b", "c", "d", "e"}
    rig.registry.rows["f"] = (0, READY)
    del rig.registry.rows["b"]
    rig.now += COMPARE_INTERVAL_S - 1.5
    assert [look for look in rig.looks_without_news(1) if look.statuses] == []
    rig.now += 1
    read = rig.registry.slices_read
    looks = list(rig.looks_without_news(4))
    assert [look.statuses for look in looks] == [{"a": READY, "c": READY}, {"d": READY, "e": READY}, {"f": READY}, {}]
    assert [look.removed for look in looks] == [set(), set(), {"b"}, set()]
    assert rig.registry.slices_read == read + 3


def test_what_becomes_known_during_a_comparison_is_not_gone() -> None:
    """Its row may be behind the slice that is read next, or in one that was read."""
    rig = Rig("a", "b", "c")
    rig.look()
    rig.now += COMPARE_INTERVAL_S
    rig.known = {"a"}
    rig.look()
    rig.known = {"a", "new"}
    assert rig.look().removed == set()


def test_gap_has_everything_compared_at_once() -> None:
    """Removals that are no longer remembered are found by their absence."""
    rig = Rig("a", "b", "c")
    rig.look()
    rig.known = {"a", "b", "c"}
    del rig.registry.rows["b"]
    rig.registry.has_gap = True
    look = rig.look()
    assert (look.statuses, look.removed) == ({"a": READY, "c": READY}, {"b"})


def test_compare_all_reads_everything_at_the_next_look() -> None:
    """Each call causes one full comparison, without a wait for the next one that is due."""
    rig = Rig("a", "b", "c")
    rig.look()
    rig.watch.compare_all()
    assert rig.look().statuses.keys() == {"a", "b", "c"}
    assert rig.look().statuses == {}


@pytest.mark.parametrize("fails_at_slice", [0, 1])
def test_failed_look_loses_nothing(fails_at_slice: int) -> None:
    """The next one finds all that the failed one would have found."""
    rig = Rig("a", "b", "c")
    rig.known = {"old"}
    rig.registry.fails_at_slice = fails_at_slice
    with pytest.raises(RegistryUnavailable):
        rig.look()
    rig.registry.fails_at_slice = None
    look = rig.look()
    assert (set(look.statuses), look.removed) == ({"a", "b", "c"}, {"old"})


def test_failed_slice_is_read_again() -> None:
    """A comparison under way goes on where it was."""
    rig = Rig("a", "b", "c")
    rig.look()
    rig.now += COMPARE_INTERVAL_S
    rig.known = {"a", "b", "c"}
    assert rig.look().statuses.keys() == {"a", "b"}
    rig.registry.fails_at_slice = rig.registry.slices_read
    rig.registry.put("d")
    with pytest.raises(RegistryUnavailable):
        rig.look()
    rig.registry.fails_at_slice = None
    look = rig.look()
    assert (set(look.statuses), look.removed) == ({"c", "d"}, set())
