"""Declarations: what a file may say, and the line that an error names."""

import json

import pytest

from wfmgmt.domain.declaration_files import DeclarationInvalid, parse_declaration
from wfmgmt.domain.declared import DeclaredVersion, DeclaredWorkflow

WHOLE = """\
wfmgmt: 1
workflows:
  seq:
    versions:
      "1.0": {url: seq.war, sha256: SHA}
      "2.0":
        url: https://host.example/seq-2.war
    traffic: {"1.0": 90, "2.0": 10}
    nodes:
      m1: {max-workers: 4, batch-size: 8}
  other:
    versions: {"1": {url: other.war}}
""".replace("SHA", "9f" * 32)


def test_everything_that_can_be_declared_is_read() -> None:
    """Also when it is kept as JSON, and read again."""
    seq = DeclaredWorkflow(
        name="seq",
        versions={
            "1.0": DeclaredVersion(url="seq.war", sha256="9f" * 32),
            "2.0": DeclaredVersion(url="https://host.example/seq-2.war"),
        },
        traffic={"1.0": 90, "2.0": 10},
        nodes={"m1": {"max_workers": 4, "batch_size": 8}},
    )
    found = parse_declaration(WHOLE)
    assert found == {
        "seq": seq,
        "other": DeclaredWorkflow(name="other", versions={"1": DeclaredVersion(url="other.war")}),
    }
    assert DeclaredWorkflow.of_json("seq", json.loads(json.dumps(seq.json()))) == seq
    assert parse_declaration('{"wfmgmt": 1, "workflows": {}}') == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("wfmgmt: 1", "wfmgmt: 2", "line 1: wfmgmt: expected 1, the form of the file."),
        ("wfmgmt: 1\n", "", "line 1: the file: wfmgmt is missing."),
        ("workflows:", "workflow:", "line 2: workflow: there is no such key, did you mean 'workflows'?"),
        ("  seq:", "  s q:", "line 3: workflows: Workflow name 's q' is not allowed"),
        (
            "    versions:\n",
            "    version:\n",
            "line 4: workflows.seq.version: there is no such key, did you mean 'vers",
        ),
        ('"1.0": {url', "1.0: {url", "line 5, column 7: the key 1.0 is not text, put it in quotes"),
        ('"1.0": {url', '"latest": {url', "line 5: workflows.seq.versions: Workflow version 'latest' is not allowed"),
        (
            "url: seq.war",
            "ulr: seq.war",
            "line 5: workflows.seq.versions.1.0.ulr: there is no such key, did you mean 'url",
        ),
        ("url: seq.war, ", "", "line 5: workflows.seq.versions.1.0: url is missing."),
        ("url: seq.war", "url: 3", "line 5: workflows.seq.versions.1.0.url: expected an archive, got 3."),
        ("9f" * 32, "'12'", "line 5: workflows.seq.versions.1.0.sha256: expected 64 hexadecimal digits"),
        ('"2.0": 10', '"2.0": 20', "line 8: workflows.seq.traffic: the weights sum to 110, not to 100."),
        ('"2.0": 10', '"2.1": 10', "line 8: workflows.seq.traffic.2.1: is not declared, did you mean '2.0'?"),
        (
            '"2.0": 10',
            '"2.0": ten',
            "line 8: workflows.seq.traffic.2.0: expected a whole number from 0 to 100, got 'ten'.",
        ),
        (
            "max-workers: 4",
            "max_workers: 4",
            "line 10: workflows.seq.nodes.m1.max_workers: there is no such key, did you",
        ),
        (
            "max-workers: 4",
            "max-workers: 0",
            "line 10: workflows.seq.nodes.m1.max-workers: expected a whole number from 1",
        ),
        (
            "    nodes:\n      m1: {max-workers: 4, batch-size: 8}",
            "    nodes: [m1]",
            "line 9: workflows.seq.nodes: expected a",
        ),
        (
            'versions: {"1": {url: other.war}}',
            "versions: {}",
            "line 12: workflows.other.versions: expected one version",
        ),
        ("  other:\n", "  seq:\n", "line 11, column 3: duplicate key 'seq'"),
        (WHOLE, "- 1", "line 1: expected a mapping with wfmgmt and workflows."),
        (WHOLE, "a: [", "line 2, column 1: while parsing a flow node"),
    ],
)
def test_error_names_file_line_and_key(old: str, new: str, message: str) -> None:
    """And what would be right."""
    assert old in WHOLE
    with pytest.raises(DeclarationInvalid) as caught:
        parse_declaration(WHOLE.replace(old, new), file="prod.yaml")
    assert str(caught.value).startswith(f"prod.yaml, {message}"), str(caught.value)
