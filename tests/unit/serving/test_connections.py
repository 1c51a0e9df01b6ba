"""Which connection goes when there are too many."""

import pytest

from wfmgmt.serving.connections import ConnectionLimits, Connections


class FakeConnection:
    """A connection that is idle since a time, or busy."""

    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since
        self.has_ended = False

    def end(self) -> None:
        """Note that it was closed."""
        self.has_ended = True


def fill(*idle_since: float | None) -> tuple[Connections, list[FakeConnection]]:
    """Return as many connections as may be."""
    connections = Connections(ConnectionLimits(connections=len(idle_since)))
    members = [FakeConnection(since) for since in idle_since]
    assert all(connections.add(each) for each in members)
    return connections, members


def test_one_that_was_idle_for_longest_makes_way() -> None:
    """Busy ones and those that were busy lately stay."""
    connections, members = fill(None, 5.0, 3.0, 4.0)
    assert connections.add(FakeConnection(None))
    assert [each.has_ended for each in members] == [False, False, True, False]


@pytest.mark.parametrize("frees", [0, 1])
def test_new_one_is_refused_while_all_are_busy(frees: int) -> None:
    """When one of them leaves there is room again."""
    connections, members = fill(None, None)
    for member in members[:frees]:
        connections.remove(member)
    assert connections.add(FakeConnection(0.0)) == bool(frees)
    assert not any(each.has_ended for each in members)


def test_refused_ones_are_bounded_too() -> None:
    """They wait for that answer, but not in any number."""
    connections, _ = fill(None)
    refused = [FakeConnection(0.0) for _ in range(100)]
    assert not any(connections.add(each) for each in refused)
    assert [each.has_ended for each in refused] == [True] * 36 + [False] * 64
