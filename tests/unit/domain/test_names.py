"""Names of workflows, versions and nodes."""

import pytest

from wfmgmt.domain.names import (
    RESERVED_VERSIONS,
    check_node_name,
    check_version,
    check_workflow_name,
    is_version,
    nearest,
)
from wfmgmt.errors import BadRequest, InvalidWorkflow


@pytest.mark.parametrize("name", ["a", "9", "Seq", "a.b-c_d", "a" * 128])
def test_workflow_name_is_accepted_when_it_has_the_form(name: str) -> None:
    """Letters, digits, dots, underscores and hyphens make a name."""
    assert check_workflow_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        ".",
        "..",
        ".a",
        "_a",
        "-a",
        "a/b",
        "a\\b",
        "<b>",
        "a\n",
        "\na",
        "a\0",
        "ä",
        "٣",
        "a" * 129,
        "\ud800",
    ],
    ids=ascii,
)
def test_workflow_name_is_refused_when_it_lacks_the_form(name: str) -> None:
    """The error gives the form and is printable for any name."""
    with pytest.raises(BadRequest) as caught:
        check_workflow_name(name)
    assert "[A-Za-z0-9][A-Za-z0-9._-]{0,127}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_workflow_name_is_shortened_in_the_message_when_it_is_long() -> None:
    """A megabyte of name does not come back in the answer."""
    with pytest.raises(BadRequest) as caught:
        check_workflow_name("x" * 1_000_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("version", ["1", "1.0", "2.0-rc.1+build_7", "a" * 64, "All", "1.all"])
def test_version_is_accepted_when_it_has_the_form(version: str) -> None:
    """What semantic versions are made of makes a version; of the reserved words only the very words are not free."""
    assert check_version(version) == version
    assert is_version(version)


@pytest.mark.parametrize(
    "version", ["", " ", ".", "-1", "+1", "_1", "1 0", "1/0", "1:0", "1.0\n", "ä", "٣", "a" * 65, "\ud800"], ids=ascii
)
def test_version_is_refused_when_it_lacks_the_form(version: str) -> None:
    """The error gives the form and is printable for any text."""
    with pytest.raises(BadRequest, match="has to be of the form") as caught:
        check_version(version)
    assert "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}" in str(caught.value)
    assert str(caught.value).isprintable()
    assert not is_version(version)


@pytest.mark.parametrize("word", RESERVED_VERSIONS)
def test_version_is_refused_when_the_word_is_reserved(word: str) -> None:
    """The path below a workflow means something else then; the error lists all such words."""
    with pytest.raises(BadRequest, match=rf"^Workflow version '{word}' is not allowed, reserved are all, latest"):
        check_version(word)
    assert not is_version(word)


@pytest.mark.parametrize(
    "name", ["m1", "_m1", "m-1", "m.1", "1", "größe", "ä-ö", "my model", "处 理", "a" * 128, "ä" * 128]
)
def test_node_name_is_accepted_when_it_has_the_form_or_is_an_identifier(name: str) -> None:
    """Functions may have any name that Python allows, models those of workflows."""
    assert check_node_name(name, "dag") == name


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "a\tb", ".a", "-a", "a/b", "a:b", "..", "a\n", "a" * 129, "ä" * 129], ids=ascii
)
def test_node_name_is_refused_when_it_lacks_the_form(name: str) -> None:
    """The error names the place in the spec."""
    with pytest.raises(InvalidWorkflow, match=r"^dag\.a\[0\]: expected a name of the form"):
        check_node_name(name, "dag.a[0]")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("max-worker", "max-workers"), ("minworkers", "min-workers"), ("colour", None), ("", None), ("m" * 10_000, None)],
    ids=["one letter", "hyphen", "unlike", "empty", "long"],
)
def test_nearest_finds_the_known_word_that_is_meant(word: str, expected: str | None) -> None:
    """Only a word that looks much like the given one is suggested."""
    assert nearest(word, ["min-workers", "max-workers", "batch-size"]) == expected
