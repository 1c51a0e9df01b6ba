"""What a look at the registry finds."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.support.runtime_parts import FakeRegistry, Row
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


def uids(look: Look) -> set[str]:
    """Return the workflows that a look has read."""
    return {target.uid for target in look.targets}


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_watch, "SLICE_ROWS", 2)


def test_first_look_finds_everything() -> None:
    """It finds what was there before the watch, and what is known but gone."""
    rig = Rig("a", "b", "c")
    rig.registry.put("d", REGISTERING)
    rig.known = {"a", "old"}
    look = rig.look()
    assert uids(look) == {"a", "b", "c", "d"}
    assert {uid: status for target in look.targets for uid, status in target.statuses.items()}["d"] is REGISTERING
    assert look.removed == {"old"}


def test_later_looks_find_what_changed_and_nothing_else() -> None:
    """Without any change nothing is read but the number of the last one."""
    rig = Rig("a", "b", "c")
    rig.look()
    read = rig.registry.slices_read
    assert rig.look() == Look()
    rig.registry.put("d")
    rig.registry.remove("a")
    look = rig.look()
    assert (uids(look), look.removed) == ({"d"}, {"a"})
    assert rig.look() == Look()
    assert rig.registry.slices_read == read


def test_many_changes_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is read by the next looks; what is removed meanwhile is not read."""
    monkeypatch.setattr(registry_watch, "TARGETS_PER_LOOK", 2)
    rig = Rig("a", "b", "c", "d")
    first = rig.look()
    assert first.is_behind
    rest = {"a", "b", "c", "d"} - uids(first)
    rig.registry.remove(min(rest))
    last = rig.look()
    assert (uids(last), last.removed, last.is_behind) == ({max(rest)}, {min(rest)}, False)


def test_everything_is_compared_in_slices_once_a_minute() -> None:
    """What was changed without a number is found; each look reads one slice."""
    rig = Rig("a", "b", "c", "d", "e")
    rig.look()
    rig.registry.rows["f"] = Row(0, {"1.0": READY})
    rig.registry.rows["c"].change = 0
    del rig.registry.rows["b"]
    rig.now += COMPARE_INTERVAL_S - 1.5
    assert [look for look in rig.looks_without_news(1) if look.targets] == []
    rig.now += 1
    read = rig.registry.slices_read
    looks = list(rig.looks_without_news(4))
    assert [uids(look) for look in looks] == [{"c"}, set(), {"f"}, set()]
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
    del rig.registry.rows["b"]
    rig.registry.has_gap = True
    look = rig.look()
    assert (uids(look), look.removed) == ({"a", "c"}, {"b"})


def test_compare_all_reads_everything_at_the_next_look() -> None:
    """Each call causes one full comparison, without a wait for the next one that is due."""
    rig = Rig("a", "b", "c")
    rig.look()
    rig.watch.compare_all()
    assert uids(rig.look()) == {"a", "b", "c"}
    assert uids(rig.look()) == set()


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
    assert (uids(look), look.removed) == ({"a", "b", "c"}, {"old"})


def test_failed_slice_is_read_again() -> None:
    """A comparison under way goes on where it was."""
    rig = Rig("a", "b", "c")
    rig.look()
    for row in rig.registry.rows.values():
        row.change = 0
    rig.now += COMPARE_INTERVAL_S
    assert uids(rig.look()) == {"a", "b"}
    rig.registry.fails_at_slice = rig.registry.slices_read
    rig.registry.put("d")
    with pytest.raises(RegistryUnavailable):
        rig.look()
    rig.registry.fails_at_slice = None
    look = rig.look()
    assert (uids(look), look.removed) == ({"c", "d"}, set())
