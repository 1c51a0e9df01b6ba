"""How often the runtime is asked for figures."""

import threading
from pathlib import Path

import pytest

from wfmgmt.control import figures_cache
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.figures_cache import KEPT_S, FiguresCache
from wfmgmt.control.messages import FiguresReport, NodeFigures, TrafficFigures, VersionFigures
from wfmgmt.errors import RuntimeUnavailable


class FakeClient(RuntimeClient):
    """A runtime that counts what it is asked.

    Attributes:
        asked: Workflows that it was asked about.
        versions: Versions that it has loaded; None while it does not answer.
    """

    def __init__(self) -> None:
        super().__init__(Path("nothing.sock"))
        self.asked: list[str] = []
        self.versions: tuple[str, ...] | None = ("1.0",)

    def figures(self, uid: str) -> FiguresReport:
        """Return new figures, or fail."""
        self.asked.append(uid)
        if self.versions is None:
            raise RuntimeUnavailable("it hangs")
        node = NodeFigures(traffic=TrafficFigures(), queued=0, workers=())
        loaded = {version: VersionFigures(nodes={"m": node}) for version in self.versions}
        return FiguresReport(revision=1, release=1, versions={"loading": VersionFigures(), **loaded})


class Setup:
    """A cache with a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.client = FakeClient()
        self.cache = FiguresCache(self.client, clock=lambda: self.now)


@pytest.fixture(name="setup")
def _setup() -> Setup:
    return Setup()


def test_figures_of_a_workflow_are_kept_for_a_second(setup: Setup) -> None:
    """Those of all its versions come with one call; what is made of them can be used again."""
    setup.client.versions = ("1.0", "2.0")
    first = setup.cache.figures("a", "1.0")
    setup.cache.figures("b", "1.0")
    setup.now = 0.9 * KEPT_S
    assert first is not None
    assert setup.cache.figures("a", "1.0") is first
    assert setup.cache.figures("a", "2.0") is not None
    assert setup.client.asked == ["a", "b"]
    setup.now = KEPT_S
    assert setup.cache.figures("a", "1.0") is not first
    assert setup.client.asked == ["a", "b", "a"]


def test_version_that_was_loaded_a_moment_ago_has_figures_at_once(setup: Setup) -> None:
    """What was kept before knows nothing of it."""
    assert setup.cache.figures("a", "1.0") is not None
    setup.client.versions = ("1.0", "2.0", "loading")
    for version in ("2.0", "loading"):
        figures = setup.cache.figures("a", version)
        assert figures is not None
        assert figures.nodes


def test_runtime_that_does_not_answer_is_left_alone_for_a_second(setup: Setup) -> None:
    """Else each request, of any workflow, would wait for it."""
    setup.client.versions = None
    assert [setup.cache.figures(uid, "1.0") for uid in "aab"] == [None, None, None]
    assert setup.client.asked == ["a"]
    setup.client.versions = ("1.0",)
    setup.now = KEPT_S
    assert None not in [setup.cache.figures(uid, "1.0") for uid in "ab"]


def test_older_figures_are_shown_while_others_ask(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime is asked as soon as one of them is done."""
    monkeypatch.setattr(figures_cache, "ASKING_WAIT_S", 0)
    first = setup.cache.figures("a", "1.0")
    setup.now = KEPT_S
    seen: list[object] = []

    class AskedMeanwhile(FakeClient):
        def figures(self, uid: str) -> FiguresReport:
            if uid == "others":
                seen.extend(cache.figures(each, "1.0") for each in ("a", "new"))
            return super().figures(uid)

    cache = setup.cache
    monkeypatch.setattr(cache, "_client", AskedMeanwhile())
    monkeypatch.setattr(cache, "_asking", threading.BoundedSemaphore(1))
    cache.figures("others", "1.0")
    assert seen == [first, None]
    assert cache.figures("a", "1.0") is not first
    assert cache.figures("new", "1.0") is not None


def test_figures_of_a_bounded_number_of_workflows_are_kept(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many workflows do not fill the memory."""
    monkeypatch.setattr(figures_cache, "MAX_KEPT", 2)
    for uid in "abca":
        setup.cache.figures(uid, "1.0")
    assert setup.client.asked == ["a", "b", "c", "a"]
