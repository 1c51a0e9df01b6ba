"""Names that a handler file defines."""

import warnings

import pytest

from wfmgmt.archives.handler_names import check_source, defined_names
from wfmgmt.errors import InvalidWorkflow


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("", ""),
        ("def f(): pass\nasync def g(): pass", "f g"),
        ("a = b = 1\nc, (d, *e) = x", "a b c d e"),
        ("a: int = 1\nb: int", "a"),
        ("a += 1", "a"),
        ("x = print(a := 1)\nif (b := 2): pass", "x a b"),
        ("x = [(a := y) for y in z if (b := y)]", "x a b"),
        ("x = lambda y: (z := y)", "x"),
        ("import os, a.b, c.d as e\nfrom f import g, h as i", "os a e g i"),
        ("if x:\n def f(): pass\nelif y:\n g = 1\nelse:\n import h", "f g h"),
        ("try: a = 1\nexcept E as b: c = 1\nelse: d = 1\nfinally: e = 1", "a b c d e"),
        ("try: a = 1\nexcept* E as b: pass", "a b"),
        ("with x as (a, b), y as c: d = 1", "a b c d"),
        ("for a, b in x: c = 1\nelse: d = 1", "a b c d"),
        ("while x: a = 1", "a"),
        (
            "match x:\n case [a, *b]: c = 1\n case {'k': d, **e}: pass\n case C(f) as g: pass\n case _: pass",
            "a b c d e f g",
        ),
        ("def f():\n a = 1\n import b\n def c(self): pass\nd = 1", "f d"),
        ("x.a = 1\ny[0] = 2\ndel z", ""),
        ("def f():\n global a\n a = 1", "f a"),
        ("@(d := deco)\ndef f(): pass", None),
        ("class C: pass", None),
        ("def f(): pass\nregister(f)", None),
        ("for n in 'ab':\n globals()[n] = 1", None),
        ("def f():\n import sys\n setattr(sys.modules[__name__], 'a', 1)", None),
        ("from builtins import exec as run\na = run('b = 1')", None),
        ("def __getattr__(name): ...", None),
        ("import importlib\na = importlib.import_module('b')", None),
        ("def f(): pass\nfrom x import *", None),
        ("try:\n from x import *\nexcept E: pass", None),
    ],
    ids=[
        "empty",
        "definitions",
        "assignments",
        "annotations",
        "augmented",
        "walrus",
        "walrus in comprehension",
        "lambda",
        "imports",
        "if",
        "try",
        "try star",
        "with",
        "for",
        "while",
        "match",
        "inner scopes",
        "no names",
        "global",
        "decorator",
        "class",
        "call",
        "globals",
        "setattr",
        "renamed exec",
        "getattr",
        "import_module",
        "star import",
        "star import in try",
    ],
)
def test_defined_names_are_those_bound_at_module_level(source: str, names: str | None) -> None:
    """For each kind of statement, all names count that importing the module could leave behind."""
    assert defined_names(source, "handler.py") == (None if names is None else frozenset(names.split()))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:\n", r"^Handler handler\.py: line 1: invalid syntax$"),
        ("\n\nx = (", r"^Handler handler\.py: line 3: '\(' was never closed$"),
        ("print 'a'", r"^Handler handler\.py: line 1: Missing parentheses"),
        ("  a = 1", r"^Handler handler\.py: line 1: unexpected indent$"),
        ("a = 1\0", r"^Handler handler\.py: .*null bytes"),
        ("a = '\ud800'", r"^Handler handler\.py: .*surrogates not allowed"),
        ("-" * 50_000 + "1", r"^Handler handler\.py: .*nested too deeply$"),
        ("a" + ".b" * 29_000, r"^Handler handler\.py: .*nested too deeply$"),
        ("(" * 1000, r"^Handler handler\.py: line 1: too many nested parentheses$"),
    ],
    ids=["syntax", "unclosed", "python 2", "indent", "NUL", "surrogate", "minus", "attributes", "parentheses"],
)
def test_defined_names_raises_invalid_workflow_when_the_source_is_not_python(source: str, reason: str) -> None:
    """The message names the file, the line where there is one, and the reason."""
    with pytest.raises(InvalidWorkflow, match=reason):
        defined_names(source, "handler.py")


def test_defined_names_runs_nothing_and_warns_of_nothing() -> None:
    """Neither the code nor its questionable escapes have any effect on the server."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert defined_names("raise SystemExit('\\d')\na = 1 is 1", "handler.py") == frozenset({"a"})


@pytest.mark.parametrize(
    "source", [b"x = 1\n", b"\xef\xbb\xbfx = 1\n", b"# -*- coding: latin-1 -*-\nx = '\xe4'\n", b""]
)
def test_check_source_takes_what_python_takes(source: bytes) -> None:
    """A file may have a mark at its beginning and declare another encoding."""
    check_source(source, "handler.py")


@pytest.mark.parametrize(
    "source", [b"def f(:\n", b"x = '\xff'\n", b"# coding: nosuch\n", b"x\0", b"(" * 5000, b"if x:\n"]
)
def test_check_source_refuses_what_python_cannot_read(source: bytes) -> None:
    """The message names the file."""
    with pytest.raises(InvalidWorkflow, match=r"^Handler handler\.py:"):
        check_source(source, "handler.py")


def test_source_that_takes_python_too_long_shows_nothing() -> None:
    """It may be right: only running it says that, so it is not refused."""
    dotted = ".".join(["a"] * 10_000)
    fields = "{a}" * 20_000
    for source in (f"import {dotted}", f"import a.\\\n  {dotted}", f"x = f'{fields}'", f'x = rf"""{fields}"""'):
        assert defined_names(source, "h.py") is None
        check_source(source.encode(), "h.py")
    for many in ("a\n" * 70_000, "x = {" + "1:2," * 20_000 + "}", "x = a" + "<a" * 40_000):
        assert defined_names(many, "h.py") is None
        check_source(many.encode(), "h.py")
    table = "x = [" + '{"a": 1.5},' * 5_000 + "]\n"
    assert defined_names(table, "h.py") == frozenset({"x"})
