"""Threads of modules that were preloaded."""

import sys
from types import SimpleNamespace

import pytest

from wfmgmt.serving.models.local.thread_limits import limit_loaded_modules


def test_loaded_modules_are_given_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that fails is named in the log, and those that are not loaded are not imported."""
    given: list[int] = []

    def fail(_: int) -> None:
        raise ValueError("too many")

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=given.append))
    monkeypatch.setitem(sys.modules, "numexpr", SimpleNamespace(set_num_threads=fail))
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    limit_loaded_modules(3)
    assert given == [3]
    assert capsys.readouterr().err == "numexpr could not be given 3 threads: too many\n"
    assert "threadpoolctl" not in sys.modules
