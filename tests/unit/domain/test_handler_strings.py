"""What handler strings mean, and which file of an archive they name."""

import pytest

from wfmgmt.domain.handler_strings import HandlerName, handler_file, parse_handler


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("handler", HandlerName("handler", "", None, is_file=False, is_bare=True)),
        ("handler.py", HandlerName("handler", "", None, is_file=True, is_bare=False)),
        ("handler:run", HandlerName("handler", "", "run", is_file=False, is_bare=False)),
        ("handler.py:run", HandlerName("handler", "", "run", is_file=True, is_bare=False)),
        ("pkg/handler.py", HandlerName("handler", "pkg", None, is_file=True, is_bare=False)),
        ("deep/pkg/handler.py:run", HandlerName("handler", "deep/pkg", "run", is_file=True, is_bare=False)),
        ("handler.py:", HandlerName("handler", "", None, is_file=True, is_bare=False)),
        ("my-handler.py", HandlerName("my-handler", "", None, is_file=True, is_bare=False)),
        ("3d unet", HandlerName("3d unet", "", None, is_file=False, is_bare=True)),
        ("pkg.mod:run", HandlerName("pkg.mod", "", "run", is_file=False, is_bare=False)),
        ("h.py:Class.handle:x", HandlerName("h", "", "Class.handle:x", is_file=True, is_bare=False)),
        ("./handler.py", HandlerName("handler", "", None, is_file=True, is_bare=False)),
        ("/etc/handler.py", HandlerName("handler", "etc", None, is_file=True, is_bare=False)),
        ("../../etc/handler.py", HandlerName("handler", "", None, is_file=True, is_bare=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parse_handler_understands_torchserves_forms(handler: str, expected: HandlerName) -> None:
    """Each form leads to the module's name, the folder of the archive and, where given, the function."""
    assert parse_handler(handler) == expected


@pytest.mark.parametrize("handler", ["", ".py", "pkg/", ":run", "..", ".hidden.py", "a..b", ".".join("a" * 51)])
def test_parse_handler_refuses_what_names_no_module(handler: str) -> None:
    """A string that cannot be a module's name is quoted in the error."""
    with pytest.raises(ValueError, match="does not name a Python module") as raised:
        parse_handler(handler)
    assert repr(handler) in str(raised.value)


@pytest.mark.parametrize(
    ("handler", "files", "found"),
    [
        ("h.py", "h.py h/x.py", "h.py"),
        ("h", "h.py h/__init__.py", "h/__init__.py"),
        ("pkg.mod:run", "pkg/mod.py pkg.mod.py", "pkg/mod.py"),
        ("my.h.py", "my.h.py my/x.py", "my.h.py"),
        ("sub/h.py", "h.py sub/h.py", "h.py"),
        ("sub/h.py", "sub/h.py", "sub/h.py"),
        ("h.py", "hh.pyc h.abi3.so", "h.abi3.so"),
        ("pkg", "pkg/__init__.pyc", "pkg/__init__.pyc"),
        ("h.py", "sub/h.py hh.py h.txt h.d/x.pyc h.x.pyc", None),
        ("../h.py", "sub/h.py", None),
        ("pkg.mod", "mod.py", None),
    ],
)
def test_handler_file_is_what_the_import_system_takes(handler: str, files: str, found: str | None) -> None:
    """Packages come before modules, the top before the folder, folders for dots before dots in a name."""
    assert handler_file(parse_handler(handler), frozenset(files.split())) == found
