"""Untrusted YAML."""

import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wfmgmt.domain import yaml_text
from wfmgmt.errors import InvalidWorkflow

MAX_BYTES = 256 * 1024

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 15)
)
MERGE_BOMB = "a0: &a0 {k: [x, x]}\n" + "".join(
    f"a{level}: &a{level}\n  <<: *a{level - 1}\n  l{level}: [*a{level - 1}, *a{level - 1}]\n" for level in range(1, 19)
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use each parser of PyYAML: not every installation has the one in C."""
    if not hasattr(yaml, request.param):
        pytest.skip("this build of PyYAML has no parser in C")
    monkeypatch.setattr(yaml_text, "_LOADER", getattr(yaml, request.param))


def load(text: str, *, max_depth: int = 20, max_values: int = 50_000) -> object:
    """Load a text with the usual limits."""
    return yaml_text.load_yaml(text, max_bytes=MAX_BYTES, max_depth=max_depth, max_values=max_values)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("word", "word"),
        ("\ufeffa: 1", {"a": 1}),
        ("a: {b: [1, two, 3.5]}", {"a": {"b": [1, "two", 3.5]}}),
        ("[~, null, '']", [None, None, ""]),
        ("[yes, No, TRUE, off, 'on', y]", [True, False, True, False, "on", "y"]),
        ("[1, -2, +3, 1_000, 0x1F, 0b101, 010]", [1, -2, 3, 1000, 31, 5, 8]),
        ("[1.5, .5, -1., 1.5e3, .inf, -.INF]", [1.5, 0.5, -1.0, 1500.0, math.inf, -math.inf]),
        ("[2001-01-01, 1:30, 0x_, 0b_, 08, 1e5, =]", ["2001-01-01", "1:30", "0x_", "0b_", "08", "1e5", "="]),
        ("a: " + "9" * 5000, {"a": "9" * 5000}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("'1': a\n\"yes\": b", {"1": "a", "yes": "b"}),
        ("--- {a: 1}\n...\n", {"a": 1}),
    ],
    ids=[
        "empty",
        "comment",
        "scalar",
        "byte order mark",
        "nested",
        "null",
        "bool",
        "int",
        "float",
        "odd scalars",
        "5000 digits",
        "block",
        "quoted keys",
        "document marks",
    ],
)
def test_load_yaml_gives_plain_values(text: str, value: object) -> None:
    """Scalars become null, bool, int, float or text; YAML's other types stay text."""
    assert load(text) == value


@pytest.mark.usefixtures("parser")
def test_load_yaml_reads_nan() -> None:
    """Not-a-number is the one value that equality cannot test."""
    value = load(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("a: &x {p: 1, q: 2}\nb:\n  p: 3\n  <<: *x", {"a": {"p": 1, "q": 2}, "b": {"p": 3, "q": 2}}),
        ("<<: [{a: 1}, {a: 2, b: 3}]\nc: 4", {"a": 1, "b": 3, "c": 4}),
        ("'<<': 1", {"<<": 1}),
        ("[<<]", ["<<"]),
    ],
    ids=["alias", "anchor again", "alias to a key", "merge", "merge of several", "quoted merge key", "no key"],
)
def test_load_yaml_expands_aliases_and_merge_keys(text: str, value: object) -> None:
    """A mapping's own keys win over merged ones, and of merged mappings the first wins."""
    assert load(text) == value


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1), "duplicate key 'a'"),
        ("a:\n  <<: {}\n  <<: {}", (3, 3), "duplicate key '<<'"),
        ("1: a", (1, 1), "the key 1 is not text, put it in quotes"),
        ("a: {on: b}", (1, 5), "the key on is not text, put it in quotes"),
        ("~: a", (1, 1), "the key ~ is not text, put it in quotes"),
        ("[1]: a", (1, 1), "a list or mapping cannot be a key"),
        ("a: &x 1\n? *x\n: b", (2, 3), "keys have to be text"),
        ("a: !!str b", (1, 4), "tags are not allowed, this is 'tag:yaml.org,2002:str'"),
        ("a: !!python/object/apply:os.system [id]", (1, 4), "tags are not allowed"),
        ("! a", (1, 1), "tags are not allowed, this is '!'"),
        ("a: *x", (1, 4), "the alias 'x' has no anchor before it"),
        ("a: &x [1, *x]", (1, 11), "the alias 'x' stands inside of what it repeats"),
        ("a: &x {<<: *x}", (1, 12), "the alias 'x' stands inside of what it repeats"),
        ("<<: 1", (1, 5), "the merge key '<<' takes a mapping or a list of mappings"),
        ("<<: [1]", (1, 7), "the merge key '<<' takes a mapping or a list of mappings"),
        ("--- 1\n--- 2", (2, 1), "only one document is allowed"),
        ("a: b\n\x01", (2, 1), r"character '\x01' is not allowed in YAML"),
        ("a: \0", (1, 4), r"character '\x00' is not allowed in YAML"),
        ("a: \ud800", (1, 4), r"character '\ud800' is not allowed in YAML"),
        ("a" * (MAX_BYTES + 1), (1, 1), "the text is longer than 262144 bytes"),
        ("ä" * MAX_BYTES, (1, 1), "the text is longer than 262144 bytes"),
        ("[" * 21, (1, 21), "lists and mappings are nested deeper than 20 levels"),
        ("[" * 100_000, (1, 21), "lists and mappings are nested deeper than 20 levels"),
        ("a: b: c", (1, 5), "mapping values are not allowed"),
        ("a: [", None, "while parsing a flow node"),
        ("a: @b", (1, 4), "cannot start any token"),
        ("\ta: b", (1, 1), "cannot start any token"),
        ('a: "\\ud800"', None, "character escape|half a surrogate pair"),
        ('a: "\\UFFFFFFFF"', None, "character escape|out of range"),
        (f"%YAML 1.{'9' * 5000}\n--- a", None, "version number|out of range"),
    ],
    ids=lambda value: ascii(value)[:40] if isinstance(value, str) else "",
)
def test_load_yaml_error_names_the_place(text: str, place: tuple[int, int] | None, reason: str) -> None:
    """Every fault comes out in one form with line, column and reason."""
    with pytest.raises(InvalidWorkflow) as caught:
        load(text)
    message = str(caught.value)
    line_and_column = "" if place is None else f"{place[0]}, column {place[1]}: "
    assert message.startswith(f"Failed to parse yaml. line {line_and_column}")
    assert any(alternative in message for alternative in reason.split("|"))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", [BOMB, MERGE_BOMB], ids=["lists", "merges"])
def test_load_yaml_refuses_alias_bombs_before_they_grow(text: str) -> None:
    """Text that would expand to billions of values is refused at once."""
    began = time.process_time()
    with pytest.raises(InvalidWorkflow, match="there are more than 50000 values, aliases expanded"):
        load(text)
    assert time.process_time() - began < 1


@pytest.mark.usefixtures("parser")
def test_load_yaml_counts_the_levels_that_aliases_add() -> None:
    """A chain of aliases gets as deep as nested brackets would."""
    chain = "a0: &a0 [x]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 30))
    with pytest.raises(InvalidWorkflow, match="line 20, column 12: lists and mappings are nested deeper than 20"):
        load(chain)


@pytest.mark.usefixtures("parser")
def test_load_yaml_takes_what_just_fits_the_limits() -> None:
    """The limits themselves are still allowed, one more is not."""
    assert load("[[1, 2]]", max_depth=2, max_values=4) == [[1, 2]]
    with pytest.raises(InvalidWorkflow, match="deeper than 1"):
        load("[[1, 2]]", max_depth=1)
    with pytest.raises(InvalidWorkflow, match="more than 3 values"):
        load("[[1, 2]]", max_values=3)


@given(
    st.text()
    | st.lists(
        st.sampled_from([*"ab1 \n:-,[]{}&*!|>'\"%@#?~\\", ": ", "\n  ", "- ", "&a ", "*a ", "<<: ", "---", "\ud800"])
    ).map("".join)
)
def test_load_yaml_raises_nothing_but_invalid_workflow(text: str) -> None:
    """Any text gives a plain value or the one error."""
    try:
        value = load(text)
    except InvalidWorkflow as exc:
        assert str(exc).startswith("Failed to parse yaml. line ")  # noqa: PT017 -- most texts are fine
    else:
        assert value is None or isinstance(value, bool | int | float | str | list | dict)
