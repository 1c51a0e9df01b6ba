"""Reports of archives: what is in one, and whether it can be registered."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.crafted_zips import bomb, many_entries, write
from tests.support.factories import make_mar, make_war
from wfmgmt.archives.functions import check_functions
from wfmgmt.archives.manifest import read_war
from wfmgmt.archives.report import ReportRules, report_on
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.domain.names import check_workflow_name
from wfmgmt.domain.spec import parse_spec
from wfmgmt.errors import InvalidArchive, WfmgmtError

RULES = ReportRules(limits=Limits())
WAR, MAR = ArchiveKind.WORKFLOW, ArchiveKind.MODEL
NO_MODEL = (
    "Workflow seq has failed to register. Failures: [Workflow Node seq__m1 failed to register. "
    "Details: Model not found at: m1.mar]"
)


def test_report_on_a_workflow_shows_all_of_it_in_json(tmp_path: Path) -> None:
    """Manifest, spec, graph, nodes and functions are there, and nothing speaks against a registration."""
    report = report_on(make_war(tmp_path), WAR, RULES).as_json()
    assert (report["file"], report["kind"], report["problems"], report["warnings"]) == ("seq.war", "workflow", [], [])
    assert (len(report["sha256"]), report["files"]) == (64, 3)
    assert report["manifest"]["workflow"]["workflowName"] == "seq"
    assert report["workflowDag"] == "{pre_processing=[m1], m1=[post_processing]}"
    assert [(node["name"], node["kind"], node["inStore"]) for node in report["nodes"]] == [
        ("pre_processing", "function", None),
        ("m1", "model", None),
        ("post_processing", "function", None),
    ]
    assert report["functions"] == [{"name": "pre_processing", "line": 1}, {"name": "post_processing", "line": 5}]


def test_report_on_a_workflow_says_whether_its_models_are_in_the_store(tmp_path: Path) -> None:
    """Until its model is there, the workflow would not be registered."""
    models = StoreFolders.at(workflow=tmp_path, model=tmp_path).model
    war = make_war(tmp_path)
    before = report_on(war, WAR, RULES, models=models)
    make_mar(tmp_path)
    after = report_on(war, WAR, RULES, models=models)
    assert (before.problems, after.problems) == ((NO_MODEL,), ())
    assert [[node.in_store for node in report.nodes or ()] for report in (before, after)] == [
        [None, False, None],
        [None, True, None],
    ]


def test_report_tells_where_modules_come_from_and_imports_none(tmp_path: Path) -> None:
    """The files of the archive that the handler leads to count, too; what nothing has comes first."""
    source = "import json\nimport absent_a.b\nfrom parts import tools\nimport pytest\nraise SystemExit\n"
    files = {
        "parts/__init__.py": "from . import more",
        "parts/tools.py": "import absent_b",
        "parts/more.py": "import re",
    }
    report = report_on(make_mar(tmp_path, source=source, extra_files={**files, "other.py": "import no"}), MAR, RULES)
    assert [(each["name"], each["available"], each["source"]) for each in report.as_json()["imports"]] == [
        ("absent_a", False, None),
        ("absent_b", False, None),
        ("json", True, "standard"),
        ("parts", True, "archive"),
        ("pytest", True, "installed"),
        ("re", True, "standard"),
    ]
    assert report.problems == ()
    assert "parts" not in sys.modules


def test_report_leaves_open_what_libraries_to_be_installed_bring(tmp_path: Path) -> None:
    """A library has modules of its own name, and may have others."""
    mar = make_mar(tmp_path, source="import some_lib\nimport other\n", requirements="Some.Lib>=1\n")
    rules = ReportRules(limits=Limits(), requirements="install")
    assert [(each.name, each.available) for each in report_on(mar, MAR, rules).imports] == [
        ("other", None),
        ("some_lib", True),
    ]


def test_report_on_a_model_with_a_handler_of_torchserve_names_that(tmp_path: Path) -> None:
    """Built-in handlers are not in the archive; they need torchserve."""
    report = report_on(make_mar(tmp_path, handler="image_classifier", source=None), MAR, RULES)
    assert [(each.name, each.available) for each in report.imports] == [("ts", False)]


def test_report_gives_the_problem_of_libraries_that_are_not_installed(tmp_path: Path) -> None:
    """As a registration does when WFMGMT_MODEL_REQUIREMENTS is check."""
    mar = make_mar(tmp_path, requirements="absent-lib==1\n")
    rules = ReportRules(limits=Limits(), requirements="check")
    (problem,) = report_on(mar, MAR, rules).problems
    assert problem.startswith("m1.mar: requirements.txt lists what is not installed: absent-lib==1;")


@pytest.mark.parametrize(
    "parts",
    [
        {"manifest": "{"},
        {"manifest": {"archiverVersion": None}},
        {"spec": "dag: ["},
        {"spec": None},
        {"handler": "def pre_processing(:"},
        {"handler": b"\xff"},
        {"handler": None},
        {"name": "a b"},
    ],
    ids=["manifest", "no version", "spec", "no spec", "syntax", "not text", "no handler", "name"],
)
def test_report_gives_a_problem_for_a_bad_inside(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Nothing is raised, and the text is what a registration would say first."""
    war = make_war(tmp_path, file_name="seq.war", **parts)
    assert report_on(war, WAR, RULES).problems[0] == _refusal(war)


def _refusal(war: Path) -> str:
    """Return what a registration says about an archive."""
    with pytest.raises(WfmgmtError) as refused:
        _register(war)
    return str(refused.value)


def _register(war: Path) -> None:
    """Check an archive as a registration does, in the same order."""
    contents = read_war(war, Limits())
    check_workflow_name(contents.name or "")
    check_functions(parse_spec(contents.spec_text, Limits()), contents)


def test_report_on_what_is_no_archive_has_only_the_problem(tmp_path: Path) -> None:
    """Its digest is known all the same."""
    war = tmp_path / "x.war"
    war.write_bytes(b"not a zip")
    report = report_on(war, WAR, RULES)
    (problem,) = report.problems
    assert problem.startswith("Workflow archive x.war: ")
    assert (report.size_bytes, report.manifest, report.nodes) == (9, None, None)
    assert report.sha256 is not None


def test_report_finds_a_member_that_is_damaged_unless_all_was_checked(tmp_path: Path) -> None:
    """What is known to unpack is not read to its end again."""
    mar = make_mar(tmp_path, extra_files={"weights.bin": "abcdefgh" * 100})
    content = bytearray(mar.read_bytes())
    content[content.index(b"weights.bin") + len("weights.bin") + 3] ^= 0xFF
    mar.write_bytes(content)
    assert "weights.bin" in report_on(mar, MAR, RULES).problems[0]
    report = report_on(mar, MAR, RULES, sha256="0" * 64, is_checked=True)
    assert (report.problems, report.sha256) == ((), "0" * 64)


def test_report_hides_the_credentials_of_addresses(tmp_path: Path) -> None:
    """A spec may name models by addresses with secrets."""
    spec = "models:\n  m1:\n    url: https://u:secret@host/m1.mar?token=secret\ndag:\n  m1: []\n"
    report = report_on(make_war(tmp_path, spec=spec), WAR, RULES)
    assert "secret" not in str(report.as_json())


def test_report_raises_when_there_is_no_such_file(tmp_path: Path) -> None:
    """Only what is inside of a file is reported."""
    with pytest.raises(FileNotFoundError):
        report_on(tmp_path / "x.war", WAR, RULES)
    with pytest.raises(InvalidArchive):
        report_on(tmp_path, WAR, RULES)


FUNCTIONS = "def pre_processing(data, context): ...\ndef post_processing(data, context): ...\n"


@pytest.mark.parametrize(
    "source",
    [
        f"x = f'{'{a}' * 150_000}'\n",
        f"import {'.'.join(['a'] * 200_000)}\n",
        f"from {'.'.join(['a'] * 200_000)} import (b, c)\n",
    ],
    ids=["f-string", "import", "from"],
)
def test_code_that_python_takes_minutes_to_parse_is_not_parsed(tmp_path: Path, source: str) -> None:
    """A report says so; parsing would take minutes, or tens of gigabytes, in the process that answers."""
    report = report_on(make_war(tmp_path, handler=FUNCTIONS + source), WAR, RULES)
    assert (report.functions, report.imports, report.problems) == ((), (), ())
    assert report.warnings == ("Only running handler.py shows its functions, and what it imports.",)


def test_report_lists_a_bounded_number_of_functions_and_modules(tmp_path: Path) -> None:
    """And says how many there are."""
    names = range(6000)
    source = FUNCTIONS + "".join(f"def f{number}(): import m{number}\n" for number in names)
    report = report_on(make_war(tmp_path, handler=source), WAR, RULES)
    assert (len(report.functions), len(report.imports)) == (1000, 1000)
    assert report.warnings == (
        "handler.py has 6002 functions, of which 1000 are listed.",
        "handler.py imports 6000 modules, of which 1000 are listed.",
    )


def test_report_on_a_bomb_reads_little_of_it(tmp_path: Path) -> None:
    """A gigabyte of zeros, and more members than allowed, whatever the end record says."""
    for content, problem in (
        (bomb(1024, claimed_size=1024 * MIB), "it unpacks to more than 200 times its size"),
        (many_entries(100_000, 3), "it has more than 10000 members"),
    ):
        assert any(problem in each for each in report_on(write(tmp_path, content), WAR, RULES).problems)
