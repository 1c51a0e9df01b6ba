"""Requirements files of archives, and what of them is missing in the environment of the tests."""

import time
from contextlib import suppress
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain.requirements import (
    MAX_LIBRARIES,
    RequirementsFile,
    RequirementsInvalid,
    missing_libraries,
    requirements_name,
)

FLASK, PYTEST = version("flask"), version("pytest")


def listed(text: str | bytes | None, *, for_install: bool = False) -> tuple[str, ...]:
    """Return the libraries of a file."""
    content = text.encode() if isinstance(text, str) else text
    return RequirementsFile(name="requirements.txt", content=content).libraries(for_install=for_install)


def test_files_that_require_the_same_read_the_same() -> None:
    """Order, spelling, comments, blank lines, repetitions and joined lines make no difference."""
    first = "# libraries\nScikit_Learn >=1.3 , <2\n\nnumpy  # arrays\nnumpy\n"
    second = "\ufeffnumpy\r\nscikit-learn \\\n    <2,>=1.3 # both\n"
    assert listed(first) == listed(second) == ("numpy", "scikit-learn<2,>=1.3")


def test_digests_extras_and_markers_are_kept() -> None:
    """What pip would go by is still there."""
    line = 'requests[socks]==2.0; python_version > "3" --hash=sha256:bb --hash sha256:aa'
    kept = 'requests[socks]==2.0; python_version > "3" --hash=sha256:aa --hash=sha256:bb'
    assert listed(line, for_install=True) == (kept,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flask\n-r base.txt", "requirements.txt, line 2: expected the name and the versions of a library, got '-r ba"),
        ("-e .", "line 1: expected the name"),
        ("./wheels/x-1.0.whl", "line 1: expected the name"),
        ("git+https://user:secret@host.example/x.git?token=secret", "got 'git+https://host.example/x.git'"),
        ("flask==", "line 1: expected the name"),
        ('flask; "a" > "b"', "line 1: expected the name"),
        ('flask; "a" in extras', "line 1: expected the name"),
        ("a \\\nb \\\nc\n???", "line 1: expected the name"),
        (b"\xff", "requirements.txt is not UTF-8 text"),
        (None, "requirements.txt is not in the archive, or is too long"),
    ],
)
@pytest.mark.parametrize("for_install", [False, True])
def test_lines_that_are_no_library_are_named(*, text: str | bytes | None, message: str, for_install: bool) -> None:
    """The message names the line, and no secret in it."""
    with pytest.raises(RequirementsInvalid) as raised:
        listed(text, for_install=for_install)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "a; python_version ~= 'x'",
        "a; " + "(" * 900 + "os_name == 'posix'" + ")" * 900,
        "a" + "==1" * 1000,
        "\n".join(f"a{number}" for number in range(MAX_LIBRARIES + 1)),
        "a; platform_release >= 'x' and implementation_version ~= '~'",
    ],
    ids=["marker", "nested", "long", "many", "versions"],
)
def test_lists_that_cannot_be_judged_are_refused(text: str) -> None:
    """What the parser stumbles over is the archive's fault."""
    with pytest.raises(RequirementsInvalid):
        listed(text)


@pytest.mark.parametrize("text", [" " * 250_000 + "x y", "a \\\n" * 60_000, "#" * 250_000, "--hash=a " * 30_000])
def test_long_lists_are_read_in_no_time(text: str) -> None:
    """Whatever they are made of: nothing takes quadratic time, which would be minutes."""
    began = time.process_time()
    with suppress(RequirementsInvalid):
        listed(text)
    assert time.process_time() - began < 5


@given(st.text(alphabet="ab.-=<>~!@;#\\ \n'\"()[]0123,*+") | st.from_regex(r"a(\[b\])?(==|>=|~=)1(;os_name=='x')?"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else is raised, neither by reading nor by looking for what is missing."""
    with suppress(RequirementsInvalid):
        missing_libraries(listed(text))


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://user:secret@host.example/simple",
        "-i https://host.example/simple",
        "--find-links=./wheels",
        "--trusted-host host.example",
        "flask @ https://user:secret@host.example/flask.whl",
    ],
)
def test_where_packages_come_from_is_not_for_archives_to_say(line: str) -> None:
    """It is refused when they are to be installed, and passed over when they only have to be there."""
    with pytest.raises(RequirementsInvalid, match=r"line 1: .*since pip's configuration says") as raised:
        listed(line, for_install=True)
    assert "secret" not in str(raised.value)
    assert listed(line) in {(), ("flask",)}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("flask", ()),
        (f"Flask=={FLASK}", ()),
        ("flask<0.1", (f"flask<0.1 ({FLASK} is installed)",)),
        ("no-such-library>=1\nflask", ("no-such-library>=1",)),
        ('no-such-library; python_version < "3"', ()),
        ('no-such-library; python_version > "3"', ("no-such-library",)),
        ("flask[async]", ("asgiref>=3.2",)),
        ("pytest[dev]", ("argcomplete",)),
        (f"flask[async]=={FLASK}\npytest=={PYTEST}", ("asgiref>=3.2",)),
    ],
)
def test_what_is_missing_is_named_with_its_versions(text: str, missing: tuple[str, ...]) -> None:
    """A library counts as there when its version fits, its marker does not hold, and what its extras bring is there."""
    found = missing_libraries(listed(text))
    assert found[: len(missing)] == missing
    assert bool(found) == bool(missing)


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ({"model": {"requirementsFile": "r.txt"}}, "r.txt"),
        ({"model": {"requirementsFile": ""}}, None),
        ({"model": {"requirementsFile": 1}}, None),
        ({"model": None}, None),
        ({}, None),
    ],
)
def test_manifest_names_the_file(manifest: dict[str, object], name: str | None) -> None:
    """Whatever stands there, nothing is raised."""
    assert requirements_name(manifest) == name


def test_list_may_get_longer_by_being_read() -> None:
    """A line that is just short enough is judged, though it has more spaces once it has been understood."""
    text = "flask;" + "and".join([' os_name=="posix" '] * 90)
    assert missing_libraries(listed(text, for_install=True)) == ()
