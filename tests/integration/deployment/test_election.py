"""The election of a web worker, with real locks and processes."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.support.service import wait_until
from wfmgmt.deployment.election import MAX_UNCHANGED_LOOKS, Election
from wfmgmt.deployment.locks import LockFile
from wfmgmt.deployment.shared_state import SharedState

_FORK = multiprocessing.get_context("fork")


def hold(path: Path, shared: SharedState) -> None:
    """Be elected, and show it until killed."""
    election = Election(LockFile(path), shared)
    wait_until(election.take_part)
    while True:
        election.beat()
        signal.sigtimedwait([], 0.01)


def has_changed(shared: SharedState, heartbeat: bytes) -> bool:
    """Return whether there was another heartbeat since."""
    return shared.heartbeat != heartbeat


@pytest.fixture(name="shared")
def _shared() -> SharedState:
    return SharedState()


@pytest.fixture(name="elected")
def _elected(tmp_path: Path, shared: SharedState) -> Iterator[BaseProcess]:
    process = _FORK.Process(target=hold, args=(tmp_path / "lock", shared))
    process.start()
    wait_until(lambda: LockFile(tmp_path / "lock").holder() == process.pid, what="the election")
    yield process
    process.kill()
    process.join()


def test_election_leaves_a_holder_alone_that_runs(tmp_path: Path, shared: SharedState, elected: BaseProcess) -> None:
    """However often another one looks."""
    other = Election(LockFile(tmp_path / "lock"), shared)
    for _ in range(5 * MAX_UNCHANGED_LOOKS):
        seen = shared.heartbeat
        assert not other.take_part()
        wait_until(partial(has_changed, shared, seen), what="a heartbeat")
    assert elected.is_alive()


def test_election_passes_on_when_the_holder_is_stopped(
    tmp_path: Path, shared: SharedState, elected: BaseProcess
) -> None:
    """The stopped one is killed, not only passed over: it can never act again beside its successor."""
    other = Election(LockFile(tmp_path / "lock"), shared)
    assert elected.pid is not None
    os.kill(elected.pid, signal.SIGSTOP)
    looks = 0
    while elected.exitcode is None and looks < 1000:
        other.take_part()
        looks += 1
    wait_until(lambda: elected.exitcode is not None, what="the end of the stopped one")
    assert elected.exitcode == -signal.SIGKILL
    assert looks > MAX_UNCHANGED_LOOKS
    wait_until(other.take_part, what="the election of the other one")


def test_election_passes_on_when_the_holder_resigns(tmp_path: Path, shared: SharedState) -> None:
    """The next one that takes part is elected."""
    first, second = (Election(LockFile(tmp_path / "lock"), shared) for _ in range(2))
    assert first.take_part()
    assert not second.take_part()
    first.resign()
    assert second.take_part()
