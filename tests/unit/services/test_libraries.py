"""Which nodes are refused for the libraries that their archives list."""

from pathlib import Path

import pytest

from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.requirements import ModelRequirements, RequirementsFile
from wfmgmt.domain.spec import parse_spec
from wfmgmt.services.archives import ArchiveFile
from wfmgmt.services.libraries import LibrariesCheck

SPEC = "models: {m: {url: m.mar}}\ndag: {f: [m]}\n"
WAR = ArchiveFile(path=Path("w.war"), shown_url="w.war")


def failures(policy: ModelRequirements, text: bytes, *, has_models: bool = True) -> dict[str, str]:
    """Return what is wrong with a workflow both of whose archives list this."""
    file = RequirementsFile(name="requirements.txt", content=text)
    contents = WorkflowArchive(
        name="w", spec_file="spec.yaml", spec_text=SPEC, handler="h.py", handler_source="", requirements=file
    )
    model = ArchiveFile(path=Path("m.mar"), shown_url="m.mar", requirements=file)
    check = LibrariesCheck(policy, has_models=has_models)
    return check.failures(parse_spec(SPEC, Limits()), WAR, contents, {"m": model})


@pytest.mark.parametrize(
    ("policy", "text", "refused"),
    [
        ("ignore", b"???", False),
        ("check", b"flask", False),
        ("check", b"no-such-library", True),
        ("check", b"--index-url https://host.example\nflask", False),
        ("check", b"???", True),
        ("install", b"no-such-library", False),
        ("install", b"--index-url https://host.example\nflask", True),
        ("install", b"???", True),
    ],
)
def test_each_node_is_refused_for_its_own_archive(policy: ModelRequirements, text: bytes, *, refused: bool) -> None:
    """Functions for that of the workflow; before an installation only what pip would not be given is refused."""
    found = failures(policy, text)
    assert sorted(found) == (["f", "m"] if refused else [])
    assert [reason.partition(":")[0] for _, reason in sorted(found.items())] == (["w.war", "m.mar"] if refused else [])


def test_models_that_run_elsewhere_are_not_judged() -> None:
    """What is installed there is not known here."""
    assert list(failures("check", b"no-such-library", has_models=False)) == ["f"]
