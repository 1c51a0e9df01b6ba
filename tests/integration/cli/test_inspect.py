"""`wfmgmt inspect`, without a service."""

import json
from pathlib import Path

import pytest

from tests.support.factories import make_mar, make_war
from wfmgmt.cli.main import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no instance is."""
    monkeypatch.chdir(tmp_path)


def test_inspect_prints_what_is_in_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no instance, and makes none."""
    war = make_war(tmp_path)
    assert main(["inspect", str(war)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("seq.war: workflow archive, ")
    assert "  function pre_processing: line 1" in lines
    assert lines[-1] == "It can be registered."
    assert list(tmp_path.iterdir()) == [war]


def test_inspect_fails_when_the_archive_cannot_be_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts see it by the exit code, and the report has the problem."""
    war = make_war(tmp_path, spec="dag: [")
    assert main(["inspect", "-o", "json", str(war)]) == 1
    assert json.loads(capsys.readouterr().out)["problems"]


def test_inspect_marks_imports_that_are_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They may be missing on purpose, so the archive can be registered."""
    assert main(["inspect", str(make_mar(tmp_path, source="import absent_lib\nimport json\n"))]) == 0
    assert "  imports: absent_lib (not installed), json" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "code"), [("absent.war", 1), ("notes.txt", 2)])
def test_inspect_names_what_is_no_archive(
    name: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, no traceback."""
    assert main(["inspect", str(tmp_path / name)]) == code
    assert capfd.readouterr().err.startswith("wfmgmt: ")
