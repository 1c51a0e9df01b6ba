"""Which databases the registry accepts."""

import pytest

from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.registry import engine


def test_missing_driver_of_postgresql_is_refused_with_the_extra_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command is the one of the README."""
    monkeypatch.setattr(engine, "find_spec", lambda _name: None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'wfmgmt\[postgresql\]'"):
        engine.parse_database("postgresql://wfmgmt@127.0.0.1/wfmgmt")
